"""Who gets in where: nobody unsigned, no stranger, wrong ids are 404."""

from __future__ import annotations

import pytest
from django.test import Client

from portal.web.urls import urlpatterns
from tasks.models import Dataset, Job, Node
from tests import factories
from tests.portal.web import scenes

pytestmark = pytest.mark.django_db

PAGES = ["/", "/jobs/", "/jobs/new/", "/datasets/", "/datasets/new/", "/nodes/", "/nodes/new/"]
PAGES += ["/models/", "/models/new/"]
PAGES += [
    "/nodes/waiting/",
    "/wallet/",
    "/wallet/statement.csv",
    "/keys/",
    "/identity/",
    "/account/",
]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_sends_the_unsigned_to_sign_in(path):
    answer = Client().get(path)

    assert answer.status_code == 302
    assert answer["Location"] == f"/accounts/login/?next={path}"


#: What the API's errors point to is for programs' authors, signed in or not.
OPEN = {"problem", "problem-list"}
CLOSED = [pattern for pattern in urlpatterns if pattern.name not in OPEN]


@pytest.mark.parametrize("pattern", CLOSED, ids=lambda pattern: pattern.name)
def test_no_page_at_all_is_open_to_the_unsigned(pattern):
    path = f"/{pattern.pattern}".replace("<str:", "<").replace("<form>", "csv")
    path = (
        path.replace("<job_id>", "job_0").replace("<item_id>", "1").replace("<dataset_id>", "ds_0")
    )
    path = path.replace("<node_id>", "node_0").replace("<replica_id>", "1")
    path = path.replace("<image_id>", "img_0").replace("<key_id>", "key_0")
    path = path.replace("<model_id>", "mdl_0").replace("<appeal_id>", "1")
    path = path.replace("<position>", "0").replace("<verb>", "drain").replace("<message_id>", "1")

    answer = Client().get(path)

    assert "<" not in path
    assert answer.status_code == 302
    assert answer["Location"].startswith("/accounts/login/")


@pytest.fixture
def job(client_user) -> Job:
    return scenes.finished_job(client_user, factories.make_fleet(2), images=1)


def status_of(answer) -> int:
    """Return the status, with a streamed file read to its end and closed."""
    for _ in answer:
        pass
    return answer.status_code


def paths_of(job: Job) -> list[str]:
    item = job.items.get()
    base = f"/jobs/{job.pk}/"
    return [
        base,
        f"{base}live/",
        f"{base}cancel/",
        f"{base}results.csv",
        f"{base}pictures/",
        f"{base}pictures/{item.pk}/",
        f"{base}pictures/{item.pk}/image",
        f"/datasets/{job.dataset_id}/",
        f"/images/{item.image_id}",
    ]


def test_what_is_a_clients_is_not_there_for_a_stranger(job, as_client, as_stranger):
    for path in paths_of(job):
        assert (path, status_of(as_client.get(path))) == (path, 200)
        assert (path, as_stranger.get(path).status_code) == (path, 404)


def test_a_stranger_steers_nothing(job, as_stranger, operator):
    node = factories.make_node(operator)
    Job.objects.filter(pk=job.pk).update(state=Job.State.RUNNING, finished_at=None)

    for verb in ("pause", "resume", "cancel"):
        assert as_stranger.post(f"/jobs/{job.pk}/{verb}/").status_code == 404
    for verb in ("pause", "resume", "retire"):
        assert as_stranger.post(f"/nodes/{node.pk}/{verb}/").status_code == 404
    assert as_stranger.post(f"/datasets/{job.dataset_id}/files/").status_code == 404

    assert Job.objects.get(pk=job.pk).state == Job.State.RUNNING
    assert Node.objects.get(pk=node.pk).state == Node.State.ACTIVE


def test_work_is_shown_to_the_operator_whose_node_did_it(job, as_stranger, client_user):
    replica = job.replicas.order_by("pk").first()
    browser = Client()
    browser.force_login(replica.operator)
    paths = [f"/work/{replica.pk}/", f"/work/{replica.pk}/0/image"]

    for path in paths:
        assert status_of(browser.get(path)) == 200
        assert as_stranger.get(path).status_code == 404


def test_an_operator_gets_no_picture_that_their_node_was_not_given(job):
    replica = job.replicas.order_by("pk").first()
    browser = Client()
    browser.force_login(replica.operator)

    assert browser.get(f"/work/{replica.pk}/1/image").status_code == 404
    assert browser.get(f"/work/{replica.pk}/nonsense/image").status_code == 404


@pytest.mark.parametrize("path", ["/jobs/new/", "/jobs/quote/", "/datasets/new/"])
def test_who_is_no_client_buys_and_uploads_nothing(as_operator, path):
    answer = as_operator.post(path, {"name": "photos"})

    assert answer.status_code == 403
    assert b"no role that may do this" in answer.content
    assert Dataset.objects.count() == 0


@pytest.mark.parametrize(
    "path", ["/jobs/nonsense/", "/jobs/%00/", "/nodes/node_x/", "/work/0/", "/work/9z/"]
)
def test_ids_of_the_wrong_shape_are_not_found(as_client, path):
    assert as_client.get(path).status_code == 404
