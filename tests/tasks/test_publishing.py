"""Messages go out within seconds or not at all; tests/hostile has a broker that is starved."""

from __future__ import annotations

import pytest

from tasks import broker, publishing, queues
from workers.protocol.alarms import BrokerBlocked


def send() -> None:
    publishing.send(
        "tasks.nothing",
        kwargs={},
        exchange=queues.INTERNAL.name,
        routing_key=queues.WORK.routing_key,
    )


@pytest.fixture
def pause(monkeypatch):
    fresh = publishing._Pause()
    monkeypatch.setattr(publishing, "_pause", fresh)
    return fresh


def test_a_broker_in_distress_is_left_alone_for_a_moment(pause):
    waiting = broker.queue_depths()
    pause.begin()

    with pytest.raises(BrokerBlocked, match="short of memory or disk"):
        send()

    assert broker.queue_depths() == waiting


def test_after_that_moment_it_is_tried_again(pause, monkeypatch):
    monkeypatch.setattr(publishing, "PAUSE_SECONDS", 0.0)
    waiting = broker.queue_depths()[queues.WORK.name]
    pause.begin()

    send()

    assert broker.queue_depths()[queues.WORK.name] == waiting + 1
