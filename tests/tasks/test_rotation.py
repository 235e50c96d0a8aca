"""A node's other key: taken on the word of the one in force, once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks import errors, identity, nodes, rotation, succession
from tasks.models import Node, PlatformKeyChange
from tests import factories
from tests.tasks import work
from workers.protocol import messages, signatures


@pytest.fixture
def old():
    return factories.make_key()


@pytest.fixture
def node(operator, old):
    return factories.make_node(operator, key=old)


def request_of(node, key, *, signer, sent_at, proof=None):
    request = messages.KeyRotation(
        sent_at=sent_at, node=node.pk, public_key=signatures.public_text(key)
    ).model_dump_json()
    return {
        "request": request,
        "signature": signatures.sign(request.encode(), key=signer),
        "proof": signatures.sign(request.encode(), key=proof or key),
    }


def test_the_new_key_is_in_force_at_once(node, old, now):
    new = factories.make_key()

    rotated = rotation.rotate(
        node_id=node.pk, now=now, **request_of(node, new, signer=old, sent_at=now)
    )

    node.refresh_from_db()
    assert node.public_key == signatures.public_text(new)
    assert node.broker_behind_since == now
    assert rotated.broker.queue == f"node.{node.pk}"
    assert rotated.platform_key == identity.platform_public_key()
    assert rotated.broker.password not in node.broker_password_hash or not rotated.broker.password


def test_the_same_key_with_a_new_password_may_be_asked_for_once(node, old, now):
    asked = request_of(node, old, signer=old, sent_at=now)
    rotation.rotate(node_id=node.pk, now=now, **asked)
    before = work.everything()

    with pytest.raises(rotation.OutOfDate):
        rotation.rotate(node_id=node.pk, now=now, **asked)

    assert work.everything() == before


@pytest.mark.parametrize("late", [timedelta(seconds=601), timedelta(seconds=-601)])
def test_a_request_dated_by_a_wrong_clock_is_refused(node, old, now, late):
    asked = request_of(node, factories.make_key(), signer=old, sent_at=now + late)
    before = work.everything()

    with pytest.raises(rotation.OutOfDate):
        rotation.rotate(node_id=node.pk, now=now, **asked)

    assert work.everything() == before


def test_neither_key_can_be_left_out(node, old, now):
    new, other = factories.make_key(), factories.make_key()
    before = work.everything()

    for signer, proof in ((new, new), (other, new), (old, old), (old, other)):
        asked = request_of(node, new, signer=signer, proof=proof, sent_at=now)
        with pytest.raises(rotation.NotSigned):
            rotation.rotate(node_id=node.pk, now=now, **asked)

    assert work.everything() == before


def test_another_nodes_request_or_key_is_refused(node, old, now, stranger):
    taken = factories.make_key()
    other = factories.make_node(stranger, key=taken)
    before = work.everything()

    with pytest.raises(rotation.Unreadable):
        rotation.rotate(node_id=node.pk, now=now, **request_of(other, old, signer=old, sent_at=now))
    with pytest.raises(nodes.KeyTaken):
        rotation.rotate(
            node_id=node.pk, now=now, **request_of(node, taken, signer=old, sent_at=now)
        )
    for missing in ("node_x", "node-\0", other.pk[:-1] + "!"):
        with pytest.raises(rotation.NotSigned):
            rotation.rotate(
                node_id=missing, now=now, **request_of(node, old, signer=old, sent_at=now)
            )

    assert work.everything() == before


@pytest.mark.parametrize("state", [Node.State.SUSPENDED, Node.State.RETIRED])
def test_a_removed_node_changes_no_key(node, old, now, state):
    Node.objects.filter(pk=node.pk).update(state=state)
    before = work.everything()

    with pytest.raises(errors.WrongState):
        rotation.rotate(
            node_id=node.pk,
            now=now,
            **request_of(node, factories.make_key(), signer=old, sent_at=now),
        )

    assert work.everything() == before


def test_the_platforms_new_key_is_vouched_for_by_the_old_one(db, settings, tmp_path, now):
    settings.PLATFORM_KEY_PATH = tmp_path / "platform.key"
    first = identity.platform_public_key()

    change = succession.change_platform_key(now=now)

    second = identity.platform_public_key()
    assert (change.old_key, change.new_key) == (first, second)
    assert first != second
    signatures.verify(change.body.encode(), change.signature, public_key=first)
    assert succession.changes() == [PlatformKeyChange.objects.get()]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["platform.key"]
