"""Staff see everything and act with a question first; others find nothing there."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks.models import Credibility, Job, Node, Platform, StaffAction
from tasks.operations import platform
from tests import factories
from tests.portal.web import scenes
from tests.tasks import work

pytestmark = pytest.mark.django_db


@pytest.fixture
def node(operator) -> Node:
    return factories.make_node(operator, last_seen_at=timezone.now())


@pytest.fixture
def job(client_user, node) -> Job:
    nodes = [node, *factories.make_fleet(1)]
    return scenes.finished_job(client_user, nodes, images=1, now=timezone.now())


def paths_of(node: Node, job: Job) -> list[str]:
    base = "/operations/"
    return [
        base,
        f"{base}find/?id={node.pk}",
        f"{base}nodes/{node.pk}/",
        f"{base}jobs/{job.pk}/",
        *(f"{base}platform/{verb}/" for verb in ("drain", "resume")),
        *(
            f"{base}nodes/{node.pk}/{verb}/"
            for verb in ("drain", "undrain", "quarantine", "lift", "replay")
        ),
        *(f"{base}jobs/{job.pk}/{verb}/" for verb in ("reverify", "replay")),
    ]


def test_every_page_opens_for_staff(as_staff, node, job):
    for path in paths_of(node, job):
        answer = as_staff.get(path, follow=True)
        assert (path, answer.status_code) == (path, 200)


def test_nobody_else_finds_anything(as_stranger, node, job):
    before = work.everything()

    for path in paths_of(node, job):
        assert (path, as_stranger.get(path).status_code) == (path, 404)
        assert as_stranger.post(path).status_code in {404, 405}

    assert work.everything() == before


def test_staff_without_the_right_look_and_do_not_act(node, job):
    browser = Client()
    browser.force_login(factories.make_user("client", is_staff=True))
    before = work.everything()

    assert browser.get("/operations/").status_code == 200
    assert browser.get(f"/operations/nodes/{node.pk}/").status_code == 200
    for path in (f"nodes/{node.pk}/drain/", f"jobs/{job.pk}/replay/", "platform/drain/"):
        assert browser.post(f"/operations/{path}").status_code == 404

    assert work.everything() == before


def test_asking_changes_nothing(as_staff, node, job):
    before = work.everything()

    for path in paths_of(node, job):
        as_staff.get(path)

    assert work.everything() == before


def test_a_form_of_another_site_does_nothing(staff, node):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(staff)

    answer = browser.post(f"/operations/nodes/{node.pk}/drain/", {"note": "x"})

    assert answer.status_code == 403
    assert Node.objects.get(pk=node.pk).drained_at is None


def test_a_drain_is_told_to_the_operator_and_logged(as_staff, as_operator, staff, node):
    path = f"/operations/nodes/{node.pk}/"

    page = as_staff.post(f"{path}drain/", {"note": "New disk on Monday."}, follow=True)

    assert "It is given no new work; what it has it finishes." in page.content.decode()
    assert "New disk on Monday." in as_operator.get(f"/nodes/{node.pk}/").content.decode()
    action = StaffAction.objects.get()
    assert (action.staff, action.verb, action.target) == (staff, "drain", node.pk)
    again = as_staff.post(f"{path}drain/", {"note": "Other."}, follow=True).content.decode()
    assert "The node is drained." in again
    assert StaffAction.objects.count() == 1
    as_staff.post(f"{path}undrain/")
    assert Node.objects.get(pk=node.pk).drained_at is None
    assert "New disk" not in as_operator.get(f"/nodes/{node.pk}/").content.decode()


def test_the_platform_is_drained_and_goes_on(as_staff):
    as_staff.post("/operations/platform/drain/", {"note": "Moving house."})

    page = as_staff.get("/operations/").content.decode()
    assert "Moving house." in page
    assert "Resume" in page
    as_staff.post("/operations/platform/resume/")
    assert Platform.objects.get().drained_at is None
    assert [row.verb for row in StaffAction.objects.order_by("pk")] == ["drain", "undrain"]


def test_a_quarantine_is_for_one_model_or_for_all(as_staff, node, job):
    path = f"/operations/nodes/{node.pk}/"

    page = as_staff.post(f"{path}quarantine/", {"model": job.model_id, "note": "Odd."}, follow=True)

    assert "Quarantined; answers doubted: 1." in page.content.decode()
    assert Credibility.objects.get(node=node).quarantined_at is not None
    assert Node.objects.get(pk=node.pk).quarantined_at is None
    assert as_staff.post(f"{path}quarantine/", {"model": "mdl_x"}).status_code == 422
    as_staff.post(f"{path}quarantine/", {"model": "", "note": ""})
    assert Node.objects.get(pk=node.pk).quarantined_at is not None
    as_staff.post(f"{path}lift/", {"model": ""})
    as_staff.post(f"{path}lift/", {"model": job.model_id})
    assert Node.objects.get(pk=node.pk).quarantined_at is None
    assert Credibility.objects.get(node=node).quarantined_at is None


def test_results_are_verified_again_from_the_page(as_staff, job):
    path = f"/operations/jobs/{job.pk}/"

    page = as_staff.post(f"{path}reverify/", {"by": "owner", "chunk": "0"}, follow=True)

    assert "Chunks computed again: 1." in page.content.decode()
    assert job.chunks.get().owners_wanted == 3
    page = as_staff.post(f"{path}reverify/", {"by": "owner", "chunk": "9"}, follow=True)
    assert "no chunk of that number" in page.content.decode()
    assert as_staff.post(f"{path}reverify/", {"by": "luck"}).status_code == 422


def test_a_replay_says_what_was_sent(as_staff, node, job):
    page = as_staff.post(f"/operations/nodes/{node.pk}/replay/", follow=True).content.decode()
    assert "Sent again: 0 announcements, 0 assignments, 0 withdrawals, 1 settings." in page
    page = as_staff.post(f"/operations/jobs/{job.pk}/replay/", follow=True).content.decode()
    assert "Sent again: 0 announcements, 0 assignments" in page


@pytest.mark.parametrize(
    "path",
    [
        "platform/explode/",
        "nodes/node_x/drain/",
        "messages/0/retake/",
        "messages/99/retake/",
        "jobs/job_x/",
    ],
)
def test_what_there_is_not_is_not_found(as_staff, path):
    assert as_staff.get(f"/operations/{path}").status_code == 404
    assert as_staff.post(f"/operations/{path}").status_code in {404, 405}


def test_an_id_that_is_none_is_said(as_staff):
    for named in ("nonsense", "job_00000000000000000000000000", "\x00"):
        page = as_staff.get("/operations/find/", {"id": named}, follow=True)
        assert "There is no node or job of that id." in page.content.decode()


def test_a_broker_that_is_away_is_said_and_the_rest_shown(as_staff, settings):
    settings.BROKER_URL = "amqp://guest:guest@127.0.0.1:9//"
    settings.BROKER_MANAGEMENT_URL = "http://guest:guest@127.0.0.1:9"

    answer = as_staff.get("/operations/")

    page = answer.content.decode()
    assert answer.status_code == 200
    assert "The broker does not answer." in page
    assert "Open jobs" in page


def test_late_sweeps_are_said(as_staff):
    assert "No sweep has ended yet." in as_staff.get("/operations/").content.decode()
    platform.note_sweep({}, now=timezone.now() - timedelta(minutes=5))
    assert "The last sweep ended 5 min 0 s ago" in as_staff.get("/operations/").content.decode()
    platform.note_sweep({}, now=timezone.now())
    assert "sweep ended" not in as_staff.get("/operations/").content.decode()


def test_the_page_costs_the_same_with_more_rows(as_staff, client_user):
    def queries_of() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert as_staff.get("/operations/").status_code == 200
        return len(captured)

    def more(images: int) -> None:
        now = timezone.now()
        fleet = factories.make_fleet(3, slots=1, last_seen_at=now)
        job = work.start(client_user, fleet[:2], images=images, now=now)
        factories.announce(job, nodes=fleet[2:], now=now)

    for _ in range(3):  # by then there is a row of each kind
        more(images=4)
    few = queries_of()
    for _ in range(3):
        more(images=4)

    assert queries_of() == few
    assert few <= 40
