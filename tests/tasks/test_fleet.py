"""What is known of the nodes online, and what follows from it for new jobs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks import fleet, jobs, requests
from tasks.models import Credibility, Node
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def model():
    return factories.make_model(image_ms=100)


def paced(model, *paces) -> list[Node]:
    nodes = factories.make_fleet(len(paces))
    for node, image_ms in zip(nodes, paces, strict=True):
        Credibility.objects.create(node=node, model=model, image_ms=image_ms)
    return nodes


def test_the_pace_of_a_share_of_the_nodes_online_is_what_they_keep(model, now):
    nodes = paced(model, 1000.0, 2000.0, 3000.0, 4000.0, None)

    assert fleet.image_ms(model, share=0.5, nodes=fleet.online(now=now)) == 2000.0
    assert fleet.image_ms(model, share=0.75, nodes=fleet.online(now=now)) == 3000.0
    Node.objects.filter(pk=nodes[0].pk).update(last_seen_at=now - timedelta(days=1))
    assert fleet.image_ms(model, share=0.5, nodes=fleet.online(now=now)) == 3000.0


def test_too_few_known_nodes_leave_it_to_the_trial_run(model, now):
    paced(model, 1000.0, 2000.0, None)
    paced(factories.make_model(), 1.0, 1.0, 1.0)

    assert fleet.image_ms(model, share=0.5, nodes=fleet.online(now=now)) == 100.0


def quoted(client, model, now, **fields):
    request = requests.JobRequest(
        kind="detect",
        dataset_id=factories.make_dataset(client, images=120).pk,
        model_id=model.pk,
        target_error="1e-2",
    )
    return jobs.quote(owner_id=client.pk, request=request, now=now)


def test_slow_nodes_get_smaller_chunks_and_the_client_a_longer_estimate(client_user, model, now):
    nodes = paced(model, 90.0, 90.0, 90.0)
    fast = quoted(client_user, model, now)
    Credibility.objects.filter(node__in=nodes).update(image_ms=5000.0)
    slow = quoted(client_user, model, now)

    assert (fast.chunks, slow.chunks) == (22, 69)
    assert slow.eta_p50_seconds > 40 * fast.eta_p50_seconds


def test_a_setting_bounds_the_pictures_in_a_chunk(client_user, model, now, settings):
    factories.make_fleet(1)
    settings.CHUNK_IMAGES_MAX = 1

    assert quoted(client_user, model, now).chunks == 120


def test_nodes_online_are_counted_by_bucket(now):
    for bucket in "0ab":
        factories.make_node(factories.make_user("operator"), pk=f"node_{'0' * 25}{bucket}")

    assert fleet.online_count(now=now) == 3
    assert fleet.online_count(now=now, buckets="bz0") == 2
