"""Gold: pictures whose answer is known, shown among the others.

A node that lies on a picture in sixteen cannot tell which one is looked at: a gold picture
has a name, size, link and place like every other, its bytes were never seen by any node, and
no owner meets one twice (gold_once_per_owner) or after its source. What is known is what
the referee computed, so failing is a strike without further question.
"""

from __future__ import annotations

import io
import logging
import secrets
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from PIL import Image

from tasks import blobs, referee
from tasks.models import CatalogModel, Chunk, GoldItem, Item, Job, Replica, Strike
from tasks.reasons import ReplicaReason
from tasks.verification import agreement, terms
from workers.protocol import pictures

logger = logging.getLogger(__name__)

#: Objects a picture must show; "nothing there" is too easily right.
OBJECTS_MIN: Final = 3
#: How far the likeliest class must lead.
MARGIN_MIN: Final = 0.2
#: Scores from which an object is surely there.
SCORE_SURE: Final = 0.5
#: Usable gold kept for each model, and how many are made in one go.
STOCK: Final = 40
MADE_AT_ONCE: Final = 8
#: Gold looked at when one is chosen.
CHOICE_MAX: Final = 100
#: Sources looked at when gold is made.
SOURCES_MAX: Final = 200
#: Edges cut off, a share of each side: the picture is another one, its objects are not.
CUT_MIN, CUT_MAX = 0.02, 0.06
#: JPEG and WebP qualities cameras and programs use.
QUALITIES: Final = (85, 88, 90, 92, 95)
#: Answers are kept down to this score: any job's threshold lies above.
FLOOR: Final = 0.05
_random = secrets.SystemRandom()
_S = Replica.State


@dataclass(frozen=True, kw_only=True)
class _Choice:
    item_id: int
    source_dataset: str | None
    #: Owners who saw it, or the picture it was made from.
    known_to: frozenset[int]


def show(
    replicas: Sequence[Replica], *, first: Mapping[int, float], datasets: Mapping[str, str]
) -> None:
    """Choose gold for replicas about to be written, before any of them is.

    `first`: chunks that are given out for the first time -> checks of the node that gets it.
    `datasets`: job -> data set. All replicas of a chunk are shown the same picture at the
    same place, so that two owners who compare notes see no odd one out; who knows it already
    is shown none. Runs inside the scheduler's transaction, which holds the chunks.
    """
    assert connection.in_atomic_block
    drawn = {
        chunk_id
        for chunk_id, checks in first.items()
        if _random.random() < terms.gold_chance(checks)
    }
    by_chunk: defaultdict[int, list[Replica]] = defaultdict(list)
    for replica in replicas:
        if replica.chunk_id in drawn or replica.chunk.gold_id is not None:
            by_chunk[replica.chunk_id].append(replica)
    if not by_chunk:
        return
    choices = _choices(by_chunk)
    uses: Counter[int] = Counter()
    met: set[tuple[int, int]] = set()
    for chunk_id in sorted(by_chunk):
        group = by_chunk[chunk_id]
        chunk = group[0].chunk
        if chunk.gold_id is None and not _choose(chunk, group, choices, datasets, met):
            continue
        for replica in group:
            _show_one(replica, chunk, choices, met, uses)
    _write(by_chunk, uses)


def _choices(by_chunk: Mapping[int, Sequence[Replica]]) -> dict[str, dict[int, _Choice]]:
    """Return usable gold by model, with who knows each. Three queries."""
    models = {replica.job.model_id for group in by_chunk.values() for replica in group}
    bound = (group[0].chunk.gold_id for group in by_chunk.values())
    fixed = {gold_id for gold_id in bound if gold_id is not None}
    usable = GoldItem.objects.filter(model__in=models, uses__lt=GoldItem.USES_MAX)
    rows = [
        *GoldItem.objects.filter(pk__in=fixed).select_related("source__job"),
        # Uses index: gold_usable.
        *usable.exclude(pk__in=fixed)
        .select_related("source__job")
        .order_by("uses", "pk")[:CHOICE_MAX],
    ]
    known: defaultdict[int, set[int]] = defaultdict(set)
    for gold_id, owner in Replica.objects.filter(gold__in=rows).values_list("gold", "operator"):
        known[gold_id].add(owner)
    of_chunk: defaultdict[int, set[int]] = defaultdict(set)
    sources = {row.source.chunk_id for row in rows if row.source is not None}
    for chunk_id, owner in Replica.objects.filter(chunk__in=sources).values_list(
        "chunk", "operator"
    ):
        of_chunk[chunk_id].add(owner)
    found: defaultdict[str, dict[int, _Choice]] = defaultdict(dict)
    for row in rows:
        seen = of_chunk[row.source.chunk_id] if row.source is not None else set()
        found[row.model_id][row.pk] = _Choice(
            item_id=row.pk,
            source_dataset=row.source.job.dataset_id if row.source is not None else None,
            known_to=frozenset(known[row.pk] | seen),
        )
    return found


