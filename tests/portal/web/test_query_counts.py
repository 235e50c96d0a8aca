"""Pages cost a bounded number of queries, however much they list."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests import factories
from tests.portal.web import scenes

pytestmark = pytest.mark.django_db


def queries_of(browser, path: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert browser.get(path).status_code == 200
    return len(captured)


@pytest.mark.parametrize("path", ["/", "/jobs/", "/datasets/", "/wallet/"])
def test_a_clients_lists_cost_the_same_with_more_rows(as_client, client_user, path):
    factories.make_job(client_user)
    few = queries_of(as_client, path)
    for _ in range(4):
        factories.make_job(client_user)

    assert queries_of(as_client, path) == few
    assert few <= 13


def test_a_gallery_costs_the_same_with_more_pictures(as_client, client_user):
    fleet = factories.make_fleet(2)
    few = scenes.finished_job(client_user, fleet, images=1)
    many = scenes.finished_job(client_user, fleet, images=9)

    for path in ("/jobs/{}/", "/jobs/{}/pictures/"):
        assert queries_of(as_client, path.format(few.pk)) == queries_of(
            as_client, path.format(many.pk)
        )


def test_an_operators_pages_cost_the_same_with_more_nodes_and_work(
    as_operator, operator, client_user
):
    node, other = factories.make_node(operator), factories.make_fleet(1)[0]
    scenes.finished_job(client_user, [node, other], images=1)
    few = [queries_of(as_operator, path) for path in ("/", "/nodes/", f"/nodes/{node.pk}/")]
    for _ in range(3):
        factories.make_node(operator)
        scenes.finished_job(client_user, [node, other], images=2)

    many = [queries_of(as_operator, path) for path in ("/", "/nodes/", f"/nodes/{node.pk}/")]
    assert many == few


def test_a_poll_without_news_reads_no_pictures_and_no_events(as_client, client_user):
    job = scenes.finished_job(client_user, factories.make_fleet(2), now=timezone.now())
    stamp = as_client.get(f"/jobs/{job.pk}/").context["stamp"]

    with CaptureQueriesContext(connection) as captured:
        assert as_client.get(f"/jobs/{job.pk}/live/?v={stamp}").status_code == 204

    text = " ".join(query["sql"] for query in captured)
    assert "tasks_item" not in text
    assert "tasks_jobevent" not in text
    assert len(captured) <= 9
