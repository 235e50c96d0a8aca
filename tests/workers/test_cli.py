"""The command line: exit codes, and one sentence for each thing that can be wrong."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.workers.platform_double import NODE_ID, Served
from workers import cli, config, control
from workers.protocol import routes
from workers.protocol.allowance import Allowance

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.fixture
def ask(home, capsys):
    """Run a command and return its exit code, output and complaint."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["--home", str(home.root), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def enrolled(home, platform, server):
    server.serve(routes.ENROLL_PATH, Served(platform.enrollment(NODE_ID), 201))
    assert (
        cli.main(
            [
                "--home",
                str(home.root),
                "enroll",
                "--portal",
                server.url,
                "--token",
                "t",
                "--name",
                "a",
            ]
        )
        == 0
    )
    return home


@pytest.mark.parametrize("command", ["run", "status", "pause", "resume"])
def test_without_enrolment_each_command_says_what_to_do(ask, home, command):
    code, out, err = ask(command)

    assert (code, out) == (cli.EXIT_NOT_ENROLLED, "")
    assert err.count("\n") == 1
    assert "nodefolk-node enroll" in err
    assert list(home.root.iterdir()) == []


def test_enrolment_says_what_comes_next(ask, platform, server):
    server.serve(routes.ENROLL_PATH, Served(platform.enrollment(NODE_ID), 201))

    code, out, _ = ask("enroll", "--portal", server.url, "--token", "t", "--slots", "3")

    assert code == 0
    assert NODE_ID in out
    assert "nodefolk-node run" in out


def test_a_refused_enrolment_is_one_sentence(ask, server):
    server.serve(routes.ENROLL_PATH, Served(b'{"code": "token_invalid"}', 403))

    code, out, err = ask("enroll", "--portal", server.url, "--token", "t")

    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "make a new one" in err


def test_enrolling_twice_is_refused(enrolled, ask, server):
    code, _, err = ask("enroll", "--portal", server.url, "--token", "t")

    assert code == 1
    assert "choose another --home" in err
    assert len(server.posted) == 1


def test_a_node_that_never_ran_has_an_issue(enrolled, ask):
    code, out, _ = ask("status", "--json")

    shown = json.loads(out)
    assert (code, shown["is_healthy"], shown["state"]) == (1, False, None)
    assert shown["issues"] == ["The node has not run yet: start it with `nodefolk-node run`."]


def test_the_table_shows_the_issue(enrolled, ask):
    code, out, _ = ask("status")

    assert code == 1
    assert "needs attention" in out
    assert "has not run yet" in out


def test_status_is_told_by_the_portal_what_the_machine_cannot_know(enrolled, ask, server):
    answer = b'{"state": "suspended", "reason": "flooding", "reason_text": "..."}'
    server.serve(routes.standing_path(NODE_ID), Served(answer))

    shown = json.loads(ask("status", "--json")[1])

    assert shown["reason"] == "flooding"
    assert server.posted[-1] == {
        "v": 1,
        "sent_at": server.posted[-1]["sent_at"],
        "kind": "inquiry",
        "node": NODE_ID,
    }


def test_status_shows_what_the_portal_warns_of(enrolled, ask, server):
    text = "2026-11-25 12:00 UTC: An answer was nearly right. " + "It was not paid. " * 20
    answer = {"state": "online", "reason": "", "warnings": [text.strip()]}
    server.serve(routes.standing_path(NODE_ID), Served(json.dumps(answer).encode()))

    shown = json.loads(ask("status", "--json")[1])
    table = ask("status")[1]

    assert shown["warnings"] == [text.strip()]
    assert len(shown["issues"]) == 1  # it has not run yet: a warning is none
    first, *more = table[table.index("warning") :].splitlines()
    assert first.startswith("warning        2026-11-25 12:00 UTC: An answer was nearly right.")
    assert all(line.startswith(" " * 15) and len(line) < 100 for line in more)
    assert " ".join([first.removeprefix("warning"), *more]).split() == text.split()


@pytest.mark.parametrize(
    "served",
    [
        Served(b'{"state": "online", "reason": "no_match"}', 403),
        Served(b'{"state": "online"}'),
        Served(b'{"state": "online", "reason": "\\u001b[31mred"}'),
        Served(b'{"state": "online", "reason": "no_match", "warnings": ["\\u001b[31mred"]}'),
        Served(b'{"state": "online", "reason": "no_match", "warnings": ["1", "2", "3", "4"]}'),
        Served(b"[]"),
        Served(b" " * 20_000),
        Served(b"", 302, headers={"Location": "/elsewhere"}),
    ],
    ids=[
        "refused",
        "no reason",
        "control characters",
        "control characters in words",
        "too many words",
        "no object",
        "too long",
        "led away",
    ],
)
def test_what_is_no_answer_tells_nothing(enrolled, ask, server, served):
    server.serve(routes.standing_path(NODE_ID), served)

    assert json.loads(ask("status", "--json")[1])["reason"] == ""


def test_status_works_without_a_key_that_can_be_read(enrolled, ask, server):
    enrolled.key_file.chmod(0o644)

    code, out, err = ask("status", "--json")

    assert (code, json.loads(out)["reason"], err) == (1, "", "")
    assert len(server.posted) == 1  # the enrolment


def test_pausing_and_resuming_are_seen_by_the_next_run(enrolled, ask):
    assert ask("pause")[0] == 0
    assert config.is_paused(enrolled, now=NOW)
    assert ask("resume")[0] == 0
    assert not config.is_paused(enrolled, now=NOW)


