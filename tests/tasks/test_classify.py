"""Jobs of kind `classify`: from the order to checked, paid labels."""

from __future__ import annotations

import csv
import io
import json

import pytest

from payments import pricing
from tasks import queries, requests, results
from tasks.models import Item, Job, Replica
from tests import factories
from tests.tasks import work
from workers.protocol import messages

CAT = ((0, 0.7), (1, 0.2), (2, 0.1))
NEAR = ((0, 0.69), (1, 0.21), (2, 0.1))
DOG = ((1, 0.7), (0, 0.2), (2, 0.1))


@pytest.fixture
def job(client_user) -> Job:
    return work.start(
        client_user,
        factories.make_fleet(3),
        kind="classify",
        model=factories.make_classifier().pk,
        score_threshold=0.2,
    )


def report(replica: Replica, classes=CAT, *, detections=()) -> messages.Report:
    answers = [
        messages.Answer(
            position=position, width=64, height=48, detections=[*detections], classes=[*classes]
        )
        for position in range(replica.chunk.items_count)
    ]
    return work.report_of(replica, answers=answers)


def finish(job: Job) -> None:
    first, second = work.leased(job)
    work.take(report(first), report(second, NEAR))


def test_the_price_is_that_of_classification(job):
    each = pricing.reward_minor(kind="classify", images=1)

    assert (job.reward_image_minor, job.price_minor) == (each, 2 * each * 11 // 10)


def test_the_node_is_told_the_contract(job, now):
    [replica, _] = work.leased(job)

    assignment = work.assignment_of(replica, now=now)

    assert assignment.model.kind == "classify"
    assert assignment.model.contract.output.decoder == "classify"
    assert assignment.model.class_ids == [0, 1, 2]


def test_two_answers_that_agree_become_labels_and_money(job):
    finish(job)

    job.refresh_from_db()
    item = Item.objects.get(job=job)
    assert (job.state, item.state) == ("finished", "provisional")
    assert item.detections == []
    assert item.classes == [{"label": "cat", "score": 0.69}, {"label": "dog", "score": 0.21}]
    assert set(job.replicas.values_list("state", flat=True)) == {"accepted"}
    assert work.unsound() == []


def test_answers_that_differ_ask_for_a_third(job):
    first, second = work.leased(job)
    [decision] = work.take(report(first), report(second, DOG))

    assert (decision.action, decision.is_disagreement) == ("more", True)
    assert Item.objects.get(job=job).classes is None


@pytest.mark.parametrize(
    ("classes", "detections"),
    [
        ((), ()),
        (CAT[:2], ()),
        ((*CAT[:2], (7, 0.1)), ()),
        ((*CAT[:2], (0, 0.1)), ()),
        (CAT[::-1], ()),
        (((0, 0.9), (1, 0.9), (2, 0.9)), ()),
        (CAT, (work.FOUND,)),
    ],
)
def test_an_answer_that_breaks_the_rules_is_rejected(job, classes, detections):
    replica = work.leased(job)[0]

    work.take(report(replica, classes, detections=detections))

    replica.refresh_from_db()
    assert (replica.state, replica.reason, replica.answer) == ("rejected", "invalid_answer", None)


def test_boxes_are_refused_classes(client_user):
    job = work.start(client_user, factories.make_fleet(2))
    replica = work.leased(job)[0]

    work.take(report(replica, ((1, 0.9),), detections=(work.FOUND,)))

    replica.refresh_from_db()
    assert replica.reason == "invalid_answer"


def test_the_operator_sees_what_the_node_said(job):
    finish(job)

    [view] = queries.replica_views(
        list(job.replicas.filter(node=job.replicas.first().node)), now=work.NOW
    )

    assert view.images[0].detections[0] == {"label": "cat", "score": 0.7, "box": [0, 0, 64, 48]}


def test_results_name_the_classes(job):
    finish(job)
    export = {
        name: "".join(results.export(job_id=job.pk, format_name=name)) for name in results.FORMATS
    }

    line = json.loads(export["jsonl"])
    assert (line["detections"], line["classes"][0]) == ([], {"label": "cat", "score": 0.69})
    rows = list(csv.DictReader(io.StringIO(export["csv"])))
    assert [(row["label"], row["score"], row["x"]) for row in rows] == [
        ("cat", "0.69", ""),
        ("dog", "0.21", ""),
    ]
    coco = json.loads(export["coco"])
    assert [(each["category_id"], each["bbox"]) for each in coco["annotations"]] == [
        (0, [0, 0, 64, 48]),
        (1, [0, 0, 64, 48]),
    ]


def test_a_detector_does_not_classify(client_user, now):
    with pytest.raises(requests.UnknownModel):
        factories.make_job(client_user, kind="classify", model=factories.make_model().pk)

    assert Job.objects.count() == 0


def test_a_private_model_is_unknown_to_others(client_user, stranger):
    model = factories.make_model(owner=stranger, visibility="private")

    with pytest.raises(requests.UnknownModel):
        factories.make_job(client_user, model=model.pk)

    assert Job.objects.count() == 0
    assert factories.make_job(stranger, model=model.pk).model == model
