"""Gold: pictures whose answer is known, shown among the others.

A node that lies on a picture in sixteen cannot tell which one is looked at: a gold picture
has a name, size, link and place like every other, its bytes were never seen by any node, and
it stands in one chunk only. What is known is what the referee computed, so failing is a
strike without further question.
"""

from __future__ import annotations

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

from tasks import blobs, referee
from tasks.models import Blob, CatalogModel, Chunk, GoldItem, Item, Job, Replica, Strike
from tasks.reasons import ReplicaReason
from tasks.verification import agreement, alteration, faults, terms
from workers.protocol import pictures

logger = logging.getLogger(__name__)

#: Objects a picture must show; "nothing there" is too easily right.
OBJECTS_MIN: Final = 3
#: How far the likeliest class must lead.
MARGIN_MIN: Final = 0.2
#: Scores from which an object is surely there.
SCORE_SURE: Final = 0.5
#: Pictures looked at in one go, for each model.
MADE_AT_ONCE: Final = 8
#: Of the referee's budget; the rest is for disputes and smoke tests.
BUDGET_SHARE: Final = 0.5
#: Gold looked at when some is chosen.
CHOICE_MAX: Final = 100
#: Sources looked at when gold is made.
SOURCES_MAX: Final = 200
#: Answers are kept down to this score: any job's threshold lies above.
FLOOR: Final = 0.05
_random = secrets.SystemRandom()
_S = Replica.State


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """A gold picture that is in no chunk yet."""

    item_id: int
    source_dataset: str | None
    #: Owners who saw the picture it was made from.
    known_to: frozenset[int]
    numeric_class: str


@dataclass(kw_only=True)
class _Bound:
    """A chunk's gold, as its row says under the scheduler's lock."""

    numeric_class: str
    gold_id: int | None
    position: int | None


def show(
    replicas: Sequence[Replica], *, first: Mapping[int, float], datasets: Mapping[str, str]
) -> None:
    """Choose gold for replicas about to be written, before any of them is.

    `first`: chunks that are given out for the first time -> checks of the node that gets it.
    `datasets`: job -> data set. A picture goes into one chunk only, and everyone who has
    that chunk is shown it, at the same place: owners who compare what they were sent find no
    odd one out. Runs inside the scheduler's transaction, which holds the chunks; one query
    when there is nothing to choose.
    """
    assert connection.in_atomic_block
    by_chunk: defaultdict[int, list[Replica]] = defaultdict(list)
    for replica in replicas:
        by_chunk[replica.chunk_id].append(replica)
    # Read again: what a scheduler remembers of a chunk may come from before its own rollback.
    bound = {
        pk: _Bound(numeric_class=numeric_class, gold_id=gold_id, position=position)
        for pk, numeric_class, gold_id, position in Chunk.objects.filter(
            pk__any_of=by_chunk
        ).values_list("pk", "numeric_class", "gold_id", "gold_position")
    }
    drawn = [
        chunk_id
        for chunk_id, checks in sorted(first.items())
        if chunk_id in by_chunk and _random.random() < terms.gold_chance(checks)
    ]
    if drawn:
        _bind([by_chunk[chunk_id] for chunk_id in drawn], bound, datasets)
    for chunk_id, group in by_chunk.items():
        for replica in group:
            replica.gold_id = bound[chunk_id].gold_id
            replica.gold_position = bound[chunk_id].position
    _count_uses([replica.gold_id for replica in replicas if replica.gold_id is not None])


