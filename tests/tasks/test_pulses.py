"""The one statement that takes signs of life says the same as the plain way beside it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import leases, pulses
from tasks.models import Node, Replica
from tests import factories
from tests.tasks import work
from workers.protocol import messages
from workers.protocol.allowance import Allowance

SECOND = timedelta(seconds=1)

beats = st.fixed_dictionaries(
    {
        "node": st.integers(0, 2),
        "seconds": st.sampled_from([-700, -30, 0, 1, 30, 700]),
        "running": st.lists(st.integers(0, 8), max_size=4),
        "slots": st.integers(0, 32),
        "reason": st.sampled_from(["", "battery", "offline"]),
        "cached": st.integers(0, 2),
        "revision": st.integers(0, 3),
        "has_profile": st.booleans(),
        "last": st.sampled_from([None, -30, 0]),
    }
)


@pytest.fixture
def replicas(client_user) -> list[Replica]:
    """Six leases of three nodes, then one of a node that is not heard."""
    nodes = factories.make_fleet(3, slots=2)
    job = work.start(client_user, nodes, images=3)
    Replica.objects.filter(pk=work.leased(job)[0].pk).update(state="lost")
    return list(job.replicas.order_by("pk"))


def heartbeat(nodes, replicas, drawn) -> messages.Heartbeat:
    names = [str(replica.pk) for replica in replicas] + ["nobody", "999999", "07"]
    return messages.Heartbeat(
        sent_at=work.NOW + drawn["seconds"] * SECOND,
        node=nodes[drawn["node"]],
        running=[names[number % len(names)] for number in drawn["running"]],
        slots=drawn["slots"],
        reason=drawn["reason"],
        cached_models=["a" * 64] * drawn["cached"],
        numeric_class="c",
        software_version="1",
        settings_revision=drawn["revision"],
        profile=messages.Profile(allowance=Allowance(), images_per_second=2.0)
        if drawn["has_profile"]
        else None,
    )


def written(write, replicas, drawn) -> tuple[list[str], dict]:
    """Prepare the rows as drawn, let `write` take the beats, and return all rows; undo it."""
    nodes = sorted({replica.node_id for replica in replicas})
    by_node = {each["node"] % len(nodes): each for each in drawn}
    with transaction.atomic():
        for number, each in by_node.items():
            last = None if each["last"] is None else work.NOW + each["last"] * SECOND
            Node.objects.filter(pk=nodes[number]).update(heartbeat_sent_at=last)
        given_beats = [
            heartbeat(nodes, replicas, {**each, "node": number}) for number, each in by_node.items()
        ]
        heard = write(given_beats, leased_until=work.NOW + 45 * SECOND, now=work.NOW)
        rows = work.everything()
        transaction.set_rollback(True)
    return heard, rows


@given(drawn=st.lists(beats, max_size=4))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_batch_at_once_is_the_batch_row_by_row(replicas, drawn):
    assert written(pulses.write, replicas, drawn) == written(pulses.write_plainly, replicas, drawn)


def test_many_heartbeats_cost_as_many_queries_as_one(replicas):
    nodes = sorted({replica.node_id for replica in replicas})
    drawn = {"seconds": 1, "slots": 2, "reason": "", "cached": 0, "revision": 0}

    def queries(*numbers: int) -> int:
        sent = [
            heartbeat(
                nodes,
                replicas,
                {**drawn, "node": number, "running": [0, 1, 2], "has_profile": False},
            )
            for number in numbers
        ]
        with CaptureQueriesContext(connection) as context, transaction.atomic():
            assert leases.renew(sent, now=work.NOW) == [nodes[number] for number in numbers]
        return len(context)

    one, two = queries(0), queries(1, 2)

    if connection.vendor == "postgresql":
        assert one == two == 5