def _choose(
    chunk: Chunk,
    group: Sequence[Replica],
    choices: Mapping[str, Mapping[int, _Choice]],
    datasets: Mapping[str, str],
    met: set[tuple[int, int]],
) -> bool:
    """Bind the chunk to a picture none of its nodes knows, of its own data set if there is one."""
    dataset = datasets[chunk.job_id]
    open_choices = [
        choice
        for choice in choices.get(group[0].job.model_id, {}).values()
        if not any(_knows(choice, replica.operator_id, met) for replica in group)
    ]
    if not open_choices:
        return False
    own = [choice for choice in open_choices if choice.source_dataset == dataset]
    chunk.gold_id = _random.choice(own or open_choices).item_id
    chunk.gold_position = _random.randint(0, chunk.items_count)
    return True


def _knows(choice: _Choice, owner: int, met: set[tuple[int, int]]) -> bool:
    return owner in choice.known_to or (choice.item_id, owner) in met


def _show_one(
    replica: Replica,
    chunk: Chunk,
    choices: Mapping[str, Mapping[int, _Choice]],
    met: set[tuple[int, int]],
    uses: Counter[int],
) -> None:
    assert chunk.gold_id is not None
    choice = choices[replica.job.model_id].get(chunk.gold_id)
    if choice is None or _knows(choice, replica.operator_id, met):
        return
    met.add((chunk.gold_id, replica.operator_id))
    uses[chunk.gold_id] += 1
    replica.gold_id, replica.gold_position = chunk.gold_id, chunk.gold_position


def _write(by_chunk: Mapping[int, Sequence[Replica]], uses: Counter[int]) -> None:
    """Bind the chunks and count the uses; a picture that is used up meanwhile is left out."""
    used_up = {
        gold_id
        for gold_id, count in sorted(uses.items())
        if not GoldItem.objects.filter(pk=gold_id, uses__lte=GoldItem.USES_MAX - count).update(
            uses=F("uses") + count
        )
    }
    bound = []
    for group in by_chunk.values():
        if group[0].chunk.gold_id in used_up:
            for replica in group:
                replica.gold_id = replica.gold_position = None
        elif group[0].chunk.gold_id is not None:
            bound.append(group[0].chunk)
    Chunk.objects.bulk_update(bound, ["gold", "gold_position"])


def score(chunk_ids: Collection[int], *, now: datetime) -> int:
    """Compare what new reports say of their gold pictures; return how many failed.

    A replica that failed is refused and its node has a strike. Runs inside the caller's
    transaction, which holds the chunks. One query when there is nothing to compare.
    """
    assert connection.in_atomic_block
    new = list(
        Replica.objects.filter(
            chunk__in=chunk_ids, state=_S.REPORTED, gold__isnull=False, gold_outcome=""
        )
        .select_related("gold", "job")
        .order_by("pk")
    )
    if not new:
        return 0
    failed = [replica for replica in new if not _is_right(replica)]
    passed = [replica.pk for replica in new if replica not in failed]
    Replica.objects.filter(pk__in=passed).update(gold_outcome=Replica.Gold.PASSED)
    Replica.objects.filter(pk__in=[replica.pk for replica in failed]).update(
        state=_S.REJECTED, reason=ReplicaReason.GOLD_FAILED, gold_outcome=Replica.Gold.FAILED
    )
    for replica in failed:
        Chunk.objects.filter(pk=replica.chunk_id).update(granted=F("granted") - 1)
        logger.info("gold failed", extra={"node_id": replica.node_id, "replica_id": replica.pk})
    Strike.objects.bulk_create(
        [
            Strike(
                replica=replica,
                node_id=replica.node_id,
                model_id=replica.job.model_id,
                cause=Strike.Cause.GOLD,
                created_at=now,
            )
            for replica in failed
        ],
        ignore_conflicts=True,  # strike_once
    )
    for job_id, count in sorted(Counter(replica.job_id for replica in new).items()):
        Job.objects.filter(pk=job_id).update(gold_checks=F("gold_checks") + count)
    return len(failed)


