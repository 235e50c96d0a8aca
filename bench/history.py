"""A past as long as one likes: a job is computed for real, then its rows are multiplied.

Needs PostgreSQL. Used to see what statements cost, and how they are planned, when the tables
are large. The balances of the ledger's accounts are not those of the multiplied transfers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection, models, transaction

from payments import ledger
from payments.models import Transfer, TransferIntent
from portal.models import User
from tasks import blobs, jobs, reports, requests, scheduling
from tasks.models import (
    Ack,
    Blob,
    CatalogModel,
    Chunk,
    Credibility,
    Dataset,
    Image,
    Item,
    Job,
    JobEvent,
    Node,
    Replica,
    SignedReport,
)
from tasks.verification import batches
from workers.protocol import manifest, messages, signatures

#: Chunks of one past job; each has as many pictures as the data set.
CHUNKS_OF_JOB = 1000
SLOTS = 25
#: Reports of one signed message.
TOGETHER = 50
FOUND = (1, 0.9, 8.0, 8.0, 24.0, 24.0)
#: The past ended so long ago.
AGO = timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Who and what the work is about."""

    client_id: int
    model_id: str
    dataset_id: str
    node_ids: list[str]


def prepare(*, nodes: int, now: datetime) -> Scene:
    """Make a client with money, a model, a data set of CHUNKS_OF_JOB pictures, trusted nodes."""
    client, _ = User.objects.get_or_create(email="bench-client@nodefolk.example")
    ledger.deposit(owner_id=client.pk, amount_minor=10**13, key="bench", now=now)
    blob = blobs.put(b"a model", media_type="application/octet-stream")
    model = CatalogModel.objects.create(
        kind="detect",
        slug="light",
        name="Light",
        version="1",
        blob=blob,
        labels={"1": "person"},
        licence="-",
        source="bench",
        image_ms=10_000,  # as slow as chunks of one picture want
        tensor_contract=manifest.DETECTOR.model_dump(mode="json"),
    )
    dataset = Dataset.objects.create(owner=client, name="bench")
    digests = [f"{number:064x}" for number in range(CHUNKS_OF_JOB)]
    Blob.objects.bulk_create(
        [Blob(digest=digest, size_bytes=1, media_type="image/png") for digest in digests]
    )
    Image.objects.bulk_create(
        [
            Image(dataset=dataset, blob_id=digest, name="x.png", width=48, height=48)
            for digest in digests
        ]
    )
    return Scene(
        client_id=client.pk,
        model_id=model.pk,
        dataset_id=dataset.pk,
        node_ids=[_node(number, model, now=now) for number in range(nodes)],
    )


def _node(number: int, model: CatalogModel, *, now: datetime) -> str:
    owner, _ = User.objects.get_or_create(email=f"bench-{number}@nodefolk.example")
    node = Node.objects.create(
        owner=owner,
        name=f"light {number}",
        public_key=signatures.public_text(Ed25519PrivateKey.generate()),
        slots=SLOTS,
        last_seen_at=now,
    )
    Credibility.objects.create(
        node=node, model=model, checks_tenths=20_000, quota=100_000, state="trusted"
    )
    return str(node.pk)


def submit(scene: Scene, *, now: datetime) -> str:
    """Buy a job of CHUNKS_OF_JOB chunks, which all nodes have acknowledged; return its id."""
    request = requests.JobRequest(
        kind="detect",
        dataset_id=scene.dataset_id,
        model_id=scene.model_id,
        target_error="1e-3",
    )
    job = jobs.submit(owner_id=scene.client_id, request=request, now=now)
    Job.objects.filter(pk=job.pk).update(announced_at=now, smoke=Job.Smoke.PASSED)
    Ack.objects.bulk_create(
        [
            Ack(job=job, node_id=node_id, received_at=now, latency_ms=20)
            for node_id in scene.node_ids
        ]
    )
    return str(job.pk)


def schedule(job_id: str, *, now: datetime) -> list[int]:
    """Give out what nodes have slots for; nothing is sent."""
    with transaction.atomic():
        made = scheduling.assign_ready(now=now, job_ids=[job_id])
        connection.run_on_commit.clear()
    return made


def reports_of(replica_ids: list[int], *, now: datetime) -> list[reports.SignedReport]:
    """Return good reports, some in one message of their node, as ingest passes them on."""
    sent = []
    for replica in (
        Replica.objects.filter(pk__in=replica_ids)
        .select_related("job__model", "chunk")
        .order_by("node", "pk")
    ):
        shown = replica.chunk.items_count + (replica.gold_position is not None)
        report = messages.Report(
            sent_at=now,
            node=replica.node_id,
            assignment=str(replica.pk),
            nonce=replica.nonce,
            model_digest=replica.job.model.blob_id,
            status="done",
            answers=[
                messages.Answer(position=place, width=48, height=48, detections=[FOUND])
                for place in range(shown)
            ],
            compute_ms=1,
        )
        body = f"{replica.node_id} {len(sent) // TOGETHER} {report.model_dump_json()[:200]}"
        sent.append(reports.SignedReport(report=report, body=body, signature="s" * 88))
    return sent


def accept(sent: list[reports.SignedReport], *, now: datetime) -> None:
    """Store reports and decide their chunks; nothing is sent."""
    with transaction.atomic():
        chunk_ids = reports.accept(sent, now=now)
        batches.decide_all(chunk_ids, now=now)
        connection.run_on_commit.clear()