def _bind(
    groups: Sequence[Sequence[Replica]],
    bound: Mapping[int, _Bound],
    datasets: Mapping[str, str],
) -> None:
    """Put a picture that is in no chunk yet into each of these chunks, while there are any."""
    choices = _choices({group[0].job.model_id for group in groups})
    chunks = []
    for group in groups:
        chunk, model = group[0].chunk, group[0].job.model
        row = bound[chunk.pk]
        fitting = [
            choice
            for choice in choices[model.pk].values()
            if choice.known_to.isdisjoint(replica.operator_id for replica in group)
            and (not model.is_class_pinned or choice.numeric_class == row.numeric_class)
        ]
        own = [each for each in fitting if each.source_dataset == datasets[chunk.job_id]]
        if row.gold_id is not None or not fitting:
            continue
        row.gold_id = _random.choice(own or fitting).item_id
        row.position = _random.randint(0, chunk.items_count)
        del choices[model.pk][row.gold_id]
        chunks.append(Chunk(pk=chunk.pk, gold_id=row.gold_id, gold_position=row.position))
    if chunks:
        Chunk.objects.bulk_update(chunks, ["gold", "gold_position"])


def _choices(models: Collection[str]) -> dict[str, dict[int, _Choice]]:
    """Return gold that is in no chunk yet, by model. Two queries.

    Locked, leaving out what another scheduler looks at (PostgreSQL; gold_in_one_chunk
    catches the rest).
    """
    # Uses index: gold_usable.
    rows = list(
        GoldItem.objects.select_for_update(of=("self",), skip_locked=True, no_key=True)
        .filter(model__in=models, uses=0)
        .order_by("pk")
        .values_list(
            "pk", "model_id", "numeric_class", "source__chunk_id", "source__job__dataset_id"
        )[:CHOICE_MAX]
    )
    seen: defaultdict[int | None, set[int]] = defaultdict(set)
    sources = {row[3] for row in rows}
    for chunk_id, owner in Replica.objects.filter(chunk__in=sources).values_list(
        "chunk_id", "operator_id"
    ):
        seen[chunk_id].add(owner)
    found: defaultdict[str, dict[int, _Choice]] = defaultdict(dict)
    for item_id, model_id, numeric_class, chunk_id, dataset_id in rows:
        found[model_id][item_id] = _Choice(
            item_id=item_id,
            source_dataset=dataset_id,
            known_to=frozenset(seen[chunk_id]),
            numeric_class=numeric_class,
        )
    return found


def _count_uses(gold_ids: Sequence[int]) -> None:
    """Count the showings, up to the most that are kept count of."""
    for gold_id, count in sorted(Counter(gold_ids).items()):
        GoldItem.objects.filter(pk=gold_id, uses__lte=GoldItem.USES_MAX - count).update(
            uses=F("uses") + count
        )


