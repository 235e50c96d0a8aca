"""Sign and publish what the platform says to nodes and to its own workers.

Nodes run Celery, so these are Celery messages; their only arguments are the JSON text and
the platform's signature over it. Called after commit, never inside a transaction.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from django.db import transaction
from django.db.models import F
from kombu import Exchange

from tasks import (
    admission,
    assignments,
    broker,
    events,
    fleet,
    identity,
    publishing,
    queues,
    samples,
)
from tasks.celery import app
from tasks.models import Chunk, Job, Node, Replica
from tasks.reasons import EventCode
from workers.protocol import limits, messages, routes, signatures
from workers.protocol.allowance import Allowance, Declared

logger = logging.getLogger(__name__)


def send_announcement(*, job_id: str) -> None:
    """Publish the job's announcement and note when, for timing the acks.

    A large fleet hears of it in samples, one more with each call.
    """
    job = Job.objects.select_related("model").get(pk=job_id)
    _connect()
    now = datetime.now(UTC)
    buckets = _note_announced(job, now=now)
    message = _announcement(job, now=now)
    for bucket in buckets or [""]:
        key = routes.announcement_key(job.kind, job.model.blob_id, bucket)
        _publish(queues.ANNOUNCE, key, routes.TASK_ANNOUNCE, message)


def send_announcements_to(*, node_id: str, job_ids: Sequence[str]) -> None:
    """Publish the announcements of jobs into one node's own queue, oldest first."""
    jobs = Job.objects.filter(pk__in=job_ids).select_related("model")
    for job in jobs.order_by("submitted_at", "pk"):
        message = _announcement(job, now=datetime.now(UTC))
        _publish(queues.ASSIGN, routes.node_queue_name(node_id), routes.TASK_ANNOUNCE, message)


def _announcement(job: Job, *, now: datetime) -> messages.Announcement:
    return messages.Announcement(
        sent_at=now,
        job=job.pk,
        task="classify" if job.kind == Job.Kind.CLASSIFY else "detect",
        model_digest=job.model.blob_id,
        items=job.items_total,
        client_category=cast("Declared", job.client_category),
    )


def _note_announced(job: Job, *, now: datetime) -> str:
    """Write down the time before publishing: an ack may come back before we do.

    Returns the buckets to tell, "" for everybody.
    """
    nodes = fleet.online_count(now=now)
    wanted = Chunk.objects.filter(job=job, state=Chunk.State.OPEN, granted__lt=F("wanted"))
    buckets = samples.draw(
        job_id=job.pk,
        told=job.buckets_told,
        nodes=nodes,
        # More than there are nodes makes no difference.
        wanted=wanted[:nodes].count() * job.replicas_planned,
    )
    with transaction.atomic():
        is_first = Job.objects.filter(pk=job.pk, announced_at=None).update(
            announced_at=now, version=F("version") + 1
        )
        asked = 0
        if buckets and job.buckets_told < len(samples.BUCKETS):
            asked = fleet.online_count(now=now, buckets=buckets)
        elif is_first:
            asked = nodes
        Job.objects.filter(pk=job.pk).update(
            announced_again_at=now,
            buckets_told=F("buckets_told") + len(buckets),
            nodes_asked=F("nodes_asked") + asked,
        )
        if is_first:
            events.record(job_id=job.pk, code=EventCode.ANNOUNCED, detail={}, now=now)
    return buckets


def send_assignments(*, replica_ids: Sequence[int]) -> None:
    """Publish each replica that is still leased into its node's own queue.

    Several of one node go in one message, as far as it holds them.
    """
    now = datetime.now(UTC)
    leased = Replica.objects.filter(pk__any_of=replica_ids, state=Replica.State.LEASED)
    by_node: dict[str, list[messages.Assignment]] = defaultdict(list)
    for each in assignments.build(leased, now=now):
        by_node[each.node].append(each)
    for node_id, several in by_node.items():
        key = routes.node_queue_name(node_id)
        for text in _texts(several, node_id=node_id, now=now):
            _publish_text(queues.ASSIGN, key, routes.TASK_ASSIGN, text)