def test_a_damaged_configuration_is_one_sentence(enrolled, ask):
    enrolled.config_file.write_text("{}")

    code, _, err = ask("status")

    assert (code, err.count("\n")) == (1, 1)
    assert "config.json cannot be used" in err


def test_an_exposed_key_is_one_sentence(enrolled, ask):
    enrolled.key_file.chmod(0o644)

    code, _, err = ask("run")

    assert (code, err.count("\n")) == (1, 1)
    assert "chmod 600" in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["enroll"],
        ["enroll", "--portal", "x", "--token", "t", "--slots", "0"],
        ["enroll", "--portal", "x", "--token", "t", "--slots", "33"],
        ["enroll", "--portal", "x", "--token", "t", "--name", ""],
        ["run", "--poll-seconds", "0"],
        ["run", "--poll-seconds", "nan"],
        ["run", "--priority", "highest"],
    ],
)
def test_wrong_arguments_are_explained(ask, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        ask(*arguments)

    assert caught.value.code == 2
    assert "usage: nodefolk-node" in capsys.readouterr().err


class TestPausing:
    def test_a_pause_with_a_time_ends_by_itself(self, enrolled, ask):
        code, out, _ = ask("pause", "2h")

        assert code == 0
        assert "It ends " in out
        now = datetime.now(UTC)
        assert config.is_paused(enrolled, now=now + timedelta(minutes=119))
        assert not config.is_paused(enrolled, now=now + timedelta(hours=2, minutes=1))

    @pytest.mark.parametrize("text", ["2", "h", "-1h", "0m", "400d", "1.5h", "²h"])
    def test_no_time_is_refused(self, enrolled, ask, text):
        with pytest.raises(SystemExit):
            ask("pause", "--", text)

        assert not config.is_paused(enrolled, now=NOW)


class TestLimits:
    def test_they_are_shown_with_what_holds(self, enrolled, ask):
        code, out, _ = ask("limits")

        assert code == 0
        assert ["battery", "false", "true", "false"] in [line.split() for line in out.splitlines()]

    def test_they_are_set_in_the_file(self, enrolled, ask):
        assert ask("limits", "set", "cores=2", "schedule=mon-fri 18:00-07:00")[0] == 0

        assert control.read_limits(enrolled) == Allowance(
            battery=False, cores=2, schedule=["mon-fri 18:00-07:00"]
        )

    def test_the_page_is_combined_to_the_stricter(self, enrolled, ask):
        ask("limits", "set", "cores=2")
        control.write_settings(
            enrolled, control.PageSettings(revision=1, wishes=Allowance(cores=1, celsius=70))
        )

        shown = json.loads(ask("limits", "--json")[1])

        assert (shown["cores"], shown["celsius"], shown["battery"]) == (1, 70, False)

    def test_a_wrong_value_changes_nothing(self, enrolled, ask):
        code, _, err = ask("limits", "set", "cores=2", "gpu=1")

        assert (code, err.count("\n")) == (1, 1)
        assert not enrolled.limits_file.exists()


class TestDoctor:
    def test_all_is_well_on_a_good_machine_but_for_what_is_away(self, enrolled, ask):
        code, out, _ = ask("doctor", "--json")

        states = {each["name"]: each["state"] for each in json.loads(out)}
        assert code == 1
        assert {name for name, state in states.items() if state == "broken"} == {"portal", "broker"}
        assert {"config", "key", "limits", "disk", "onnxruntime", "locks"} <= {
            name for name, state in states.items() if state == "ok"
        }

    def test_each_fault_has_a_fix(self, enrolled, ask):
        enrolled.key_file.chmod(0o644)
        enrolled.limits_file.write_text("cores = 0")

        code, out, _ = ask("doctor")

        assert code == 1
        assert "broken   key" in out
        assert "broken   limits" in out
        assert out.count("fix: ") == out.count("broken") + out.count("warning")

    def test_without_an_enrolment_it_says_so(self, home, ask):
        code, out, _ = ask("doctor")

        assert code == 2
        assert "broken   config" in out


class TestLeaving:
    def test_after_the_portals_yes_key_login_and_cache_are_gone(self, enrolled, server, ask):
        server.serve(routes.leave_path("n_test"), Served(b"", 204))
        _move_to(enrolled, server.url)
        control.write_limits(enrolled, Allowance(cores=1))

        code, out, _ = ask("leave", "--yes")

        assert (code, "Retired" in out) == (0, True)
        left = {path.name for path in enrolled.root.iterdir()}
        assert left == {"limits.toml", "lock"}

    @pytest.mark.parametrize("status", [403, 500])
    def test_without_the_portals_yes_nothing_is_removed(self, enrolled, server, ask, status):
        server.serve(routes.leave_path("n_test"), Served(b"", status))
        _move_to(enrolled, server.url)

        code, _, err = ask("leave", "--yes")

        assert (code, "nothing was removed" in err) == (1, True)
        assert enrolled.key_file.exists()
        assert enrolled.config_file.exists()

    def test_another_answer_than_its_name_changes_nothing(self, enrolled, ask, monkeypatch):
        monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))

        code, out, _ = ask("leave")

        assert (code, "Nothing was changed" in out) == (1, True)
        assert enrolled.key_file.exists()


def test_the_last_lines_of_the_log_are_shown(enrolled, ask):
    assert ask("logs")[0] == 1
    enrolled.log_file.write_text("".join(f"line {number}\n" for number in range(9)))

    assert ask("logs", "-n", "2")[:2] == (0, "line 7\nline 8\n")


def _move_to(home, url: str) -> None:
    config.write(home, config.read(home).model_copy(update={"portal_url": url}))
