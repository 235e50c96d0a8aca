"""A real node process over the file broker and HTTP, from enrolment to signed report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kombu import Exchange

from tests.workers.node_process import (
    MODEL,
    PICTURE,
    ROOT,
    Node,
    end,
    enroll,
    is_report_of,
    reason_of,
    receipt,
    settings,
    start,
    wait_until,
)
from tests.workers.platform_double import (
    NODE_ID,
    FileServer,
    Platform,
    Served,
    make_announcement,
    make_input,
    make_reference,
)
from workers import cli, config, status
from workers.config import Home
from workers.protocol import digests, messages, routes, signatures

ASSIGN = Exchange("assign", type="direct")
STRANGER = Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def node(tmp_path_factory) -> Iterator[Node]:
    """One node for all tests of this file; each uses assignments of its own."""
    folder = tmp_path_factory.mktemp("node")
    home = Home(folder / "home")
    platform = Platform(folder / "broker")
    with FileServer().running() as server:
        enroll(home, platform, server)
        process = start(home)
        running = Node(home, platform, server, process)
        try:
            platform.receive(lambda found: found.kind == "heartbeat" and not reason_of(found))
            yield running
        finally:
            code = end(process)
            platform.close()
    assert code == 0


@pytest.mark.slow
class TestHonest:
    def test_an_announcement_is_acknowledged_with_slots_and_models(self, node):
        announcement = make_announcement(digests.digest(MODEL))

        node.platform.announce(announcement)

        found = node.platform.receive(lambda found: found.kind == "ack")
        assert found.ack.job == announcement.job
        assert found.ack.slots == 2  # one to compute and one to follow
        assert digests.digest(MODEL) in found.ack.cached_models
        assert found.properties == {
            "user_id": f"node-{NODE_ID}",
            "delivery_mode": 2,
            "content_type": "application/json",
        }

    def test_an_assignment_begins_with_a_heartbeat_and_ends_in_a_signed_report(self, node):
        assignment = node.assignment(inputs=[node.picture(), node.picture(position=1)])

        node.platform.send(routes.TASK_ASSIGN, assignment)

        begun = node.platform.receive(
            lambda found: found.kind == "heartbeat" and bool(found.heartbeat.running)
        )
        assert begun.heartbeat.running == [assignment.assignment]
        report = node.platform.receive(is_report_of(assignment)).report
        assert (report.status, report.reason, report.nonce) == ("done", "", assignment.nonce)
        assert [answer.position for answer in report.answers] == [0, 1]
        assert [(answer.width, answer.height) for answer in report.answers] == [(200, 100)] * 2
        assert report.answers[0].detections == [
            (1, 0.9, 40.0, 10.0, 80.0, 40.0),
            (17, 0.6, 0.0, 0.0, 200.0, 100.0),
            (47, 0.501961, 100.0, 0.0, 100.0, 30.0),
        ]
        assert report.numeric_class.startswith("ort-")

    def test_a_report_is_kept_until_the_platforms_receipt(self, node):
        assignment = node.assignment()

        node.platform.send(routes.TASK_ASSIGN, assignment)

        node.platform.receive(is_report_of(assignment))
        file = node.home.outbox_folder / f"{assignment.assignment}.{assignment.nonce}.json"
        assert file.exists()
        node.platform.send(routes.TASK_RECEIPT, receipt(assignment, node="n_other"))
        node.platform.send(routes.TASK_RECEIPT, receipt(assignment), key=STRANGER)
        wait_until(lambda: node.refused().get("bad_signature", 0) > 0)
        assert file.exists()
        node.platform.send(routes.TASK_RECEIPT, receipt(assignment))
        wait_until(lambda: not file.exists())

    def test_status_is_healthy_and_says_what_was_done(self, node, capsys):
        assignment = node.assignment()
        node.platform.send(routes.TASK_ASSIGN, assignment)
        node.platform.receive(is_report_of(assignment))
        wait_until(
            lambda: (state := status.read(node.home)) and state.done and not state.assignments
        )

        code = node.ask("status", "--json")

        shown = json.loads(capsys.readouterr().out)
        assert (code, shown["is_healthy"], shown["issues"]) == (0, True, [])
        assert shown["state"]["pid"] == node.process.pid
        assert shown["state"]["node_id"] == NODE_ID

    def test_a_pause_on_the_page_is_obeyed_within_seconds_and_survives_as_a_file(self, node):
        sent_at = time.monotonic()
        node.platform.send(routes.TASK_SETTINGS, settings(1, is_paused=True))

        beat = node.platform.receive(
            lambda found: found.kind == "heartbeat" and reason_of(found) == "paused_on_page"
        ).heartbeat
        assert time.monotonic() - sent_at < 10
        assert beat.settings_revision == 1
        assert json.loads(node.home.settings_file.read_text())["is_paused"] is True
        node.platform.send(routes.TASK_SETTINGS, settings(2, is_paused=False))
        node.platform.receive(lambda found: found.kind == "heartbeat" and not reason_of(found))
        replayed = node.refused().get("replayed", 0)
        node.platform.send(routes.TASK_SETTINGS, settings(1, is_paused=True))
        wait_until(lambda: node.refused().get("replayed", 0) == replayed + 1)

    def test_a_second_process_for_the_same_home_is_refused(self, node, capsys):
        assert node.ask("run") == 1
        assert "is running already" in capsys.readouterr().err

    def test_a_paused_node_hands_back_and_does_not_ack_until_resumed(self, node):
        node.ask("pause")
        node.platform.receive(
            lambda found: found.kind == "heartbeat" and reason_of(found) == "paused_locally"
        )
        refused = node.refused().get("paused_locally", 0)
        assignment = node.assignment()

        node.platform.announce(make_announcement(digests.digest(MODEL)))
        node.platform.send(routes.TASK_ASSIGN, assignment)

        report = node.platform.receive(is_report_of(assignment)).report
        assert (report.status, report.reason, report.answers) == (
            "handed_back",
            "paused_locally",
            [],
        )
        wait_until(lambda: node.refused().get("paused_locally", 0) == refused + 1)
        node.ask("resume")
        node.platform.receive(lambda found: found.kind == "heartbeat" and not reason_of(found))


@pytest.mark.slow
class TestHostile:
    def _send_refused(self, node, reason, assignment, **hostile):
        before = node.refused().get(reason, 0)
        node.platform.send(routes.TASK_ASSIGN, assignment, **hostile)
        wait_until(lambda: node.refused().get(reason, 0) == before + 1)

    def _assert_answers_next(self, node):
        """Show that nothing was computed or reported for what came before."""
        honest = node.assignment()
        node.platform.send(routes.TASK_ASSIGN, honest)
        first = node.platform.receive(lambda found: found.kind == "report")
        assert first.report.assignment == honest.assignment

    def test_another_key_is_refused(self, node):
        stranger = Ed25519PrivateKey.generate()
        self._send_refused(node, "bad_signature", node.assignment(), key=stranger)
        self._assert_answers_next(node)

    def test_changed_text_is_refused(self, node):
        assignment = node.assignment()
        signed = signatures.sign(assignment.model_dump_json().encode(), key=node.platform.key)
        text = assignment.model_dump_json().replace('"score_floor":0.25', '"score_floor":0.05')
        self._send_refused(node, "bad_signature", assignment, text=text, signature=signed)
        self._assert_answers_next(node)

    def test_a_message_of_another_kind_is_refused(self, node):
        text = make_announcement(digests.digest(MODEL)).model_dump_json()
        self._send_refused(node, "malformed", node.assignment(), text=text)
        self._assert_answers_next(node)

    def test_an_unknown_field_is_refused(self, node):
        assignment = node.assignment()
        text = assignment.model_dump_json()[:-1] + ',"command":"x"}'
        self._send_refused(node, "malformed", assignment, text=text)
        self._assert_answers_next(node)

    def test_another_nodes_assignment_is_refused(self, node):
        self._send_refused(node, "foreign", node.assignment(node="n_other"))
        self._assert_answers_next(node)

    def test_a_replay_is_refused(self, node):
        assignment = node.assignment()
        node.platform.send(routes.TASK_ASSIGN, assignment)
        node.platform.receive(is_report_of(assignment))
        self._send_refused(node, "replayed", assignment)
        self._assert_answers_next(node)

    def test_wrong_arguments_do_not_end_the_node(self, node):
        node.platform._publish(routes.TASK_ASSIGN, [], ASSIGN, routes.node_queue_name(NODE_ID))
        node.platform._publish("os.system", ["true"], ASSIGN, routes.node_queue_name(NODE_ID))
        self._assert_answers_next(node)

    def test_an_expired_assignment_fails_as_expired(self, node):
        old = datetime.now(UTC) - timedelta(minutes=30)
        assignment = node.assignment(now=old)

        node.platform.send(routes.TASK_ASSIGN, assignment)

        report = node.platform.receive(is_report_of(assignment)).report
        assert (report.status, report.reason, report.answers) == ("failed", "expired", [])

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"digest": "0" * 64}, "digest_mismatch"),
            ({"size_bytes": 10}, "size_mismatch"),
            ({"url": "http://127.0.0.1:9/closed"}, "download_failed"),
        ],
    )
    def test_a_bad_download_is_reported_with_its_reason(self, node, change, reason):
        assignment = node.assignment(inputs=[node.picture(**change)])

        node.platform.send(routes.TASK_ASSIGN, assignment)

        report = node.platform.receive(is_report_of(assignment)).report
        assert (report.status, report.reason, report.answers) == ("failed", reason, [])

    def test_poison_is_reported_and_the_next_picture_computed(self, node):
        poison = b"\x89PNG\r\n\x1a\n" + bytes(100)
        url = node.server.serve("/poison", Served(poison))
        assignment = node.assignment(inputs=[make_input(poison, url)])

        node.platform.send(routes.TASK_ASSIGN, assignment)

        report = node.platform.receive(is_report_of(assignment)).report
        assert (report.status, report.reason) == ("failed", "unreadable_input")
        self._assert_answers_next(node)

    def test_a_model_that_is_none_is_reported(self, node):
        rubbish = b"no model"
        url = node.server.serve("/rubbish", Served(rubbish))
        assignment = node.assignment(model=make_reference(rubbish, url))

        node.platform.send(routes.TASK_ASSIGN, assignment)

        report = node.platform.receive(is_report_of(assignment)).report
        assert (report.status, report.reason) == ("failed", "model_unusable")


@pytest.mark.slow
class TestEnding:
    def _compute_slowly(self, node: Node) -> tuple[messages.Assignment, threading.Event]:
        """Send an assignment that runs until the event is set."""
        gate = threading.Event()
        url = node.server.serve("/slow", Served(PICTURE, gate=gate))
        assignment = node.assignment(inputs=[make_input(PICTURE, url)])
        node.platform.send(routes.TASK_ASSIGN, assignment)
        node.platform.receive(lambda found: found.kind == "heartbeat" and found.heartbeat.running)
        return assignment, gate

    def test_a_signal_finishes_the_running_work_and_says_goodbye(self, own_node):
        assignment, gate = self._compute_slowly(own_node)

        own_node.process.send_signal(signal.SIGINT)

        own_node.platform.receive(
            lambda found: found.kind == "heartbeat" and reason_of(found) == "offline"
        )
        gate.set()
        report = own_node.platform.receive(is_report_of(assignment)).report
        assert report.status == "done"
        assert own_node.process.wait(20) == 0
        state = status.read(own_node.home)
        assert (state.state, state.done, state.assignments) == ("stopped", 1, [])
        assert own_node.ask("status") == 1

    def test_a_second_signal_ends_at_once(self, own_node):
        _, gate = self._compute_slowly(own_node)
        own_node.process.send_signal(signal.SIGTERM)
        own_node.platform.receive(
            lambda found: found.kind == "heartbeat" and reason_of(found) == "offline"
        )

        own_node.process.send_signal(signal.SIGTERM)

        assert own_node.process.wait(5) == cli.EXIT_ABANDONED
        gate.set()
        assert status.read(own_node.home).state == "stopped"

    def test_an_announcement_is_acknowledged_while_the_only_slot_computes(self, own_node):
        assignment, gate = self._compute_slowly(own_node)

        own_node.platform.announce(make_announcement(digests.digest(MODEL)))

        own_node.platform.receive(lambda found: found.kind == "ack")
        gate.set()
        own_node.platform.receive(is_report_of(assignment))

    def test_withdrawn_work_stops_without_a_report(self, own_node):
        assignment, gate = self._compute_slowly(own_node)
        withdrawal = messages.Withdrawal(
            sent_at=datetime.now(UTC), node=NODE_ID, assignments=[assignment.assignment]
        )

        own_node.platform.send(routes.TASK_WITHDRAW, withdrawal)

        wait_until(lambda: (state := status.read(own_node.home)) and state.withdrawn == 1)
        gate.set()
        honest = own_node.assignment()
        own_node.platform.send(routes.TASK_ASSIGN, honest)
        first = own_node.platform.receive(lambda found: found.kind == "report")
        assert first.report.assignment == honest.assignment

    def test_a_killed_node_is_told_from_a_stopped_one(self, own_node, capsys):
        own_node.process.kill()
        own_node.process.wait()

        code = own_node.ask("status")

        assert code == 1
        assert "ended unexpectedly" in capsys.readouterr().out

    def test_an_unconfirmed_report_of_an_earlier_run_is_sent_at_the_start(self, own_node):
        assert end(own_node.process) == 0
        left = messages.Report(
            sent_at=datetime.now(UTC),
            node=NODE_ID,
            assignment="77",
            nonce="a" * 32,
            model_digest=digests.digest(MODEL),
            status="failed",
            reason="out_of_memory",
        )
        file = own_node.home.outbox_folder / f"77.{'a' * 32}.json"
        config.write_atomically(file, left.model_dump_json().encode())

        own_node.process = start(own_node.home)

        found = own_node.platform.receive(lambda found: found.kind == "report")
        assert found.report == left
        assert file.exists()

    def test_celerys_own_command_runs_the_node_too(self, own_node):
        assert end(own_node.process) == 0
        environment = os.environ | {config.HOME_VARIABLE: str(own_node.home.root)}
        # Celery's own command takes this variable over what the app says.
        environment.pop("BROKER_URL", None)
        queue = routes.node_queue_name(NODE_ID)
        own_node.process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-Q", queue],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assignment = own_node.assignment()

        own_node.platform.send(routes.TASK_ASSIGN, assignment)

        assert own_node.platform.receive(is_report_of(assignment)).report.status == "done"
        assert end(own_node.process) == 0
