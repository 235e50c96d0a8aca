"""A node's life: let in once, paused, resumed, retired, suspended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks import broker, errors, identity, nodes
from tasks.models import EnrollmentToken, Node
from tests import factories
from tests.tasks import work
from workers.protocol import signatures


@pytest.fixture
def token(operator, now) -> str:
    return nodes.issue_token(owner_id=operator.pk, now=now).token


def enroll(token, now, **changes):
    fields = {"name": "den", "public_key": signatures.public_text(factories.make_key())}
    return nodes.enroll(token=token, hardware={"cores": 4}, now=now, **{**fields, **changes})


def test_a_token_is_shown_once_and_only_its_hash_is_kept(operator, now):
    issued = nodes.issue_token(owner_id=operator.pk, now=now)

    row = EnrollmentToken.objects.get()
    assert issued.expires_at == row.expires_at == now + timedelta(minutes=15)
    assert issued.token.startswith("nfe_")
    assert issued.token not in row.token_hash
    assert (row.owner, row.used_at, row.node) == (operator, None, None)


def test_enrolling_binds_the_key_to_the_tokens_owner(operator, token, now):
    model = factories.make_model()
    key = signatures.public_text(factories.make_key())

    enrollment = enroll(token, now, public_key=key)

    node = Node.objects.get()
    assert (node.owner, node.public_key, node.state) == (operator, key, "active")
    assert (node.name, node.hardware) == ("den", {"cores": 4})
    assert enrollment.node == node
    assert enrollment.platform_key == identity.platform_public_key()
    assert enrollment.broker.queue == f"node.{node.pk}"
    assert [reference.digest for reference in enrollment.models] == [model.blob_id]
    row = EnrollmentToken.objects.get()
    assert (row.used_at, row.node) == (now, node)


def test_a_long_name_and_many_facts_are_cut(operator, token, now):
    node = nodes.enroll(
        token=token,
        name="n" * 500,
        public_key=signatures.public_text(factories.make_key()),
        hardware={f"fact{number}": number for number in range(100)},
        now=now,
    ).node

    node.refresh_from_db()
    assert (len(node.name), len(node.hardware)) == (80, 32)


def test_a_token_is_good_once(token, now):
    enroll(token, now)
    before = work.everything()

    with pytest.raises(nodes.BadToken) as refused:
        enroll(token, now)

    assert (refused.value.code, refused.value.status) == ("token_invalid", 403)
    assert work.everything() == before


@pytest.mark.parametrize(
    ("later", "is_good"), [(timedelta(minutes=15) - timedelta(seconds=1), True),
                           (timedelta(minutes=15), False)],
)  # fmt: skip
def test_a_token_is_good_for_fifteen_minutes(token, now, later, is_good):
    before = work.everything()

    if is_good:
        assert enroll(token, now + later).node.state == "active"
        return
    with pytest.raises(nodes.BadToken):
        enroll(token, now + later)
    assert work.everything() == before


def test_an_invented_token_is_refused(token, now):
    before = work.everything()

    with pytest.raises(nodes.BadToken):
        enroll(token + "x", now)

    assert work.everything() == before


def test_a_key_is_enrolled_once_and_the_token_stays_good(stranger, token, now):
    other = factories.make_node(stranger)
    before = work.everything()

    with pytest.raises(nodes.KeyTaken) as refused:
        enroll(token, now, public_key=other.public_key)

    assert (refused.value.code, refused.value.status) == ("key_taken", 409)
    assert work.everything() == before
    assert enroll(token, now).node.state == "active"


@pytest.mark.parametrize("key", ["", "?", factories.nonsense_key(), "é" * 44])
def test_what_is_no_key_is_refused_and_the_token_stays_good(token, now, key):
    before = work.everything()

    with pytest.raises(nodes.BadPublicKey) as refused:
        enroll(token, now, public_key=key)

    assert (refused.value.field, refused.value.status) == ("public_key", 422)
    assert work.everything() == before


def test_while_the_broker_is_away_nobody_is_enrolled_and_the_token_stays_good(token, now, settings):
    before = work.everything()
    working = settings.BROKER_URL
    settings.BROKER_URL = "amqp://nobody@127.0.0.1:1//"
    settings.BROKER_MANAGEMENT_URL = ""

    with pytest.raises(broker.BrokerUnavailable):
        enroll(token, now)

    assert work.everything() == before
    settings.BROKER_URL = working
    if not working.startswith("amqp"):
        assert enroll(token, now).node.state == "active"


def test_a_node_is_paused_and_resumed(operator, now, django_capture_on_commit_callbacks):
    node = factories.make_node(operator)

    with django_capture_on_commit_callbacks() as callbacks:
        paused = nodes.pause(node_id=node.pk, now=now)
    assert (paused.state, paused.state_changed_at) == ("paused", now)
    assert paused.settings_revision == 1
    assert [callback.keywords["node_ids"] for callback in callbacks] == [[node.pk]]

    with django_capture_on_commit_callbacks() as callbacks:
        resumed = nodes.resume(node_id=node.pk, now=now)
    assert (resumed.state, resumed.settings_revision) == ("active", 2)
    told, swept = (callback.keywords for callback in callbacks)
    assert (told, swept["name"]) == ({"node_ids": [node.pk]}, "tasks.sweep")


@pytest.mark.parametrize("remove", [nodes.retire, nodes.suspend])
def test_a_removed_node_loses_its_leases_and_its_broker_access(
    client_user, now, remove, django_capture_on_commit_callbacks
):
    fleet = factories.make_fleet(2, slots=3)
    job = work.start(client_user, fleet, images=2)
    mine, other = ([row for row in work.leased(job) if row.node == node] for node in fleet)

    with django_capture_on_commit_callbacks() as callbacks:
        node = remove(node_id=fleet[0].pk, now=now)

    assert node.state == {nodes.retire: "retired", nodes.suspend: "suspended"}[remove]
    assert work.leased(job) == other
    lost = job.replicas.filter(pk__in=[row.pk for row in mine])
    assert set(lost.values_list("state", "reason")) == {("lost", "node_removed")}
    sent = [(callback.func.__name__, callback.keywords) for callback in callbacks]
    assert ("enforce_admission", {"node_id": node.pk}) in sent
    assert Node.objects.get(pk=node.pk).broker_behind_since == now
    assert work.unsound() == []


def test_a_suspended_node_may_still_be_retired(operator, now):
    node = factories.make_node(operator)
    nodes.suspend(node_id=node.pk, now=now)

    assert nodes.retire(node_id=node.pk, now=now).state == "retired"


@pytest.mark.parametrize(
    ("state", "act"),
    [
        ("paused", nodes.pause),
        ("active", nodes.resume),
        ("suspended", nodes.resume),
        ("retired", nodes.resume),
        ("suspended", nodes.suspend),
        ("active", nodes.reinstate),
        ("retired", nodes.reinstate),
        ("retired", nodes.suspend),
        ("retired", nodes.retire),
    ],
)
def test_a_step_out_of_turn_is_refused_and_changes_nothing(operator, now, state, act):
    node = factories.make_node(operator, state=state)
    before = work.everything()

    with pytest.raises(errors.WrongState):
        act(node_id=node.pk, now=now)

    assert work.everything() == before
