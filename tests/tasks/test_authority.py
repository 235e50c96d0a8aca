"""What the authority says yes to, and that everything else is no."""

from __future__ import annotations

import itertools

import pytest

from tasks import authority, broker, passwords
from tasks.models import Node
from tests import factories

#: Well formed, and of no node.
UNKNOWN = f"node_{'0' * 26}"
PASSWORD = "a long and random password"


@pytest.fixture
def node(operator):
    return factories.make_node(operator, broker_password_hash=passwords.hashed(PASSWORD))


def ask(question, node, **fields):
    known = {"username": f"node-{node.pk}", "vhost": broker.vhost(), "password": PASSWORD}
    return authority.allows(question, {**known, **fields})


def test_an_active_or_paused_node_logs_in_and_enters(node):
    for state in (Node.State.ACTIVE, Node.State.PAUSED):
        Node.objects.filter(pk=node.pk).update(state=state)
        assert ask("user", node)
        assert ask("vhost", node)


@pytest.mark.parametrize("state", [Node.State.SUSPENDED, Node.State.RETIRED])
def test_a_removed_node_is_refused_everything(node, state):
    Node.objects.filter(pk=node.pk).update(state=state)

    assert not ask("user", node)
    assert not ask("vhost", node)
    assert not ask("resource", node, resource="queue", name=f"node.{node.pk}", permission="read")


@pytest.mark.parametrize("password", ["", "guess", PASSWORD + " ", "\ud800", "x" * 10_000])
def test_another_password_is_refused(node, password):
    assert not ask("user", node, password=password)


def test_a_node_without_a_password_cannot_log_in_with_none(node):
    Node.objects.filter(pk=node.pk).update(broker_password_hash="")

    assert not ask("user", node, password="")


@pytest.mark.parametrize(
    "username", ["", "admin", "platform", "node-", "node-x", f"node-{UNKNOWN}", "node-\0"]
)
def test_who_is_no_node_is_refused(node, username):
    assert not ask("user", node, username=username)
    assert not ask("vhost", node, username=username)


def test_of_all_resources_a_node_has_two(node, operator):
    other = factories.make_node(operator)
    names = [f"node.{node.pk}", f"node.{other.pk}", "ingress", "assign", "announce", "internal",
             "dead", "platform.work", "platform.reports", "amq.default", "amq.topic", ""]  # fmt: skip
    rights = itertools.product(["queue", "exchange", "topic", ""], names,
                               ["configure", "read", "write", ""])  # fmt: skip

    allowed = {
        (kind, name, permission)
        for kind, name, permission in rights
        if ask("resource", node, resource=kind, name=name, permission=permission)
    }

    assert allowed == {("queue", f"node.{node.pk}", "read"), ("exchange", "ingress", "write")}


@pytest.mark.parametrize(
    ("key", "is_allowed"),
    [
        ("ack.{own}", True),
        ("report.{own}", True),
        ("heartbeat.{own}", True),
        ("withdraw.{own}", False),
        ("report.{own}.more", False),
        ("report.{own}\n", False),
        ("{own}", False),
        ("#", False),
        ("", False),
    ],
)
def test_a_node_writes_under_its_own_keys(node, key, is_allowed):
    fields = {"resource": "topic", "name": "ingress", "routing_key": key.format(own=node.pk)}

    assert ask("topic", node, permission="write", **fields) is is_allowed
    assert not ask("topic", node, permission="read", **fields)
    assert not ask("topic", node, permission="write", **{**fields, "name": "announce"})


def test_another_vhost_or_question_is_refused(node):
    assert not ask("vhost", node, vhost="elsewhere")
    assert not ask("anything", node)


def test_a_hash_is_salted_and_matches_only_its_password():
    first, second = passwords.hashed("one"), passwords.hashed("one")

    assert first != second
    assert passwords.matches("one", first)
    assert passwords.matches("one", second)
    assert not passwords.matches("two", first)


def test_the_network_a_node_enters_from_is_kept(node):
    assert ask("vhost", node, ip="::ffff:198.41.0.4")
    node.refresh_from_db()
    assert node.network == "198.41.0.0/24"
    assert ask("vhost", node, ip="127.0.0.1")
    node.refresh_from_db()
    assert node.network == "198.41.0.0/24"


def test_who_is_refused_moves_no_network(node):
    assert not ask("vhost", node, vhost="another", ip="198.41.0.4")
    assert not ask("user", node, password="guess", ip="198.41.0.4")
    Node.objects.filter(pk=node.pk).update(state=Node.State.RETIRED)
    assert not ask("vhost", node, ip="198.41.0.4")

    node.refresh_from_db()
    assert node.network == ""
