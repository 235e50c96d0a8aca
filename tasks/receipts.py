"""The signed receipt of a job: who computed what, which checks were made, what it cost.

`workers.protocol.receipts` says how it is built and checked. Written piece by piece, so a
job of many chunks needs no more memory than one of few. Nodes appear under an alias that
differs from job to job: a client can tell two nodes of a job apart, never follow one.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from payments import money
from payments import queries as payments_queries
from tasks import blobs, identity, settlement
from tasks.errors import Refused
from tasks.models import Chunk, Job, JobArchive, Replica
from workers.protocol import digests, receipts, signatures

#: Chunks read from the database at one time.
ROWS = 200
ALIAS_LENGTH = 16


class UnknownChunk(Refused):
    """The job has no such chunk."""

    code, status, field = "unknown_chunk", 404, "chunk"


def write(*, job_id: str, now: datetime) -> Iterator[str]:
    """Yield the receipt of a job as it stands, piece by piece; of an archived one as it stood."""
    kept = _kept(job_id)
    if kept is not None:
        yield kept
        return
    job = Job.objects.select_related("model").get(pk=job_id)
    tree = receipts.Tree()
    yield '{"leaves":['
    for place, leaf in enumerate(_leaves(job)):
        tree.add(receipts.leaf_hash(leaf))
        yield ("," if place else "") + receipts.canonical(leaf).decode()
    yield "]," + _signed(_receipt(job, merkle_root=tree.root(), now=now))[1:]


def of_chunk(*, job_id: str, index: int, now: datetime) -> dict[str, Any]:
    """Return the receipt of one chunk: its leaf, and the path from it to the job's root.

    Raises:
        UnknownChunk: the job has no chunk of that number.
    """
    kept = _kept(job_id)
    document = None if kept is None else json.loads(kept)
    job = Job.objects.select_related("model").get(pk=job_id)
    hashes: list[bytes] = []
    found: tuple[int, dict[str, Any]] | None = None
    for place, leaf in enumerate(_leaves(job) if document is None else document["leaves"]):
        hashes.append(receipts.leaf_hash(leaf))
        if leaf["chunk"] == index:
            found = place, leaf
    if found is None:
        raise UnknownChunk("The job has no such chunk.")
    place, leaf = found
    signed = document or _sign_again(job, hashes, now=now)
    return {**signed, "leaves": [leaf], "place": place, "path": receipts.path(hashes, place)}


def _sign_again(job: Job, hashes: Sequence[bytes], *, now: datetime) -> dict[str, Any]:
    tree = receipts.Tree()
    for each in hashes:
        tree.add(each)
    signed: dict[str, Any] = json.loads(_signed(_receipt(job, merkle_root=tree.root(), now=now)))
    return signed


def _kept(job_id: str) -> str | None:
    """Return the last receipt of a job whose rows are archived; None while it can be written."""
    digest = JobArchive.objects.filter(job=job_id).values_list("receipt_id", flat=True).first()
    return None if digest is None else gzip.decompress(blobs.read(digest)).decode()


def alias(*, job_id: str, node_id: str) -> str:
    """Return the name a node has on receipts of one job."""
    key = settings.SECRET_KEY.encode()
    tag = hmac.new(key, f"receipt\n{job_id}\n{node_id}".encode(), hashlib.sha256)
    return tag.hexdigest()[:ALIAS_LENGTH]


def _signed(receipt: Mapping[str, Any]) -> str:
    body = receipts.canonical(receipt)
    signature = signatures.sign(body, key=identity.platform_key(), domain=receipts.DOMAIN)
    return '{"receipt":' + body.decode() + ',"signature":' + json.dumps(signature) + "}"


def _receipt(job: Job, *, merkle_root: str, now: datetime) -> dict[str, Any]:
    escrow = payments_queries.escrow(settlement.JOB, job.pk)
    return {
        "v": receipts.VERSION,
        "job": job.pk,
        "kind": job.kind,
        "state": job.state,
        "is_final": _is_final(job),
        "target_error": job.target_error,
        "mode": job.mode,
        "score_threshold": job.score_threshold,
        "model": {
            "name": job.model.name,
            "version": job.model.version,
            "digest": job.model.blob_id,
        },
        "items": job.items_total,
        "chunks": job.chunks.count(),
        "submitted_at": _time(job.submitted_at),
        "finished_at": _time(job.finished_at),
        "issued_at": _time(now),
        "checks": {
            "gold": job.gold_checks,
            "audits": job.audits,
            "audits_failed": job.audits_failed,
            "referee": job.referee_runs,
            "disagreements": job.disagreements,
            "corrections": job.corrections,
        },
        "asset": money.ASSET,
        "price": money.format_amount(job.price_minor),
        "spent": money.format_amount(escrow.spent_minor),
        "platform_key": identity.platform_public_key(),
        "merkle_root": merkle_root,
    }


def _is_final(job: Job) -> bool:
    """Say whether nothing in it can change any more."""
    is_over = job.state in {Job.State.FINISHED, Job.State.CANCELLED, Job.State.FAILED}
    return is_over and job.items_provisional == 0


def _leaves(job: Job) -> Iterator[dict[str, Any]]:
    for chunk in _chunks(job).iterator(chunk_size=ROWS):
        yield _leaf(job, chunk)


def _chunks(job: Job) -> QuerySet[Chunk]:
    return job.chunks.order_by("index").prefetch_related("items__image", "replicas__signed_report")


def _leaf(job: Job, chunk: Chunk) -> dict[str, Any]:
    items = sorted(chunk.items.all(), key=lambda item: item.position)
    result = [item.classes if job.kind == Job.Kind.CLASSIFY else item.detections for item in items]
    replicas = sorted(chunk.replicas.all(), key=lambda replica: replica.pk)
    return {
        "chunk": chunk.index,
        "state": chunk.state,
        "reason": chunk.reason,
        "images": [item.image.blob_id for item in items],
        "result": digests.digest(receipts.canonical(result)),
        "decided_at": _time(chunk.decided_at),
        "settles_at": _time(chunk.settles_at),
        "referee": chunk.referee_answer is not None,
        "rechecks": chunk.rechecks,
        "replicas": [_replica(job, replica) for replica in replicas],
    }


def _replica(job: Job, replica: Replica) -> dict[str, Any]:
    return {
        "node": alias(job_id=job.pk, node_id=replica.node_id),
        "numeric_class": replica.numeric_class,
        "purpose": replica.purpose,
        "state": replica.state,
        "reason": replica.reason,
        # What the node signed; the platform keeps it as evidence.
        "report": (
            digests.digest(replica.signed_report.body.encode()) if replica.signed_report else ""
        ),
        "checks_before": replica.checks_tenths / 10,
        "gold": replica.gold_outcome,
        "reward": money.format_amount(replica.reward_minor if _is_paid(replica) else 0),
    }


def _is_paid(replica: Replica) -> bool:
    return replica.state in {Replica.State.ACCEPTED, Replica.State.CANCELLED}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
