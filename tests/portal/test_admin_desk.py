"""The staff's desk: every list opens, actions decide, others stay out."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from portal import kyc
from portal.models import KycCase, User
from tasks.models import Node, StaffAction
from tests import factories
from tests.portal.web import scenes

pytestmark = pytest.mark.django_db

OURS = [model for model in admin.site._registry if model._meta.app_label in {"portal", "tasks"}]


@pytest.fixture
def desk(staff) -> Client:
    browser = Client()
    browser.force_login(staff)
    return browser


def act(desk: Client, model: str, action: str, *keys: object):
    data = {"action": action, "_selected_action": [str(key) for key in keys]}
    return desk.post(f"/admin/{model}/", data, follow=True)


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_every_list_and_every_page_opens(desk, client_user, model, now):
    node, other = factories.make_fleet(2)
    scenes.finished_job(client_user, [node, other], images=1)
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"

    assert desk.get(reverse(f"{name}_changelist")).status_code == 200
    for row in model.objects.all()[:1]:
        assert desk.get(reverse(f"{name}_change", args=[row.pk])).status_code == 200


@pytest.mark.parametrize("path", ["/admin/", "/admin/portal/kyccase/", "/admin/tasks/node/"])
def test_who_is_no_staff_is_kept_out(client, client_user, path):
    client.force_login(client_user)

    answer = client.get(path)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


def test_staff_without_the_right_cannot_decide(client_user, now):
    case = kyc.submit(user=client_user, full_name="Mira Kay", country="DE", now=now)
    helper = factories.make_user("client", is_staff=True)
    browser = Client()
    browser.force_login(helper)

    assert act(browser, "portal/kyccase", "approve", case.pk).status_code == 403
    assert KycCase.objects.get(pk=case.pk).status == KycCase.Status.PENDING


def test_identities_are_approved_and_rejected(desk, client_user, operator, now):
    first = kyc.submit(user=client_user, full_name="Mira Kay", country="DE", now=now)
    second = kyc.submit(user=factories.make_user(), full_name="Jonas Berg", country="NO", now=now)

    page = act(desk, "portal/kyccase", "approve", first.pk).content.decode()
    act(desk, "portal/kyccase", "reject", second.pk)

    assert "Done: 1." in page
    assert KycCase.objects.get(pk=first.pk).status == KycCase.Status.APPROVED
    assert KycCase.objects.get(pk=second.pk).status == KycCase.Status.REJECTED


def test_an_identity_decided_before_is_told_and_left(desk, operator):
    case = KycCase.objects.get(user=operator)

    page = act(desk, "portal/kyccase", "reject", case.pk).content.decode()

    assert "No identity check of this user waits for a decision." in page
    assert KycCase.objects.get(pk=case.pk).status == KycCase.Status.APPROVED


def test_a_node_is_suspended(desk, operator):
    node = factories.make_node(operator)

    page = act(desk, "tasks/node", "suspend", node.pk).content.decode()

    assert "Done: 1." in page
    assert Node.objects.get(pk=node.pk).state == Node.State.SUSPENDED


def test_roles_change_and_addresses_do_not(desk, client_user):
    path = f"/admin/portal/user/{client_user.pk}/change/"

    sent = {"is_active": "on", "is_operator": "on", "client_category": "undeclared"}
    desk.post(path, {**sent, "email": "other@example.com"})

    changed = User.objects.get(pk=client_user.pk)
    assert changed.is_operator
    assert not changed.is_client
    assert changed.email == client_user.email


def test_staff_correct_what_an_account_is_for(desk, client_user):
    path = f"/admin/portal/user/{client_user.pk}/change/"

    desk.post(
        path,
        {
            "is_active": "on",
            "is_client": "on",
            "client_category": "commercial",
            "is_category_fixed": "on",
        },
    )

    changed = User.objects.get(pk=client_user.pk)
    assert (changed.client_category, changed.is_category_fixed) == ("commercial", True)


def test_the_desk_acts_on_several_nodes_and_jobs_as_the_pages_do(desk, client_user, staff):
    now = timezone.now()  # an answer settles after a while
    nodes = factories.make_fleet(2, last_seen_at=now)
    job = scenes.finished_job(client_user, nodes, images=1, now=now)
    keys = [node.pk for node in nodes]

    for action in ("drain", "undrain", "quarantine", "lift", "replay"):
        assert "Done: 2." in act(desk, "tasks/node", action, *keys).content.decode()
    for action in ("reverify", "replay"):
        assert "Done: 1." in act(desk, "tasks/job", action, job.pk).content.decode()
    page = act(desk, "tasks/job", "reverify", job.pk).content.decode()

    assert "Nothing of it is accepted, unsettled and not in check." in page
    assert StaffAction.objects.filter(staff=staff).count() == 12
    for node in Node.objects.all():
        assert (node.drained_at, node.quarantined_at) == (None, None)


def test_the_desk_asks_the_referee(desk, client_user):
    job = scenes.finished_job(client_user, factories.make_fleet(2), images=1)

    act(desk, "tasks/job", "ask_referee", job.pk)

    assert job.chunks.get().referee_asked_at is not None
