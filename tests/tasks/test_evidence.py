"""What an operator may see of refused work, and what must not be given away."""

from __future__ import annotations

import pytest

from tasks import evidence
from tasks.models import Chunk, GoldItem, Replica
from tests import factories
from tests.tasks import refusals, work

NOW = work.NOW
PERSON = [1, 0.9, 10.0, 10.0, 20.0, 20.0]
CAT = [17, 0.8, 40.0, 5.0, 10.0, 12.0]


@pytest.fixture
def nodes(operator):
    return [factories.make_node(operator), *factories.make_fleet(4)]


@pytest.fixture
def refused(client_user, nodes):
    return refusals.refused(client_user, nodes[:3])


def change(replica, **fields):
    Replica.objects.filter(pk=replica.pk).update(**fields)
    return Replica.objects.select_related("chunk", "job__model", "gold").get(pk=replica.pk)


def give_gold(replica, *, outcome="passed", uses=1, answer=(PERSON,)):
    return change(
        replica,
        gold=refusals.make_gold(replica.job.model, expected=[PERSON], uses=uses),
        gold_position=0,
        gold_answer=[list(found) for found in answer],
        gold_outcome=outcome,
    )


def words(things):
    return [(thing.label, thing.score, thing.agrees) for thing in things]


def test_both_answers_are_set_side_by_side(refused):
    refused = change(refused, answer=[[list(work.ELSEWHERE), CAT, [17, 0.1, 0.0, 0.0, 9.0, 9.0]]])
    Replica.objects.filter(job=refused.job, is_canonical=True).update(answer=[[PERSON, CAT]])

    (picture,) = evidence.compare(refused)

    assert picture.is_same is False
    assert words(picture.own) == [("person", 0.9, False), ("cat", 0.8, True)]
    assert words(picture.accepted) == [("person", 0.9, False), ("cat", 0.8, True)]
    assert picture.own[0].box == [30.0, 10.0, 20.0, 20.0]


def test_the_referees_answer_stands_where_no_nodes_does(refused):
    Replica.objects.filter(job=refused.job).update(is_canonical=False)
    Chunk.objects.filter(pk=refused.chunk_id).update(referee_answer=[[CAT]])

    (picture,) = evidence.compare(change(refused))

    assert words(picture.accepted) == [("cat", 0.8, False)]


@pytest.mark.parametrize(
    "chunk",
    [
        {"state": "open"},
        {"state": "failed"},
        {"state": "provisional", "reason": "rechecking"},
        {"state": "provisional", "wanted": 9},
    ],
    ids=["open", "failed", "in question", "an audit to come"],
)
def test_the_accepted_answer_is_told_only_when_nobody_is_to_give_one(refused, chunk):
    Chunk.objects.filter(pk=refused.chunk_id).update(**chunk)

    (picture,) = evidence.compare(change(refused))

    assert (picture.accepted, picture.is_same) == (None, None)
    assert words(picture.own) == [("person", 0.9, False)]


def test_it_is_not_told_while_another_owner_computes_it(refused, nodes):
    refused.job.replicas.create(
        chunk=refused.chunk,
        node=nodes[3],
        operator=nodes[3].owner,
        nonce="0" * 32,
        assigned_at=NOW,
        lease_expires_at=NOW,
        reward_minor=1,
        fee_minor=1,
    )

    (picture,) = evidence.compare(change(refused))

    assert picture.accepted is None


def test_a_gold_picture_stands_among_the_others_like_any_of_them(refused):
    first, second = evidence.shown(give_gold(refused))

    assert (first.name, first.width, first.height) == ("Picture 1", 60, 44)
    assert (second.name, second.width, second.height) == ("Picture 2", 64, 48)
    assert first.answer == [PERSON]
    assert second.answer == [list(work.ELSEWHERE)]


def test_a_gold_picture_that_was_passed_looks_like_one_that_agrees(refused):
    different, same = evidence.compare(give_gold(refused))

    assert (different.shown.position, different.is_same) == (1, False)
    assert (same.shown.position, same.is_same) == (0, True)
    assert words(same.accepted) == [("person", 0.9, True)]


def test_a_failed_gold_picture_is_not_told_while_it_is_in_use(refused):
    refused = give_gold(refused, outcome="failed", uses=GoldItem.USES_MAX - 1, answer=[])

    compared = evidence.compare(refused)

    assert [(each.shown.position, each.accepted, each.is_same) for each in compared] == [
        (0, None, None),
        (1, None, None),
    ]


def test_a_failed_gold_picture_is_told_once_it_is_retired(refused):
    refused = give_gold(refused, outcome="failed", uses=GoldItem.USES_MAX, answer=[])

    gold, other = evidence.compare(refused)

    assert (gold.shown.position, gold.is_same) == (0, False)
    assert words(gold.accepted) == [("person", 0.9, False)]
    assert (other.accepted, other.is_same) == (None, None)


def test_work_under_way_shows_its_pictures_without_answers(client_user, operator):
    job = work.start(client_user, [factories.make_node(operator)])

    (picture,) = evidence.shown(job.replicas.get())

    assert (picture.name, picture.answer) == ("Picture 1", [])


@pytest.mark.parametrize(
    ("fields", "beginning"),
    [
        ({"reason": "disagreed"}, "Nodes of other owners agreed"),
        ({"reason": "wrong"}, "Answers differed, so the platform computed"),
        ({"reason": "overturned"}, "Your answer was accepted at first."),
        ({"reason": "gold_failed"}, "One of the pictures was one whose answer"),
        ({"reason": "invalid_answer"}, "The answer breaks the rules"),
        ({"state": "lost", "reason": "lease_expired"}, ""),
    ],
)
def test_the_rule_is_said_in_words(refused, fields, beginning):
    assert evidence.rule(change(refused, **fields))[: len(beginning) or 99] == beginning


def test_the_rule_tells_how_answers_are_compared(refused, client_user):
    assert evidence.rule(refused).endswith(
        "Boxes are the same when their label is, they overlap by 99% and their scores lie"
        " within 0.005."
    )
    refused.job.kind = "classify"
    assert evidence.rule(refused).endswith("all probabilities lie within 0.02.")


def test_a_chunk_given_up_tells_that_nobody_was_paid(refused):
    Chunk.objects.filter(pk=refused.chunk_id).update(state="failed")

    assert evidence.rule(change(refused, reason="disagreed")) == evidence.UNDECIDED


def test_classes_are_compared_by_label_and_probability(client_user, refused):
    refused = change(refused, answer=[[[1, 0.7], [17, 0.2]]])
    refused.job.kind = "classify"
    refused.job.score_threshold = 0.05
    Replica.objects.filter(job=refused.job, is_canonical=True).update(
        answer=[[[17, 0.6], [1, 0.3]]]
    )

    (picture,) = evidence.compare(refused)

    assert picture.is_same is False
    assert words(picture.own) == [("person", 0.7, False), ("cat", 0.2, False)]
    assert picture.own[0].box == [0.0, 0.0, 64.0, 48.0]
