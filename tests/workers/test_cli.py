"""The command line: exit codes, and one sentence for each thing that can be wrong."""

from __future__ import annotations

import json

import pytest

from tests.workers.platform_double import NODE_ID, Served
from workers import cli, config
from workers.protocol import routes


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


def test_pausing_and_resuming_are_seen_by_the_next_run(enrolled, ask):
    assert ask("pause")[0] == 0
    assert config.is_paused(enrolled)
    assert ask("resume")[0] == 0
    assert not config.is_paused(enrolled)


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
