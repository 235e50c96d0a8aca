"""Old work leaves the tables; results, money and a receipt that verifies stay."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta

import pytest

from payments import ledger
from payments import queries as money
from payments.models import Transfer, TransferIntent
from tasks import attic, blobs, identity, receipts
from tasks.models import (
    Ack,
    Chunk,
    GoldItem,
    Item,
    Job,
    JobArchive,
    JobEvent,
    Replica,
    SignedReport,
)
from tasks.verification import finality
from tests import factories
from tests.tasks import work
from workers.protocol import digests
from workers.protocol import receipts as papers

DAY = timedelta(days=1)
END = work.NOW + 20 * DAY
LATER = work.NOW + 120 * DAY


@pytest.fixture
def job(client_user) -> Job:
    """Two pictures, computed, settled and paid."""
    job = work.start(client_user, factories.make_fleet(4, slots=2), images=2)
    work.take(*[work.report_of(replica) for replica in work.leased(job)])
    ledger.post_intents(limit=100, now=work.NOW)
    finality.settle(now=END)
    ledger.mature(limit=100, now=END)
    job.refresh_from_db()
    assert (job.state, job.items_final) == ("finished", 2)
    return job


def archive(**changes) -> int:
    return attic.archive(**{"older_than": 90 * DAY, "now": LATER, **changes})


def lines(job) -> list[dict]:
    return [
        json.loads(line)
        for part in job.archives.order_by("part")
        for line in gzip.decompress(blobs.read(part.blob_id)).decode().splitlines()
        if line
    ]


def receipt(job):
    return json.loads("".join(receipts.write(job_id=job.pk, now=LATER)))


def test_what_is_removed_was_exported(job):
    before = {
        "tasks.Replica": Replica.objects.count(),
        "tasks.SignedReport": SignedReport.objects.count(),
        "tasks.Ack": Ack.objects.count(),
        "tasks.JobEvent": JobEvent.objects.count(),
        "payments.TransferIntent": TransferIntent.objects.exclude(kind="mature").count(),
    }

    assert archive() == sum(before.values())

    exported = lines(job)
    for label, count in before.items():
        assert sum(line["table"] == label for line in exported) == count, label
    assert (Replica.objects.count(), SignedReport.objects.count()) == (0, 0)
    assert (Ack.objects.count(), JobEvent.objects.count()) == (0, 0)
    job.refresh_from_db()
    assert job.archived_at == LATER


def test_results_transfers_and_earnings_stay(job):
    transfers = list(Transfer.objects.order_by("pk").values_list())
    nodes = list(Replica.objects.values_list("node", flat=True).distinct())
    earned = money.earnings(nodes)
    items = list(Item.objects.order_by("pk").values_list())

    archive()

    assert list(Transfer.objects.order_by("pk").values_list()) == transfers
    assert list(Item.objects.order_by("pk").values_list()) == items
    assert money.earnings(nodes) == earned != {}
    assert work.unsound(LATER) == []


def test_the_receipt_still_verifies_and_names_what_was_signed(job):
    before = receipt(job)

    archive()

    after = receipt(job)
    assert after["leaves"] == before["leaves"]
    verified = papers.verify(after, public_key=identity.platform_public_key())
    assert (verified.job, verified.chunks) == (job.pk, 2)
    one = receipts.of_chunk(job_id=job.pk, index=1, now=LATER)
    assert papers.verify(one, public_key=identity.platform_public_key()).chunks == 1
    named = {each["report"] for leaf in after["leaves"] for each in leaf["replicas"]}
    bodies = [line["row"]["body"] for line in lines(job) if line["table"] == "tasks.SignedReport"]
    assert named == {digests.digest(body.encode()) for body in bodies}


def test_a_second_run_finds_nothing(job):
    archive()

    assert archive() == 0
    assert JobArchive.objects.count() == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda: Job.objects.update(state="running"),
        lambda: Chunk.objects.filter(index=0).update(state="provisional"),
        lambda: Job.objects.update(finished_at=LATER - 89 * DAY),
        lambda: TransferIntent.objects.filter(kind="mature").update(posted_at=None),
    ],
    ids=["still open", "not settled", "not old", "money on its way"],
)
def test_what_may_still_change_stays(job, spoil):
    spoil()
    before = work.everything()

    assert archive() == 0
    assert work.everything() == before


def test_a_run_that_died_in_between_is_finished(job, monkeypatch):
    """The receipt is the one from before the first row was removed."""
    monkeypatch.setattr(attic, "PART_MAX", 2)
    ids = list(Replica.objects.order_by("pk").values_list("pk", flat=True))
    kept = attic._keep_receipt(job.pk, now=LATER)
    attic._archive_part(job.pk, ids[:2], receipt_id=kept, is_last=False, now=LATER)
    assert Replica.objects.count() == len(ids) - 2

    archive(now=LATER + DAY)

    assert Replica.objects.count() == 0
    replicas = [each for leaf in receipt(job)["leaves"] for each in leaf["replicas"]]
    assert len(replicas) == len(ids)


def test_gold_that_an_owner_has_seen_is_remembered(job):
    one = Replica.objects.order_by("pk").first()
    gold = GoldItem.objects.create(
        model=job.model, blob=job.model.blob, width=1, height=1, expected=[]
    )
    Replica.objects.filter(pk=one.pk).update(gold=gold, gold_position=0)

    archive()

    assert list(Replica.objects.values_list("pk", flat=True)) == [one.pk]
