"""RabbitMQ short of memory or disk, and consumers that never acknowledge: a broker of its own.

An alarm stops every publisher. Nothing may hang for longer than a deadline, die or be lost.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from amqp.exceptions import PreconditionFailed
from kombu import Connection, Consumer, Queue

from portal.demo import stack
from tests.flows import platform as platforms
from tests.flows import real_node

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq, pytest.mark.timeout(300)]

SERVICES = str(stack.BASE_DIR / "bin" / "services")
#: What sets the alarm off, and how it was.
ALARMS = {
    "memory": (
        ["set_vm_memory_high_watermark", "0.00001"],
        ["set_vm_memory_high_watermark", "0.4"],
    ),
    "disk": (["set_disk_free_limit", "1000TB"], ["set_disk_free_limit", "1MB"]),
}
#: Longer than a node waits for one confirmation.
ALARM_SECONDS = 13
#: A request of a client while the broker takes nothing.
ANSWER_SECONDS_MAX = 40


class Broker:
    """The test's own RabbitMQ."""

    def __init__(self, folder) -> None:
        self.variables = stack.server_variables(folder)
        self._env = folder / "rabbitmq" / "env.sh"

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl against this broker and no other."""
        quoted = " ".join(f"'{each}'" for each in arguments)
        return subprocess.run(
            ["bash", "-c", f". {self._env}; rabbitmqctl -q {quoted}"],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    @contextmanager
    def alarm(self, kind: str):
        on, off = ALARMS[kind]
        self.ctl(*on)
        try:
            yield
        finally:
            self.ctl(*off)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alarms")
    folder.chmod(0o711)
    servers = folder / "servers"
    subprocess.run([SERVICES, "start", str(servers)], check=True, stdout=sys.__stderr__)
    yield Broker(servers)
    subprocess.run([SERVICES, "stop", str(servers)], check=True)


@pytest.fixture(scope="module")
def alarmed(broker, tmp_path_factory):
    """A platform on that broker with one real node."""
    data = tmp_path_factory.mktemp("data")
    with (
        platforms.running(data, servers=broker.variables) as platform,
        real_node.running(platform, 1) as node,
    ):
        yield platform, node


@pytest.mark.parametrize("kind", ALARMS)
def test_an_alarm_delays_a_job_and_loses_nothing(broker, alarmed, kind):
    platform, node = alarmed
    partner, pid = platform.puppet(2), node.pid
    partner.beat()
    platforms_before = {name: each.popen.pid for name, each in platform.stack.processes.items()}

    with broker.alarm(kind):
        begun = time.monotonic()
        job_id = platform.submit()
        assert time.monotonic() - begun < ANSWER_SECONDS_MAX
        threading.Event().wait(max(0.0, begun + ALARM_SECONDS - time.monotonic()))
        assert node.worked(job_id) == []

    partner.beat()
    partner.work(job_id, found=[])
    outcome = platform.finish(job_id)
    assert outcome.job["state"] == "finished"
    assert node.worked(job_id) == ["accepted"]
    assert node.pid == pid
    assert {
        name: each.popen.pid for name, each in platform.stack.processes.items()
    } == platforms_before
    assert all(each.popen.poll() is None for each in platform.stack.processes.values())
    platform.assert_sound()


def test_a_consumer_that_never_acknowledges_is_closed_and_its_work_comes_again(broker, alarmed):
    platform, _ = alarmed
    sleeper = platform.puppet(3)
    broker.ctl("eval", "application:set_env(rabbit, channel_tick_interval, 500).")
    broker.ctl("eval", "application:set_env(rabbit, consumer_timeout, 1000).")
    try:
        _send(broker, sleeper, "work")
        got: list[str] = []
        with pytest.raises(PreconditionFailed, match="delivery acknowledgement"):
            _consume_without_ack(sleeper, got)
        assert got == ["work"]
        with sleeper.connect() as connection:
            message = Queue(sleeper.login["queue"], no_declare=True)(
                connection.default_channel
            ).get(no_ack=True)
    finally:
        broker.ctl("eval", "application:set_env(rabbit, consumer_timeout, 900000).")
        broker.ctl("eval", "application:set_env(rabbit, channel_tick_interval, 60000).")

    assert message is not None
    assert (message.body, message.delivery_info["redelivered"]) == ("work", True)


def test_a_queue_that_nobody_reads_drops_its_oldest_and_refuses_nobody(broker, alarmed):
    platform, _ = alarmed
    sleeper, sent = platform.puppet(4), 1010
    for number in range(sent):
        _send(broker, sleeper, str(number))

    with sleeper.connect() as connection:
        queue = Queue(sleeper.login["queue"], no_declare=True)(connection.default_channel)
        count = queue.queue_declare(passive=True).message_count
        oldest = queue.get(no_ack=True)

    assert count == 1000
    assert oldest is not None
    assert oldest.body == "10"


def _send(broker, puppet, body: str) -> None:
    """Publish as the platform does, confirmed."""
    with Connection(
        broker.variables["BROKER_URL"], transport_options={"confirm_publish": True}
    ) as connection:
        connection.Producer(auto_declare=False).publish(
            body,
            exchange="assign",
            routing_key=puppet.login["queue"],
            content_type="text/plain",
            content_encoding="utf-8",
            delivery_mode=1,
            declare=[],
            retry=False,
        )


def _consume_without_ack(puppet, got: list[str]) -> None:
    deadline = time.monotonic() + 30
    mine = Queue(puppet.login["queue"], no_declare=True)
    with (
        puppet.connect() as connection,
        connection.channel() as channel,
        Consumer(
            channel, [mine], on_message=lambda each: got.append(each.body), auto_declare=False
        ),
    ):
        while time.monotonic() < deadline:
            try:
                connection.drain_events(timeout=1)
            except TimeoutError:
                continue