def fill(scene: Scene, *, chunks: int) -> None:
    """Let `chunks` chunks have been computed, settled and paid a month ago."""
    then = datetime.now(UTC) - AGO
    job_id = submit(scene, now=then)
    Node.objects.update(last_seen_at=then)
    (first, *_) = schedule(job_id, now=then)
    accept(reports_of([first], now=then), now=then)
    ledger.post_intents(limit=1000, now=then)
    with connection.cursor() as cursor, transaction.atomic():
        _multiply(cursor, first, chunks=chunks)
        for statement in (
            "UPDATE tasks_replica SET state = 'cancelled', reason = 'not_needed'"
            " WHERE state = 'leased'",
            "UPDATE tasks_chunk SET state = 'cancelled' WHERE state = 'open'",
            "UPDATE tasks_job SET state = 'cancelled'"
            " WHERE state IN ('queued', 'running', 'paused')",
        ):
            cursor.execute(statement)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _multiply(cursor: Any, replica_id: int, *, chunks: int) -> None:
    one = Replica.objects.select_related("chunk").get(pk=replica_id)
    past_jobs = -(-chunks // CHUNKS_OF_JOB)
    job, number = f"'past_' || (g / {CHUNKS_OF_JOB})", "first.base + g"
    _copy(cursor, Job, one.job_id, {"id": "'past_' || g", "state": "'finished'"}, past_jobs)
    event = JobEvent.objects.filter(job=one.job_id).order_by("pk").values_list("pk", flat=True)[0]
    _copy(cursor, JobEvent, event, {"id": "DEFAULT", "job_id": "'past_' || g"}, past_jobs)
    _copy(
        cursor,
        Chunk,
        one.chunk_id,
        {
            "id": number,
            "job_id": job,
            "index": f"mod(g, {CHUNKS_OF_JOB})",
            "state": "'final'",
            "settles_at": "NULL",
            "referee_asked_at": "NULL",
        },
        chunks,
    )
    images = "(SELECT array_agg(id ORDER BY id) FROM tasks_image)"
    item = Item.objects.values_list("pk", flat=True).get(chunk=one.chunk_id)
    _copy(
        cursor,
        Item,
        item,
        {
            "id": "DEFAULT",
            "job_id": job,
            "chunk_id": _number(cursor, Chunk, chunks),
            "image_id": f"pictures.ids[mod(g, {CHUNKS_OF_JOB}) + 1]",
            "state": "'final'",
        },
        chunks,
        beside=f", (SELECT {images} AS ids) pictures",
    )
    assert one.signed_report_id is not None
    messages_count = -(-chunks // TOGETHER)
    _copy(cursor, SignedReport, one.signed_report_id, {"id": number}, messages_count)
    signed = _number(cursor, SignedReport, messages_count)
    _copy(
        cursor,
        Replica,
        replica_id,
        {
            "id": number,
            "job_id": job,
            "chunk_id": _number(cursor, Chunk, chunks),
            "signed_report_id": f"{signed} - g + g / {TOGETHER}",
        },
        chunks,
    )
    for intent in TransferIntent.objects.filter(ref_id=str(replica_id)).order_by("pk"):
        reference = {
            "id": "DEFAULT",
            "key": f"'past:' || g || ':{intent.kind}'",
            "ref_id": f"({_number(cursor, Replica, chunks)})::text",
        }
        posted = {"posted_at": "t.created_at"}
        _copy(cursor, TransferIntent, intent.pk, reference | posted, chunks)
        transfer = Transfer.objects.filter(key=intent.key).values_list("pk", flat=True).first()
        if transfer is not None:
            _copy(cursor, Transfer, transfer, reference, chunks)


def _number(cursor: Any, model: type[models.Model], count: int) -> str:
    """Return the id that copy `g` of the `count` just made of `model` has."""
    table = model._meta.db_table  # noqa: SLF001  # Django's documented API
    cursor.execute(f"SELECT max(id) FROM {table}")
    return f"{cursor.fetchone()[0] - count + 1} + g"


def _copy(
    cursor: Any,
    model: type[models.Model],
    pk: object,
    changes: Mapping[str, str],
    count: int,
    *,
    beside: str = "",
) -> None:
    """Insert `count` copies (g = 0, 1, ...) of a row, with `changes` as SQL by column."""
    meta = model._meta  # noqa: SLF001  # Django's documented API
    columns = [field.column for field in meta.concrete_fields]
    kept = [name for name in columns if changes.get(name) != "DEFAULT"]
    quoted = ", ".join(f'"{name}"' for name in kept)
    values = ", ".join(changes.get(name, f't."{name}"') for name in kept)
    is_numbered = isinstance(meta.pk, models.BigAutoField)
    base = f"(SELECT max(id) + 1 AS base FROM {meta.db_table}) first" if is_numbered else ""
    cursor.execute(
        f"INSERT INTO {meta.db_table} ({quoted}) SELECT {values}"
        f" FROM {meta.db_table} t, generate_series(0, %s) g"
        f"{', ' + base if base else ''}{beside} WHERE t.id = %s ORDER BY g",
        [count - 1, pk],
    )
    if is_numbered:
        cursor.execute(
            f"SELECT setval(pg_get_serial_sequence('{meta.db_table}', 'id'),"
            f" (SELECT max(id) FROM {meta.db_table}))"
        )
