"""An operator's pages."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tasks import nodes
from tasks.models import Credibility, EnrollmentToken, Node
from tests import factories
from tests.portal.web import scenes
from workers.protocol import signatures

pytestmark = pytest.mark.django_db


def test_a_token_is_shown_once_with_the_commands(as_operator):
    answer = as_operator.post("/nodes/new/")
    page = answer.content.decode()

    token = re.search(r"--token (nfe_\S+) ", page)[1]
    assert EnrollmentToken.objects.count() == 1
    assert token not in as_operator.get("/nodes/new/").content.decode()
    assert "nodefolk-node run" in page
    assert answer["Cache-Control"] == "no-store"


def test_a_nodes_page_tells_its_pace_beside_its_own_measure(as_operator, operator):
    node = factories.make_node(operator, profile={"images_per_second": 12.5})
    for slug, image_ms in (("one", 123.4), ("two", None)):
        model = factories.make_model(slug=slug)
        Credibility.objects.create(node=node, model=model, image_ms=image_ms)

    html = as_operator.get(f"/nodes/{node.pk}/").content.decode()

    assert '0.12 s<div class="soft small">81 in 10 s</div>' in html
    assert "not known yet" in html
    assert "own measure of the platform's detector it is 80 ms" in html


def test_only_a_known_person_gets_a_token(client):
    client.force_login(factories.make_user("operator"))

    answer = client.post("/nodes/new/")

    assert answer.status_code == 403
    assert b"First we need to know who you are" in answer.content
    assert EnrollmentToken.objects.count() == 0


def test_who_is_no_operator_is_led_to_the_switch(as_client):
    answer = as_client.post("/nodes/new/")

    assert answer["Location"] == "/account/"
    assert EnrollmentToken.objects.count() == 0


def test_the_page_waits_until_the_node_has_come_and_is_awake(as_operator, operator):
    issued = nodes.issue_token(owner_id=operator.pk, now=timezone.now())
    path = "/nodes/waiting/"
    query = {"until": issued.expires_at.isoformat()}

    before = as_operator.get(path, query)
    key = signatures.public_text(factories.make_key())
    node = nodes.enroll(
        token=issued.token, name="attic", public_key=key, hardware={}, now=timezone.now()
    ).node
    joined = as_operator.get(path, query)
    Node.objects.filter(pk=node.pk).update(last_seen_at=timezone.now())
    awake = as_operator.get(path, query)
    Node.objects.filter(pk=node.pk).update(profile={"images_per_second": 8.0}, slots=2)
    measured = as_operator.get(path, query)

    assert b"Waiting for your node" in before.content
    assert b"attic has joined" in joined.content
    assert b"hx-trigger" in joined.content
    assert b"attic is here and ready" in awake.content
    assert b"tone-good" in awake.content
    assert b"hx-trigger" in awake.content
    assert b"8.0 pictures a second" in measured.content
    # 8 pictures x 2 slots x 3600 s x 0.005
    assert b"288" in measured.content
    assert b"hx-trigger" not in measured.content


def test_waiting_for_nonsense_has_ended(as_operator):
    for until in ("", "tomorrow", "2026-02-31T00:00:00Z", "2026-01-01T00:00:00"):
        answer = as_operator.get("/nodes/waiting/", {"until": until})
        assert answer.status_code == 200
        assert b"The token has ended" in answer.content
        assert b"hx-trigger" not in answer.content


@pytest.mark.parametrize("is_awake", [False, True])
def test_a_page_left_open_stops_asking_when_its_token_has_ended(as_operator, operator, is_awake):
    issued = nodes.issue_token(owner_id=operator.pk, now=timezone.now() - nodes.TOKEN_LIFE)
    key = signatures.public_text(factories.make_key())
    enrolled_at = issued.expires_at - timedelta(minutes=1)
    node = nodes.enroll(
        token=issued.token, name="attic", public_key=key, hardware={}, now=enrolled_at
    ).node
    if is_awake:  # and was never measured
        Node.objects.filter(pk=node.pk).update(last_seen_at=timezone.now())

    answer = as_operator.get("/nodes/waiting/", {"until": issued.expires_at.isoformat()})

    assert (b"attic is here" if is_awake else b"attic has joined") in answer.content
    assert f'href="/nodes/{node.pk}/"'.encode() in answer.content
    assert b"hx-trigger" not in answer.content


def test_a_node_that_left_again_is_not_waited_for(as_operator, operator):
    issued = nodes.issue_token(owner_id=operator.pk, now=timezone.now())
    key = signatures.public_text(factories.make_key())
    node = nodes.enroll(
        token=issued.token, name="attic", public_key=key, hardware={}, now=timezone.now()
    ).node
    nodes.retire(node_id=node.pk, now=timezone.now())

    answer = as_operator.get("/nodes/waiting/", {"until": issued.expires_at.isoformat()})

    assert b"hx-trigger" not in answer.content


def test_another_operators_node_is_not_waited_for(as_stranger, operator):
    issued = nodes.issue_token(owner_id=operator.pk, now=timezone.now())
    key = signatures.public_text(factories.make_key())
    nodes.enroll(token=issued.token, name="attic", public_key=key, hardware={}, now=timezone.now())

    answer = as_stranger.get("/nodes/waiting/", {"until": issued.expires_at.isoformat()})

    assert b"attic" not in answer.content


def test_a_node_shows_its_work_and_what_each_piece_earned(as_operator, operator, client_user):
    node = factories.make_node(operator, name="anya-pc", hardware={"memory_bytes": 16 * 2**30})
    job = scenes.finished_job(client_user, [node, *factories.make_fleet(1)], images=1)
    replica = job.replicas.get(node=node)

    page = as_operator.get(f"/nodes/{node.pk}/").content.decode()

    assert "16 GB" in page
    assert f'href="/work/{replica.pk}/"' in page
    assert f"/work/{replica.pk}/0/image?side=240" in page
    assert "0.005" in page
    assert "in check" in page


def test_a_piece_of_work_shows_the_nodes_own_boxes(as_operator, operator, client_user):
    node = factories.make_node(operator)
    job = scenes.finished_job(client_user, [node, *factories.make_fleet(1)], images=1)

    page = as_operator.get(f"/work/{job.replicas.get(node=node).pk}/").content.decode()

    assert "person 0.90" in page
    assert "cat 0.40" in page
    assert client_user.email not in page


def test_pause_resume_and_retire(as_operator, operator):
    node = factories.make_node(operator)

    as_operator.post(f"/nodes/{node.pk}/pause/")
    assert Node.objects.get().state == Node.State.PAUSED
    as_operator.post(f"/nodes/{node.pk}/resume/")
    assert Node.objects.get().state == Node.State.ACTIVE
    as_operator.post(f"/nodes/{node.pk}/retire/")
    assert Node.objects.get().state == Node.State.RETIRED
    refused = as_operator.post(f"/nodes/{node.pk}/resume/", follow=True)
    assert b"The node is retired." in refused.content


def test_the_list_says_why_a_node_rests(as_operator, operator):
    factories.make_node(operator, name="sleeper", last_seen_at=None)
    factories.make_node(operator, name="paused", state=Node.State.PAUSED)

    page = as_operator.get("/nodes/").content.decode()

    assert "No sign of life." in page
    assert "Paused on its page." in page


def test_an_operators_navigation_has_nodes_and_no_jobs(as_operator, as_client):
    assert b'href="/nodes/"' in as_operator.get("/").content
    assert b'href="/jobs/"' not in as_operator.get("/").content
    assert b'href="/nodes/"' not in as_client.get("/").content
    assert b'href="/jobs/"' in as_client.get("/").content


def test_the_role_is_switched_on_and_off(client, client_user):
    client.force_login(client_user)

    client.post("/account/operator/", {"is_operator": "1"})
    client_user.refresh_from_db()
    assert client_user.is_operator
    factories.make_node(client_user)
    refused = client.post("/account/operator/", {"is_operator": "0"}, follow=True)

    client_user.refresh_from_db()
    assert client_user.is_operator
    assert b"Retire your nodes" in refused.content


def test_no_page_of_an_operator_names_the_client(client_user, operator):
    node = factories.make_node(operator)
    scenes.finished_job(client_user, [node, *factories.make_fleet(1)], images=1)
    browser = Client()
    browser.force_login(operator)

    for path in ("/", "/nodes/", f"/nodes/{node.pk}/", "/wallet/"):
        assert client_user.email not in browser.get(path).content.decode()


LIMITS = {
    "cores": "2",
    "no_battery": "on",
    "schedule": "Mon-Fri 18:00-07:00\r\n\r\nsun 00:00-24:00",
    "kinds": ["detect"],
    "client_categories": ["research", "education"],
    "exclusive_programs": "steam, blender",
}


def test_limits_are_saved_counted_and_shown_again(as_operator, operator):
    node = factories.make_node(operator)

    answer = as_operator.post(f"/nodes/{node.pk}/limits/", LIMITS)

    assert answer["Location"] == f"/nodes/{node.pk}/"
    node.refresh_from_db()
    assert (node.settings_revision, node.wishes) == (
        1,
        {
            "cores": 2,
            "battery": False,
            "schedule": ["mon-fri 18:00-07:00", "sun 00:00-24:00"],
            "kinds": ["detect"],
            "client_categories": ["research", "education"],
            "exclusive_programs": ["steam", "blender"],
        },
    )
    page = as_operator.get(f"/nodes/{node.pk}/").content.decode()
    assert "mon-fri 18:00-07:00\nsun 00:00-24:00" in page
    assert "on the way to the node" in page


def test_what_the_machines_file_allows_stands_above_the_form(as_operator, operator):
    node = factories.make_node(operator, profile={"allowance": {"cores": 2, "battery": False}})

    page = as_operator.get(f"/nodes/{node.pk}/").content.decode()

    assert "cores: 2; battery: no" in page
    assert "the node has these" in page


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cores", "0"), ("cores", "33"), ("celsius", "500"), ("schedule", "always"),
        ("kinds", "mining"), ("client_categories", "undeclared"), ("exclusive_programs", "rm -rf"), ("schedule", "mon 08:00-09:00\n" * 29),
    ],
)  # fmt: skip
def test_impossible_limits_come_back_with_the_form(as_operator, operator, field, value):
    node = factories.make_node(operator)

    answer = as_operator.post(f"/nodes/{node.pk}/limits/", {field: value})

    assert answer.status_code == 422
    assert b"field-error" in answer.content
    node.refresh_from_db()
    assert (node.settings_revision, node.wishes) == (0, {})


def test_nobody_limits_anothers_node(as_stranger, operator):
    node = factories.make_node(operator)

    assert as_stranger.post(f"/nodes/{node.pk}/limits/", LIMITS).status_code == 404
    node.refresh_from_db()
    assert node.settings_revision == 0


def test_the_reason_for_rest_is_told_in_words(as_operator, operator):
    node = factories.make_node(operator, reason="user_active", last_seen_at=timezone.now())

    assert b"Somebody uses the computer." in as_operator.get(f"/nodes/{node.pk}/").content