def score(chunk_ids: Collection[int], *, now: datetime) -> int:
    """Compare what new reports say of their gold pictures; return how many failed.

    A replica that failed is refused and its node has a strike, or a warning if it was nearly
    right. Runs inside the caller's transaction, which holds the chunks. One query when there
    is nothing to compare.
    """
    assert connection.in_atomic_block
    new = list(
        Replica.objects.filter(
            chunk__any_of=chunk_ids, state=_S.REPORTED, gold__isnull=False, gold_outcome=""
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
        faults.record(
            replicas=[replica],
            model_id=replica.job.model_id,
            cause=Strike.Cause.NEAR if _is_near(replica) else Strike.Cause.GOLD,
            now=now,
        )
    for job_id, count in sorted(Counter(replica.job_id for replica in new).items()):
        Job.objects.filter(pk=job_id).update(gold_checks=F("gold_checks") + count)
    return len(failed)


def _is_right(replica: Replica) -> bool:
    given, expected = _gold_answers(replica)
    return agreement.same(
        given,
        expected,
        score_threshold=replica.job.score_threshold,
        kind=replica.job.kind,
    )


def _is_near(replica: Replica) -> bool:
    given, expected = _gold_answers(replica)
    return faults.is_near(
        given,
        expected,
        score_threshold=replica.job.score_threshold,
        kind=replica.job.kind,
    )


def _gold_answers(replica: Replica) -> tuple[agreement.Answer, agreement.Answer]:
    """Return what was answered to the gold picture, and what the referee had."""
    assert replica.gold is not None
    return [_tuples(replica.gold_answer)], [_tuples(replica.gold.expected)]


def _tuples(found: Any) -> list[tuple[Any, ...]]:
    return [tuple(each) for each in found or []]


def make(*, now: datetime) -> int:
    """Make gold where the stock is low, within its share of the referee's budget; how many.

    At most `MADE_AT_ONCE` pictures are looked at for each model.
    """
    made = 0
    for model in _short_of_gold():
        left = int(settings.REFEREE_IMAGES_PER_HOUR * BUDGET_SHARE) - referee.spent(now=now)
        items = _sources(model)[: max(0, left)]
        if items:
            made += _make_from(model, items)
    return made


def _short_of_gold() -> list[CatalogModel]:
    """Return models with work of late and little unused gold. Two queries."""
    unused = Counter(GoldItem.objects.filter(uses=0).values_list("model", flat=True))
    lately = Job.objects.order_by("-submitted_at", "-pk").values_list("model", flat=True)[:100]
    models = {model for model in lately if unused[model] < settings.GOLD_STOCK}
    return list(CatalogModel.objects.filter(pk__in=models).order_by("pk"))


def _sources(model: CatalogModel) -> list[Item]:
    """Return accepted pictures that show enough, not made into gold before, at random.

    Not always the newest: one that is no use any more once it is altered would be tried for
    ever.
    """
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
    enough = [item for item in items if _shows_enough(item)]
    return _random.sample(enough, min(len(enough), MADE_AT_ONCE))


def _shows_enough(item: Item) -> bool:
    if item.classes:
        first, *rest = (each["score"] for each in item.classes)
        return bool(first - (rest[0] if rest else 0.0) >= MARGIN_MIN)
    sure = [each for each in item.detections or [] if each["score"] >= SCORE_SURE]
    return len(sure) >= OBJECTS_MIN


def _make_from(model: CatalogModel, items: Sequence[Item]) -> int:
    """Alter the pictures, let the referee compute them, keep those that are of use."""
    altered: list[tuple[Item, Blob, tuple[int, int]]] = []
    for item in items:
        try:
            data, media_type, size = alteration.alter(
                blobs.read(item.image.blob_id), randomness=_random
            )
        except (pictures.Unreadable, OSError) as exc:
            logger.warning("no gold: %s", exc, extra={"item_id": item.pk})
        else:
            altered.append((item, blobs.put(data, media_type=media_type), size))
    if not altered:
        return 0
    try:
        computed = referee.answer(
            model=model,
            pictures=[blob for _, blob, _ in altered],
            sizes=[size for _, _, size in altered],
            floor=FLOOR,
        )
    except referee.Failed as exc:
        logger.warning("no gold: %s", exc, extra={"model_id": model.pk})
        return 0
    return sum(
        _keep(model, item, blob, size, expected, numeric_class=computed.numeric_class)
        for (item, blob, size), expected in zip(altered, computed.found, strict=True)
        if _is_telling(model, expected)
    )


def _keep(
    model: CatalogModel,
    item: Item,
    blob: Blob,
    size: tuple[int, int],
    expected: Sequence[Sequence[float]],
    *,
    numeric_class: str,
) -> bool:
    with transaction.atomic():
        _, is_new = GoldItem.objects.get_or_create(
            model=model,
            blob=blob,
            defaults={
                "source": item,
                "width": size[0],
                "height": size[1],
                "expected": expected,
                "numeric_class": numeric_class,
            },
        )
    return is_new


def _is_telling(model: CatalogModel, expected: Sequence[Sequence[float]]) -> bool:
    if model.kind == CatalogModel.Kind.CLASSIFY:
        scores = [each[1] for each in expected]
        return len(scores) > 1 and bool(scores[0] - scores[1] >= MARGIN_MIN)
    return sum(each[1] >= SCORE_SURE for each in expected) >= OBJECTS_MIN
