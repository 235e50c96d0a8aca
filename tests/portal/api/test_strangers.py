"""Every address with an id in it answers 404 to whom the thing is not."""

from __future__ import annotations

import re

import pytest
from django.urls import URLPattern

from portal import keys
from portal.api import nodes as node_calls
from portal.api import urls
from portal.models import ApiKey
from tasks.models import Dataset, Image, Job, Node
from tests import factories
from tests.portal.api import calls
from tests.tasks import refusals

PARAMETER = re.compile(r"<str:(\w+)>")
WITH_ID = [
    pattern
    for pattern in urls.urlpatterns
    if isinstance(pattern, URLPattern)
    and PARAMETER.search(str(pattern.pattern))
    # A machine calls these, without a login: its key is asked (tests/hostile,
    # tests/tasks/test_node_settings).
    and pattern.callback.cls
    not in {node_calls.NodeKeys, node_calls.LeaveNode, node_calls.NodeStanding}
]


@pytest.fixture
def ids(client_user, operator, now) -> dict[str, str]:
    """One of everything, none of it the stranger's."""
    job = factories.make_job(client_user)
    nodes = [factories.make_node(operator), *factories.make_fleet(2)]
    refused = refusals.refused(factories.make_user("client"), nodes)
    return {
        "replica_id": str(refused.pk),
        "job_id": job.pk,
        "dataset_id": job.dataset_id,
        "node_id": nodes[0].pk,
        "key_id": keys.create(user=client_user, name="x", scopes=["read"], now=now).key.pk,
        "model_id": factories.make_model(is_offered=False).pk,
    }


def _state() -> list:
    rows = [Job, Node, Dataset, Image, ApiKey]
    return [list(model.objects.order_by("pk").values_list("pk", *_shown(model))) for model in rows]


def _shown(model) -> list[str]:
    names = {field.name for field in model._meta.get_fields()}
    return sorted(names & {"state", "version", "revoked_at", "name"})


def test_the_walk_covers_every_address_with_an_id():
    assert len(WITH_ID) == 18


@pytest.mark.parametrize("pattern", WITH_ID, ids=lambda pattern: str(pattern.pattern))
def test_a_strangers_id_answers_not_found_and_changes_nothing(stranger_api, ids, pattern):
    path = PARAMETER.sub(lambda match: ids[match[1]], str(pattern.pattern))
    view = pattern.callback.cls
    before = _state()

    for method in ("get", "post"):
        if hasattr(view, method):
            response = getattr(calls, method)(stranger_api, path)
            calls.refused(response, 404, "not_found")

    assert _state() == before


@pytest.mark.parametrize("pattern", WITH_ID, ids=lambda pattern: str(pattern.pattern))
def test_without_a_login_the_same_addresses_answer_401(client, ids, pattern):
    path = PARAMETER.sub(lambda match: ids[match[1]], str(pattern.pattern))
    view = pattern.callback.cls

    for method in ("get", "post"):
        if hasattr(view, method):
            calls.refused(getattr(calls, method)(client, path), 401, "not_authenticated")


def test_lists_hold_nothing_of_somebody_else(stranger_api, ids):
    for path in ("jobs/", "datasets/", "nodes/", "wallet/transfers/"):
        assert calls.get(stranger_api, path).json()["results"] == []


def test_a_foreign_data_set_in_a_body_is_not_found(stranger_api, stranger, ids):
    factories.fund(stranger)
    model = factories.make_model()
    body = {"kind": "detect", "dataset": ids["dataset_id"], "model": model.pk}

    response = calls.post(stranger_api, "jobs/", body)

    calls.refused(response, 404, "not_found", fields=[("dataset", "not_found")])
    assert Job.objects.filter(owner=stranger).count() == 0
