"""What a node's page asks for, and a node that leaves by its own key."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from django.db import IntegrityError, transaction

from tasks import errors, nodes, outgoing, reasons
from tasks.models import Node
from tests import factories
from tests.tasks import work
from workers import reasons as node_reasons
from workers.protocol import messages, routes, signatures
from workers.protocol.allowance import Allowance


@pytest.fixture
def key():
    return factories.make_key()


@pytest.fixture
def node(operator, key) -> Node:
    return factories.make_node(operator, key=key)


@pytest.fixture
def sent(monkeypatch) -> list:
    """Collect what would be published: (queue, task, message)."""
    found: list = []
    monkeypatch.setattr(
        outgoing,
        "_publish",
        lambda _exchange, key, task, message: found.append((key, task, message)),
    )
    return found


def leave_request(node: Node, key, now, **changes) -> tuple[bytes, str]:
    fields = {"sent_at": now, "node": node.pk, **changes}
    body = messages.Leave(**fields).model_dump_json().encode()
    return body, signatures.sign(body, key=key)


def test_wishes_are_counted_and_sent_to_the_node(node, sent, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        changed = nodes.set_wishes(node_id=node.pk, wishes=Allowance(cores=2, battery=False))

    assert (changed.wishes, changed.settings_revision) == ({"cores": 2, "battery": False}, 1)
    ((queue, task, message),) = sent
    assert (queue, task) == (routes.node_queue_name(node.pk), routes.TASK_SETTINGS)
    assert (message.revision, message.is_paused, message.wishes.cores) == (1, False, 2)


def test_a_pause_is_sent_with_the_wishes_that_stand(
    node, now, sent, django_capture_on_commit_callbacks
):
    nodes.set_wishes(node_id=node.pk, wishes=Allowance(cores=2))
    with django_capture_on_commit_callbacks(execute=True):
        nodes.pause(node_id=node.pk, now=now)

    message = sent[-1][2]
    assert (message.revision, message.is_paused, message.wishes) == (2, True, Allowance(cores=2))


@pytest.mark.parametrize("end", [nodes.retire, nodes.suspend])
def test_a_removed_node_takes_no_wishes(node, now, end):
    end(node_id=node.pk, now=now)
    before = work.everything()

    with pytest.raises(errors.WrongState):
        nodes.set_wishes(node_id=node.pk, wishes=Allowance(cores=1))

    assert work.everything() == before


def test_a_node_leaves_by_its_own_signature_and_twice_is_fine(node, key, now):
    body, signature = leave_request(node, key, now)

    for _ in range(2):
        nodes.leave(node_id=node.pk, body=body, signature=signature, now=now)

    assert Node.objects.get(pk=node.pk).state == "retired"


@pytest.mark.parametrize("case", ["another key", "another node", "old", "no signature", "nonsense"])
def test_a_node_cannot_be_made_to_leave_by_others(node, key, now, operator, case):
    other = factories.make_node(operator)
    body, signature = leave_request(node, key, now)
    if case == "another key":
        signature = signatures.sign(body, key=factories.make_key())
    elif case == "another node":
        body, signature = leave_request(other, key, now)
    elif case == "old":
        body, signature = leave_request(node, key, now - timedelta(seconds=601))
    elif case == "no signature":
        signature = ""
    else:
        body, signature = b"{", signatures.sign(b"{", key=key)
    before = work.everything()

    with pytest.raises(nodes.NotTheNode):
        nodes.leave(node_id=node.pk, body=body, signature=signature, now=now)

    assert work.everything() == before


def test_an_unknown_node_cannot_leave(db, key, now):
    with pytest.raises(nodes.NotTheNode):
        nodes.leave(node_id="node_none", body=b"{}", signature="", now=now)


class TestIdentity:
    """A node is its key, and belongs to the person whose token let it in."""

    def enroll(self, owner, key, now):
        token = nodes.issue_token(owner_id=owner.pk, now=now).token
        return nodes.enroll(
            token=token,
            name="n",
            public_key=signatures.public_text(key),
            hardware={},
            now=now,
        ).node

    def test_it_belongs_to_the_owner_of_the_token(self, operator, key, now):
        assert self.enroll(operator, key, now).owner == operator

    def test_it_is_not_enrolled_twice_by_its_owner_nor_by_another(
        self, operator, stranger, key, now
    ):
        first = self.enroll(operator, key, now)

        for owner in (operator, stranger):
            with pytest.raises(nodes.KeyTaken):
                self.enroll(owner, key, now)

        assert list(Node.objects.values_list("pk", "owner")) == [(first.pk, operator.pk)]

    def test_a_retired_nodes_key_does_not_come_back_under_another_owner(
        self, operator, stranger, key, now
    ):
        nodes.retire(node_id=self.enroll(operator, key, now).pk, now=now)

        with pytest.raises(nodes.KeyTaken):
            self.enroll(stranger, key, now)

        assert Node.objects.get().owner == operator

    def test_the_database_itself_keeps_one_node_a_key(self, operator, stranger, key, now):
        self.enroll(operator, key, now)

        with pytest.raises(IntegrityError, match=r"node_key_once|public_key"), transaction.atomic():
            factories.make_node(stranger, key=key)

        assert Node.objects.count() == 1


def test_the_node_says_the_same_words_as_the_platform():
    platform = {choice.value: choice.label for choice in reasons.NodeReason}

    assert {code: words for code, (words, _) in node_reasons.TEXTS.items()} == platform


@pytest.mark.django_db(transaction=True)
def test_two_changes_of_different_limits_at_once_both_stay(side_by_side):
    node = factories.make_node(factories.make_user("operator"))

    answers = side_by_side(
        *(
            partial(nodes.change_wishes, node_id=node.pk, changes=changes)
            for changes in ({"cores": 2}, {"celsius": 70}, {"battery": False})
        )
    )

    assert not any(isinstance(answer, Exception) for answer in answers)
    node.refresh_from_db()
    assert (node.settings_revision, node.wishes) == (
        3,
        {"cores": 2, "celsius": 70, "battery": False},
    )