def _is_right(replica: Replica) -> bool:
    assert replica.gold is not None
    return agreement.same(
        [_tuples(replica.gold_answer)],
        [_tuples(replica.gold.expected)],
        score_threshold=replica.job.score_threshold,
        kind=replica.job.kind,
    )


def _tuples(found: Any) -> list[tuple[Any, ...]]:
    return [tuple(each) for each in found or []]


def make(*, now: datetime) -> int:
    """Make gold where the stock is low, within the referee's budget; return how many."""
    made = 0
    for model in _short_of_gold():
        for item in _sources(model):
            if made >= MADE_AT_ONCE or referee.spent(now=now) >= settings.REFEREE_IMAGES_PER_HOUR:
                return made
            made += _make_one(model, item)
    return made


def _short_of_gold() -> list[CatalogModel]:
    """Return models with work of late and little usable gold. Two queries."""
    usable = Counter(
        GoldItem.objects.filter(uses__lt=GoldItem.USES_MAX).values_list("model", flat=True)
    )
    lately = Job.objects.order_by("-submitted_at", "-pk").values_list("model", flat=True)[:100]
    models = {model for model in lately if usable[model] < STOCK}
    return list(CatalogModel.objects.filter(pk__in=models).order_by("pk"))


def _sources(model: CatalogModel) -> list[Item]:
    """Return accepted pictures that show enough, newest first, not made into gold before."""
    items = (
        Item.objects.filter(
            job__model=model,
            state__in=[Item.State.PROVISIONAL, Item.State.FINAL],
            source=Item.Source.MACHINE,
            gold=None,
        )
        .select_related("image__blob")
        .order_by("-pk")[:SOURCES_MAX]
    )
    return [item for item in items if _shows_enough(item)][:MADE_AT_ONCE]


def _shows_enough(item: Item) -> bool:
    if item.classes:
        first, *rest = (each["score"] for each in item.classes)
        return bool(first - (rest[0] if rest else 0.0) >= MARGIN_MIN)
    sure = [each for each in item.detections or [] if each["score"] >= SCORE_SURE]
    return len(sure) >= OBJECTS_MIN


def _make_one(model: CatalogModel, item: Item) -> int:
    """Alter the picture, let the referee compute it, keep both; 0 when it is no use."""
    try:
        data, media_type, size = alter(blobs.read(item.image.blob_id))
    except (pictures.Unreadable, OSError):
        return 0
    blob = blobs.put(data, media_type=media_type)
    try:
        (expected,) = referee.answer(model=model, pictures=[blob], sizes=[size], floor=FLOOR)
    except referee.Failed as exc:
        logger.warning("no gold: %s", exc, extra={"item_id": item.pk})
        return 0
    if not _is_telling(model, expected):
        return 0
    with transaction.atomic():
        _, is_new = GoldItem.objects.get_or_create(
            model=model,
            blob=blob,
            defaults={
                "source": item,
                "width": size[0],
                "height": size[1],
                "expected": expected,
            },
        )
    return int(is_new)


def _is_telling(model: CatalogModel, expected: Sequence[Sequence[float]]) -> bool:
    if model.kind == CatalogModel.Kind.CLASSIFY:
        scores = [each[1] for each in expected]
        return len(scores) > 1 and bool(scores[0] - scores[1] >= MARGIN_MIN)
    return sum(each[1] >= SCORE_SURE for each in expected) >= OBJECTS_MIN


def alter(data: bytes) -> tuple[bytes, str, tuple[int, int]]:
    """Cut the picture's edges and write it anew in its own format.

    Returns its bytes, media type, and width and height in pixels.

    Raises:
        pictures.Unreadable: the picture cannot be read.
    """
    original = Image.open(io.BytesIO(data)).format or "PNG"
    image = pictures.read(data).image
    cuts = [_random.uniform(CUT_MIN, CUT_MAX) for _ in range(4)]
    image = image.crop(
        (
            round(image.width * cuts[0]),
            round(image.height * cuts[1]),
            round(image.width * (1 - cuts[2])),
            round(image.height * (1 - cuts[3])),
        )
    )
    file = io.BytesIO()
    if original in {"JPEG", "WEBP"}:
        image.save(file, original, quality=_random.choice(QUALITIES))
    else:
        original = "PNG"
        image.save(file, original)
    return file.getvalue(), f"image/{original.lower()}", (image.width, image.height)
