"""`nodes/`."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tasks.models import Credibility, EnrollmentToken, Node
from tests import factories
from tests.portal.api import calls
from tests.tasks import refusals
from workers.identity import Enrolled
from workers.protocol import manifest, messages, signatures

HARDWARE = {"cores": 4, "memory_bytes": 8 * 2**30, "system": "Linux"}


@pytest.fixture
def machine(db) -> Client:
    """A machine has no login."""
    return Client()


@pytest.fixture
def enrolment(operator_api) -> dict:
    token = calls.post(operator_api, "nodes/enrollments/").json()["token"]
    public_key = signatures.public_text(factories.make_key())
    return {"token": token, "name": "attic", "public_key": public_key, "hardware": HARDWARE}


def test_a_token_is_issued_to_a_person_who_operates(operator_api):
    response = calls.post(operator_api, "nodes/enrollments/")

    assert response.status_code == 201
    assert response.json().keys() == {"token", "expires_at"}
    assert EnrollmentToken.objects.count() == 1


def test_without_an_approved_identity_there_is_no_token(db):
    api = calls.key_client(factories.make_user("operator"))

    calls.refused(calls.post(api, "nodes/enrollments/"), 403, "kyc_required")
    assert EnrollmentToken.objects.count() == 0


def test_without_the_role_there_is_no_token(client_api):
    calls.refused(calls.post(client_api, "nodes/enrollments/"), 403, "role_missing")
    assert EnrollmentToken.objects.count() == 0


@pytest.mark.parametrize(
    ("proxies", "forwarded", "network"),
    [
        (0, "", "198.41.0.0/24"),
        (0, "199.7.83.42", "198.41.0.0/24"),
        (1, "199.7.83.42", "199.7.83.0/24"),
        (1, "192.0.43.7, 199.7.83.42", "199.7.83.0/24"),
        (1, "10.0.0.7", ""),
    ],
)
def test_the_network_of_a_machine_is_what_our_own_proxies_saw(
    enrolment, settings, proxies, forwarded, network
):
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": proxies}
    headers = {"X_Forwarded_For": forwarded} if forwarded else {}

    response = calls.post(Client(REMOTE_ADDR="198.41.0.4"), "nodes/", enrolment, **headers)

    assert response.status_code == 201
    assert Node.objects.get().network == network


def test_a_machine_enrols_with_its_token_and_no_login(machine, enrolment, operator):
    response = calls.post(machine, "nodes/", enrolment)

    assert response.status_code == 201
    body = response.json()
    assert body.keys() == {"id", "broker", "platform_key", "models"}
    assert body["broker"].keys() == {"url", "username", "password", "vhost", "queue"}
    assert body["broker"]["queue"] == f"node.{body['id']}"
    node = Node.objects.get(pk=body["id"])
    assert (node.owner, node.name, node.hardware) == (operator, "attic", HARDWARE)


def test_a_machine_is_told_how_the_built_in_models_are_used(machine, enrolment):
    factories.make_classifier()
    factories.make_model()

    body = calls.post(machine, "nodes/", enrolment).json()

    enrolled = Enrolled.model_validate_json(json.dumps(body))
    assert {model.contract.kind for model in enrolled.models} == {"classify", "detect"}
    assert manifest.DETECTOR in [model.contract for model in enrolled.models]


def test_a_stale_login_does_not_disturb_enrolment(enrolment):
    machine = Client(headers={"Authorization": "Bearer nf_old"})

    assert calls.post(machine, "nodes/", enrolment).status_code == 201


def test_a_token_is_good_once(machine, enrolment):
    calls.post(machine, "nodes/", enrolment)
    second = {**enrolment, "public_key": signatures.public_text(factories.make_key())}

    response = calls.post(machine, "nodes/", second)

    calls.refused(response, 403, "token_invalid", fields=[("token", "token_invalid")])
    assert Node.objects.count() == 1


def test_a_key_enrols_once(machine, enrolment, operator_api):
    calls.post(machine, "nodes/", enrolment)
    token = calls.post(operator_api, "nodes/enrollments/").json()["token"]

    response = calls.post(machine, "nodes/", {**enrolment, "token": token})

    calls.refused(response, 409, "key_taken")
    assert Node.objects.count() == 1
    assert EnrollmentToken.objects.filter(used_at=None).count() == 1


@pytest.mark.parametrize(
    ("change", "status", "field", "code"),
    [
        ({"public_key": factories.nonsense_key()}, 422, "public_key", "invalid_public_key"),
        ({"public_key": 7}, 400, "public_key", "invalid"),
        ({"name": ""}, 400, "name", "blank"),
        ({"name": "x" * 81}, 400, "name", "max_length"),
        ({"hardware": "big"}, 400, "hardware", "not_an_object"),
        ({"hardware": {"cores": 4}}, 400, "hardware.memory_bytes", "required"),
        ({"hardware": {**HARDWARE, "cores": "4"}}, 400, "hardware.cores", "invalid"),
        ({"hardware": {**HARDWARE, "cores": 0}}, 400, "hardware.cores", "min_value"),
        ({"hardware": {**HARDWARE, "x": "y" * 5000}}, 400, "hardware", "too_large"),
        ({"owner": "1"}, 400, "owner", "unknown_field"),
    ],
)
def test_bad_enrolments_leave_the_token_good(machine, enrolment, change, status, field, code):
    response = calls.post(machine, "nodes/", {**enrolment, **change})

    problem = calls.refused(response, status, code if status == 422 else "invalid_input")
    assert (problem["errors"][0]["field"], problem["errors"][0]["code"]) == (field, code)
    assert Node.objects.count() == 0
    assert EnrollmentToken.objects.filter(used_at=None).count() == 1


def test_the_operator_sees_the_node_in_the_shape_of_the_contract(operator_api, operator):
    node = factories.make_node(operator, name="attic", last_seen_at=None)

    shown = calls.get(operator_api, f"nodes/{node.pk}/").json()

    assert shown == {
        "id": node.pk,
        "name": "attic",
        "state": "offline",
        "reason": "offline",
        "reason_text": "No sign of life.",
        "staff_note": "",
        "last_seen_at": None,
        "enrolled_at": shown["enrolled_at"],
        "clock_skew_seconds": None,
        "credibility": [],
        "warnings": [],
        "slots": 1,
        "limits": shown["limits"],
        "hardware": {},
        "software_version": "",
        "numeric_class": "",
        "benchmark_image_ms": None,
        "work": {"running": 0, "accepted": 0, "rejected": 0, "lost": 0},
        "asset": "PI",
        "earnings": {
            "pending": "0.0000000",
            "frozen": "0.0000000",
            "available": "0.0000000",
            "paid": "0.0000000",
        },
    }
    assert calls.get(operator_api, "nodes/").json()["results"] == [shown]


def test_a_node_is_paused_resumed_and_retired(operator_api, operator):
    node = factories.make_node(operator, last_seen_at=None)

    states = [
        calls.post(operator_api, f"nodes/{node.pk}/{verb}/").json()["state"]
        for verb in ("pause", "resume", "retire")
    ]

    assert states == ["paused", "offline", "retired"]


def test_a_retired_node_stays_retired(operator_api, operator):
    node = factories.make_node(operator, state="retired")

    for verb in ("pause", "resume", "retire"):
        calls.refused(calls.post(operator_api, f"nodes/{node.pk}/{verb}/"), 409, "wrong_state")
    assert Node.objects.get(pk=node.pk).state == "retired"


def test_work_is_listed_with_verdict_and_reward(operator_api, operator, client_user):
    node = factories.make_node(operator)
    job = factories.make_job(client_user)
    chunk = job.chunks.get()
    chunk.replicas.create(
        job=job,
        node=node,
        operator=operator,
        nonce="0" * 32,
        assigned_at=factories.NOW,
        lease_expires_at=factories.NOW,
        state="reported",
        answer=[[[1, 0.9, 1.0, 2.0, 3.0, 4.0]]],
        reward_minor=50_000,
        fee_minor=5_000,
    )

    (replica,) = calls.get(operator_api, f"nodes/{node.pk}/replicas/").json()["results"]

    assert (replica["state"], replica["reward_state"], replica["released_at"]) == (
        "reported",
        "",
        None,
    )
    assert replica["images"][0]["detections"] == [
        {"label": "person", "score": 0.9, "box": [1.0, 2.0, 3.0, 4.0]}
    ]
    assert client_user.email not in str(replica)


def test_the_list_needs_a_login_though_enrolling_does_not(machine):
    calls.refused(calls.get(machine, "nodes/"), 401, "not_authenticated")


def leave(machine, node, key, **changes):
    body = messages.Leave(sent_at=timezone.now(), node=node.pk, **changes).model_dump_json()
    headers = {"X_Nodefolk_Signature": signatures.sign(body.encode(), key=key)}
    return calls.post(machine, f"nodes/{node.pk}/leave/", body, **headers)


def test_a_machine_leaves_by_its_own_key_and_no_login(machine, operator):
    key = factories.make_key()
    node = factories.make_node(operator, key=key)

    for _ in range(2):
        assert leave(machine, node, key).status_code == 204

    assert Node.objects.get(pk=node.pk).state == "retired"


def test_another_key_makes_nobody_leave(machine, operator):
    node = factories.make_node(operator)

    calls.refused(leave(machine, node, factories.make_key()), 403, "bad_signature")
    calls.refused(calls.post(machine, f"nodes/{node.pk}/leave/", {}), 403, "bad_signature")

    assert Node.objects.get(pk=node.pk).state == "active"


def inquire(machine, node, key, *, about=None, at=None):
    sent_at = timezone.now() if at is None else at
    body = messages.Inquiry(sent_at=sent_at, node=(about or node).pk).model_dump_json()
    headers = {"X_Nodefolk_Signature": signatures.sign(body.encode(), key=key)}
    return calls.post(machine, f"nodes/{node.pk}/standing/", body, **headers)


@pytest.mark.parametrize(
    ("state", "reason"), [("suspended", "flooding"), ("suspended", "suspended"), ("retired", "")]
)
def test_a_machine_hears_by_its_key_what_its_page_says(machine, operator, state, reason):
    key = factories.make_key()
    node = factories.make_node(operator, key=key, state=state, state_reason=reason)

    answer = inquire(machine, node, key)

    assert answer.status_code == 200
    assert answer.json() == {"state": state, "reason": reason or state, "warnings": []}


def test_a_machine_hears_of_answers_that_were_nearly_right(machine, operator, client_user):
    key = factories.make_key()
    node = factories.make_node(operator, key=key)
    refusals.nearly(client_user, [node, *factories.make_fleet(4)], checks=50)

    told = messages.Standing.model_validate_json(inquire(machine, node, key).content)

    (warning,) = told.warnings
    assert warning.startswith("2026-11-25 12:00 UTC: An answer with Tiny detector was nearly right")


def test_an_operator_reads_its_pace_beside_its_own_measure(operator_api, operator):
    node = factories.make_node(operator, profile={"images_per_second": 12.5})
    model = factories.make_model()
    Credibility.objects.create(node=node, model=model, image_ms=123.456)

    shown = calls.get(operator_api, f"nodes/{node.pk}/").json()

    (record,) = shown["credibility"]
    assert (record["image_ms"], record["images_in_time"]) == (123.5, 80)
    assert shown["benchmark_image_ms"] == 80.0


def test_a_pace_that_nobody_knows_is_null(operator_api, operator):
    node = factories.make_node(operator)
    Credibility.objects.create(node=node, model=factories.make_model())

    shown = calls.get(operator_api, f"nodes/{node.pk}/").json()

    (record,) = shown["credibility"]
    assert (record["image_ms"], record["images_in_time"]) == (None, None)
    assert shown["benchmark_image_ms"] is None


def test_an_operator_reads_of_answers_that_were_nearly_right(operator_api, operator, client_user):
    node = factories.make_node(operator)
    missed = refusals.nearly(client_user, [node, *factories.make_fleet(4)], checks=50)

    (warning,) = calls.get(operator_api, f"nodes/{node.pk}/").json()["warnings"]
    (work,) = calls.get(operator_api, f"nodes/{node.pk}/replicas/").json()["results"]

    assert warning == work["near_miss"]
    assert warning.pop("text").startswith("An answer with Tiny detector was nearly right")
    assert warning == {
        "replica": str(missed.pk),
        "model": missed.job.model_id,
        "model_name": "Tiny detector",
        "found_at": "2026-11-25T12:00:00Z",
        "is_strike": False,
        "is_paid": False,
        "checks_lost": 25.0,
        "answers_left": 500,
    }


def test_nobody_else_hears_it(machine, operator):
    key = factories.make_key()
    node, other = factories.make_node(operator, key=key), factories.make_node(operator)
    old = timezone.now() - timedelta(seconds=601)

    for answer in (
        inquire(machine, node, factories.make_key()),
        inquire(machine, other, key),
        inquire(machine, node, key, about=other),
        inquire(machine, node, key, at=old),
        calls.post(machine, f"nodes/{node.pk}/standing/", {}),
        calls.post(machine, "nodes/node_none/standing/", {}),
        calls.post(machine, "nodes/%00/standing/", {}),
        calls.post(machine, "nodes/%00/leave/", {}),
    ):
        calls.refused(answer, 403, "bad_signature")