def _texts(several: Sequence[messages.Assignment], *, node_id: str, now: datetime) -> Iterator[str]:
    """Write assignments into as few messages as the limits allow, in order.

    One alone is sent as itself. They are written once and joined: that is the costly part.
    """
    empty = messages.Assignments.model_construct(sent_at=now, node=node_id, assignments=[])
    head = empty.model_dump_json().removesuffix("]}")
    waiting: list[str] = []
    size_bytes = 0
    for each in several:
        text = each.model_dump_json()
        is_full = len(head) + size_bytes + len(text) + 3 > limits.MESSAGE_BYTES_MAX
        if waiting and (is_full or len(waiting) == limits.BATCH_MAX):
            yield _joined(head, waiting)
            waiting, size_bytes = [], 0
        waiting.append(text)
        size_bytes += len(text) + 1
    if waiting:
        yield _joined(head, waiting)


def _joined(head: str, texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{head}{','.join(texts)}]}}"


def send_withdrawals(*, replica_ids: Sequence[int]) -> None:
    """Tell each node which of its assignments nobody waits for any more."""
    by_node: dict[str, list[str]] = defaultdict(list)
    for replica_id, node_id in Replica.objects.filter(pk__in=replica_ids).values_list(
        "pk", "node_id"
    ):
        by_node[node_id].append(str(replica_id))
    for node_id, named in by_node.items():
        message = messages.Withdrawal(sent_at=datetime.now(UTC), node=node_id, assignments=named)
        key = routes.node_queue_name(node_id)
        _publish(queues.ASSIGN, key, routes.TASK_WITHDRAW, message)


def send_settings(*, node_ids: Sequence[str]) -> None:
    """Tell each node what its page asks for now: pause and limits."""
    nodes = Node.objects.filter(
        pk__in=node_ids, state__in=[Node.State.ACTIVE, Node.State.PAUSED]
    ).order_by("pk")
    for node in nodes:
        message = messages.NodeSettings(
            sent_at=datetime.now(UTC),
            node=node.pk,
            revision=node.settings_revision,
            is_paused=node.state == Node.State.PAUSED,
            wishes=Allowance(**node.wishes),
        )
        key = routes.node_queue_name(node.pk)
        _publish(queues.ASSIGN, key, routes.TASK_SETTINGS, message)


def send_receipts(*, reports: Mapping[str, Sequence[messages.ReportName]]) -> None:
    """Tell each node that these reports need not be kept or sent again."""
    for node_id, names in reports.items():
        for start in range(0, len(names), limits.RECEIPT_REPORTS_MAX):
            batch = list(names[start : start + limits.RECEIPT_REPORTS_MAX])
            message = messages.Receipt(sent_at=datetime.now(UTC), node=node_id, reports=batch)
            _publish(queues.ASSIGN, routes.node_queue_name(node_id), routes.TASK_RECEIPT, message)


def send_work(*, name: str, arguments: dict[str, Any]) -> None:
    """Queue background work for the platform's own Celery workers."""
    publishing.send(
        name,
        kwargs=arguments,
        exchange=queues.INTERNAL.name,
        routing_key=queues.worker_queue(name).routing_key,
    )


def enforce_admission(*, node_id: str) -> None:
    """Tell the broker here and now, in milliseconds; while it is away, the sweep tries on."""
    try:
        admission.enforce(node_id=node_id)
    except broker.BrokerUnavailable as exc:
        logger.warning("the broker cannot be told: %s", exc, extra={"node_id": node_id})


def _connect() -> None:
    """Open the connection that publishing will take from the pool.

    Connecting is not announcing: without this the first job's acks would look late.
    """
    with app.producer_or_acquire() as producer:
        producer.connection.ensure_connection(max_retries=1, timeout=publishing.TIMEOUT_SECONDS)


def _publish(exchange: Exchange, routing_key: str, task: str, message: messages.Message) -> None:
    _publish_text(exchange, routing_key, task, message.model_dump_json())


def _publish_text(exchange: Exchange, routing_key: str, task: str, text: str) -> None:
    publishing.send(
        task,
        args=[text, signatures.sign(text.encode(), key=identity.platform_key())],
        exchange=exchange.name,
        routing_key=routing_key,
        delivery_mode=1,
    )
