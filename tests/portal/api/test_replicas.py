"""`nodes/{id}/replicas/` and `replicas/{id}/appeal/`."""

from __future__ import annotations

import pytest

from tasks.models import Appeal, Chunk, Replica
from tests import factories
from tests.portal.api import calls
from tests.tasks import refusals, work


@pytest.fixture
def refused(client_user, operator):
    nodes = [factories.make_node(operator, name="mine"), *factories.make_fleet(2)]
    return refusals.refused(client_user, nodes)


def row(api, replica):
    (found,) = calls.get(api, f"nodes/{replica.node_id}/replicas/").json()["results"]
    return found


def test_refused_work_says_the_rule_and_that_it_may_be_appealed(operator_api, refused):
    found = row(operator_api, refused)

    assert (found["state"], found["verdict"], found["reason"]) == ("rejected", "refused", "wrong")
    assert found["rule"].startswith("Answers differed, so the platform computed")
    assert (found["reward"], found["reward_state"], found["released_at"]) == (
        "0.0000000",
        "",
        None,
    )
    assert (found["appeal"], found["may_appeal"]) == (None, True)


def test_accepted_work_says_its_reward_and_when_it_is_released(operator_api, operator, client_user):
    mine = factories.make_node(operator)
    refusals.refused(client_user, [*factories.make_fleet(2), mine])

    found = row(operator_api, mine.replicas.get())

    assert (found["verdict"], found["rule"], found["may_appeal"]) == ("accepted", "", False)
    assert (found["reward"], found["reward_state"]) == ("0.0050000", "pending")
    assert found["released_at"] is not None


def test_pictures_are_named_by_number_never_as_the_client_calls_them(operator_api, refused):
    (picture,) = row(operator_api, refused)["images"]

    assert (picture["id"], picture["name"]) == (f"{refused.pk}-0", "Picture 1")
    item = refused.chunk.items.get()
    assert item.image.name not in str(picture)
    assert item.image_id not in str(picture)


def test_an_appeal_is_taken_and_shown(operator_api, refused):
    answer = calls.post(operator_api, f"replicas/{refused.pk}/appeal/", {"text": "Look again."})

    assert answer.status_code == 201
    assert answer.json() == {"state": "staff", "note": ""}
    assert Appeal.objects.get().text == "Look again."
    found = row(operator_api, refused)
    assert (found["appeal"], found["may_appeal"]) == ({"state": "staff", "note": ""}, False)


def test_nothing_need_be_said(operator_api, refused):
    assert calls.post(operator_api, f"replicas/{refused.pk}/appeal/").status_code == 201


def test_the_same_key_appeals_once(operator_api, refused):
    for _ in range(2):
        answer = calls.post(
            operator_api, f"replicas/{refused.pk}/appeal/", {}, Idempotency_Key="k1"
        )
        assert answer.status_code == 201

    assert Appeal.objects.count() == 1


def test_a_second_appeal_is_refused(operator_api, refused):
    calls.post(operator_api, f"replicas/{refused.pk}/appeal/")

    calls.refused(
        calls.post(operator_api, f"replicas/{refused.pk}/appeal/"), 409, "already_appealed"
    )
    assert Appeal.objects.count() == 1


def test_accepted_work_cannot_be_appealed(operator_api, refused):
    Replica.objects.filter(pk=refused.pk).update(state="accepted", reason="")

    calls.refused(calls.post(operator_api, f"replicas/{refused.pk}/appeal/"), 409, "not_refused")
    assert Appeal.objects.count() == 0


def test_settled_work_cannot_be_appealed_for_ever(operator_api, refused):
    Chunk.objects.filter(pk=refused.chunk_id).update(state="final")
    Replica.objects.filter(pk=refused.pk).update(
        reported_at=work.NOW.replace(year=work.NOW.year - 1)
    )

    calls.refused(calls.post(operator_api, f"replicas/{refused.pk}/appeal/"), 409, "too_late")


@pytest.mark.parametrize("body", [{"text": 7}, {"text": "x" * 1001}, {"words": ""}])
def test_a_body_of_another_shape_is_refused(operator_api, refused, body):
    answer = calls.post(operator_api, f"replicas/{refused.pk}/appeal/", body)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert Appeal.objects.count() == 0


def test_another_operators_work_does_not_exist(client_user, operator_api):
    strange = refusals.refused(client_user, factories.make_fleet(3))

    calls.refused(calls.post(operator_api, f"replicas/{strange.pk}/appeal/"), 404, "not_found")
    assert Appeal.objects.count() == 0
