"""The referee: the platform computes a chunk on its own machine, and its answer decides.

It runs the node's own code (`workers.referee`) in a process of its own, with the model in a
locked room. Nobody is punished before it has spoken, and what it says is what gold pictures
are measured by. It is slow and costs the platform, so it has a budget; beyond that chunks
wait for it.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import F, Sum

from tasks import answers, blobs, catalog, dispatch, model_process
from tasks.models import Blob, CatalogModel, Chunk, GoldItem, Job
from tasks.reasons import OTHER_CLASS
from tasks.verification import agreement, verdicts
from workers.protocol import messages

logger = logging.getLogger(__name__)

SECONDS_MAX: Final = 90
#: Of one answer: 16 pictures with 100 detections each.
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
#: A chunk is asked about again after this time: the process died, or nobody was told.
ASK_AGAIN_AFTER: Final = timedelta(seconds=60)
#: Chunks in one sweep.
BATCH_MAX: Final = 50
#: The budget is counted over this time.
_HOUR: Final = timedelta(hours=1)
#: The process is handed the files; the link in the model's reference is void from the start.
_VOID: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Failed(Exception):
    """The referee has no answer; the text is a code, the same words nodes use."""


@dataclass(frozen=True, kw_only=True)
class Computed:
    """What it found on each picture, and what its numbers depended on."""

    found: answers.Found
    numeric_class: str


def answer(
    *, model: CatalogModel, pictures: Sequence[Blob], sizes: Sequence[tuple[int, int]], floor: float
) -> Computed:
    """Compute pictures here and now; return what is found on each, checked as a node's is.

    Raises:
        Failed: with the code of what went wrong.
    """
    reference = catalog.reference(model, audience="referee", expires_at=_VOID)
    request = {"reference": reference.model_dump(mode="json"), "floor": floor}
    with tempfile.TemporaryDirectory(prefix="nodefolk-referee-") as folder:
        files = [Path(folder) / "model", *(Path(folder) / str(n) for n in range(len(pictures)))]
        for file, digest in zip(files, [model.blob_id, *(p.pk for p in pictures)], strict=True):
            file.write_bytes(blobs.read(digest))
        try:
            given = model_process.ask(
                "workers.referee",
                [str(file) for file in files],
                request=json.dumps(request).encode(),
                seconds_max=SECONDS_MAX,
                answer_bytes_max=ANSWER_BYTES_MAX,
            )
        except model_process.ProcessFailed as exc:
            raise Failed(f"model_{'hung' if exc.code == 'timeout' else 'died'}") from exc
    if given["code"]:
        raise Failed(str(given["code"]))
    return Computed(
        found=_checked(given["answers"], model, sizes),
        numeric_class=str(given["numeric_class"])[:120],
    )


def _checked(given: object, model: CatalogModel, sizes: Sequence[tuple[int, int]]) -> answers.Found:
    report = messages.Report.model_validate_json(
        json.dumps(
            {
                "sent_at": "2000-01-01T00:00:00Z",
                "node": "referee",
                "assignment": "0",
                "nonce": "0" * 32,
                "model_digest": model.blob_id,
                "status": "done",
                "answers": given,
            }
        )
    )
    question = answers.Question(
        model_digest=model.blob_id,
        kind=model.kind,
        class_ids=frozenset(int(number) for number in model.labels),
        sizes=sizes,
    )
    try:
        return answers.check(report, question)
    except answers.InvalidAnswer as exc:
        raise Failed("invalid_answer") from exc


def run(*, chunk_id: int, now: datetime) -> bool:
    """Decide a chunk that waits for the referee; say whether this call brought the answer.

    Harmless when called twice: of two answers the first stands. Over budget it does nothing,
    and the sweep asks again later.
    """
    chunk = (
        Chunk.objects.select_related("job__model")
        .filter(pk=chunk_id, referee_asked_at__isnull=False, referee_at=None)
        .first()
    )
    if chunk is None or spent(now=now) + chunk.items_count > settings.REFEREE_IMAGES_PER_HOUR:
        return False
    found: answers.Found | None = None
    error = ""
    try:
        found = _judge(chunk)
    except Failed as exc:
        error = str(exc)
        logger.warning("the referee has no answer: %s", error, extra={"chunk_id": chunk_id})
    with transaction.atomic():
        came = Chunk.objects.filter(pk=chunk_id, referee_at=None).update(
            referee_at=now, referee_answer=found, referee_error=error, stirred_at=now
        )
        if came:
            Job.objects.filter(pk=chunk.job_id).update(
                referee_runs=F("referee_runs") + 1, version=F("version") + 1
            )
    verdicts.advance(chunk_id=chunk_id, now=now)
    return came == 1


def _judge(chunk: Chunk) -> answers.Found:
    items = list(chunk.items.select_related("image__blob").order_by("position"))
    computed = answer(
        model=chunk.job.model,
        pictures=[item.image.blob for item in items],
        sizes=[(item.image.width, item.image.height) for item in items],
        floor=agreement.score_floor(chunk.job.score_threshold),
    )
    if chunk.numeric_class not in {"", computed.numeric_class}:
        raise Failed(OTHER_CLASS)
    return computed.found


def spent(*, now: datetime) -> int:
    """Return how many pictures it computed in the last hour. Uses index: chunk_refereed."""
    counted = Chunk.objects.filter(referee_at__gte=now - _HOUR).aggregate(
        images=Sum("items_count", default=0)
    )
    made = GoldItem.objects.filter(created_at__gte=now - _HOUR).count()
    return int(counted["images"]) + made


def ask_again(*, now: datetime) -> int:
    """Queue chunks whose referee has not answered; return how many. Uses chunk_refereeing."""
    waiting = list(
        Chunk.objects.filter(
            referee_asked_at__lt=now - ASK_AGAIN_AFTER,
            referee_at=None,
            state__in=[Chunk.State.OPEN, Chunk.State.PROVISIONAL],
        )
        .order_by("referee_asked_at", "pk")
        .values_list("pk", flat=True)[:BATCH_MAX]
    )
    with transaction.atomic():
        for chunk_id in waiting:
            dispatch.referee(chunk_id=chunk_id)
    return len(waiting)
