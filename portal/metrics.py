"""The platform's figures in the text format that Prometheus reads.

All of them are gauges made from rows and from the broker when they are asked for. They are of
the platform, not of the process that answers: any worker of any portal says the same, and none
of them counts anything in memory. Each name stands in docs/howto/watch-the-platform.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from tasks.operations import gates
from tasks.operations.figures import Figures

#: The format that every scraper reads.
MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

#: Values of a metric's labels, and its value; None is not said.
Sample = tuple[Sequence[str], float | None]


def exposition(figures: Figures) -> bytes:
    """Return the figures as MEDIA_TYPE, always the same series in the same order.

    Only what the broker does not tell is left out.
    """
    return generate_latest(_Collector(figures))


class _Collector(Collector):
    """Hands the library's writer our own gauges; nothing is registered for longer."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for part in (_broker, _jobs, _work, _matching, _nodes, _referee, _upkeep):
            yield from part(self._figures)


def _broker(taken: Figures) -> Iterator[GaugeMetricFamily]:
    source, queues = taken.queues.source, taken.queues.queues
    yield _one("broker_up", "1 if the message broker answers.", source != "none")
    is_told = None if source == "embedded" else source == "management"
    yield _one("broker_management_up", "1 if RabbitMQ's management answers.", is_told)
    yield _many(
        "queue_messages",
        "Messages in a queue of the platform: ready, or in a consumer's hand.",
        ["queue", "state"],
        [((queue.name, "ready"), queue.ready) for queue in queues]
        + [((queue.name, "unacknowledged"), queue.unacknowledged) for queue in queues],
    )
    yield _many(
        "queue_consumers",
        "Who reads the queue.",
        ["queue"],
        [([queue.name], queue.consumers) for queue in queues],
    )
    yield _many(
        "queue_oldest_message_age_seconds",
        "Age of the oldest message in the queue, where the message says so.",
        ["queue"],
        [([queue.name], _age(queue.oldest_at, taken, empty=None)) for queue in queues],
    )


def _jobs(taken: Figures) -> Iterator[GaugeMetricFamily]:
    yield _many(
        "jobs", "Open jobs.", ["state"], [([each.state], each.count) for each in taken.jobs]
    )
    yield _many(
        "job_oldest_open_age_seconds",
        "Age of the oldest job with an undecided chunk; 0: there is none.",
        ["state"],
        [([each.state], _age(each.oldest_open_at, taken)) for each in taken.jobs],
    )
    yield _many(
        "answer_oldest_undecided_age_seconds",
        "Age of the oldest answer nothing was decided about; 0: there is none.",
        ["state"],
        [([each.state], _age(each.oldest_undecided_at, taken)) for each in taken.jobs],
    )


def _work(taken: Figures) -> Iterator[GaugeMetricFamily]:
    work = taken.work
    yield _one("chunks_open", "Chunks without an accepted answer.", work.chunks_open)
    yield _one(
        "chunks_checking", "Accepted chunks that are to be computed again.", work.chunks_checking
    )
    yield _one("chunks_stirred", "Accepted chunks with news nobody looked at.", work.chunks_stirred)
    yield _one("leases", "Replicas that nodes are at work on.", work.replicas_leased)
    yield _one("answers_undecided", "Answers nothing was decided about.", work.replicas_undecided)


def _matching(taken: Figures) -> Iterator[GaugeMetricFamily]:
    refused = taken.gates
    yield _one("matching_chunks", "Ready chunks the next pass would look at.", refused.chunks)
    yield _one("matching_nodes", "Nodes with a free slot it would look at.", refused.nodes)
    yield _one("matching_grants", "Assignments that would go out now.", refused.grants)
    yield _many(
        "matching_refusals",
        "How often a gate refused a chunk, or a node for a chunk, in that pass.",
        ["gate"],
        [([gate], refused.by_gate.get(gate, 0)) for gate in gates.WORDS],
    )


def _nodes(taken: Figures) -> Iterator[GaugeMetricFamily]:
    yield _many(
        "nodes",
        "Nodes, each in one state.",
        ["state"],
        [([state], count) for state, count in taken.nodes.items()],
    )


def _referee(taken: Figures) -> Iterator[GaugeMetricFamily]:
    state = taken.referee
    yield _one("referee_chunks", "Chunks the referee is asked for.", state.backlog_chunks)
    yield _one("referee_images", "Pictures in those chunks.", state.backlog_images)
    yield _one(
        "referee_oldest_age_seconds",
        "Age of the oldest question to the referee; 0: there is none.",
        _age(state.oldest_asked_at, taken),
    )
    yield _one("referee_hour_images", "Pictures it computed in the last hour.", state.spent_images)
    yield _one(
        "referee_hour_images_max", "Pictures it may compute in an hour.", state.budget_images
    )


def _upkeep(taken: Figures) -> Iterator[GaugeMetricFamily]:
    unsent, money, todo = taken.unsent, taken.money, taken.todo
    yield _one(
        "sweep_age_seconds",
        "Time since the last sweep ended; +Inf: there was none.",
        _age(taken.platform.swept_at, taken, empty=math.inf),
    )
    yield _one(
        "drained", "1 while no new work is given out.", taken.platform.drained_at is not None
    )
    yield _many(
        "messages_unsent",
        "Messages that should have left and are sent again by the sweeps.",
        ["kind"],
        [
            (["announcement"], unsent.announcements),
            (["assignment"], unsent.assignments),
            (["admission"], unsent.admissions),
        ],
    )
    yield _many(
        "intents_pending",
        "Movements of money that were decided and are not posted: at once, or due by now.",
        ["kind"],
        [(["ready"], money.ready), (["due"], money.due)],
    )
    yield _one(
        "intent_oldest_age_seconds",
        "Age of the oldest movement to be posted at once; 0: there is none.",
        _age(money.oldest_ready_at, taken),
    )
    yield _one("strikes_waiting", "Strikes to be carried out.", todo.strikes_waiting)
    yield _many(
        "appeals",
        "Appeals that wait for the referee, or for staff.",
        ["state"],
        [(["referee"], todo.appeals_referee), (["staff"], todo.appeals_staff)],
    )


def _one(name: str, text: str, value: float | None) -> GaugeMetricFamily:
    return _many(name, text, [], [([], value)])


def _many(
    name: str, text: str, labels: Sequence[str], samples: Iterable[Sample]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"nodefolk_{name}", text, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, float(value))
    return family


def _age(moment: datetime | None, taken: Figures, *, empty: float | None = 0.0) -> float | None:
    """Return the seconds since then, never below 0: clocks of several machines differ."""
    if moment is None:
        return empty
    return max(0.0, (taken.taken_at - moment).total_seconds())
