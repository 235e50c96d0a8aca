"""A real node whose network fails: cut off, forgotten by a router, elsewhere, without broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from portal.demo import sample, stack
from tests import factories
from tests.flows import real_node, relay
from workers import config
from workers.protocol import messages

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq, pytest.mark.timeout(400)]

#: A node asks a broker that cut it off again after five seconds at most.
REJOIN_SECONDS = 20
#: Two and a half heartbeats of fifteen seconds, of the broker's as well, and some.
NOTICE_SECONDS = 120
NOTHING_FOUND = messages.Answer(position=0, width=600, height=600, detections=[])


@contextmanager
def relayed(platform, number: int) -> Iterator[tuple[real_node.RealNode, relay.Relay]]:
    """A running node that reaches its broker through a relay, as if from 127.0.0.2."""
    broker = urlsplit(platform.stack.environment["BROKER_URL"])
    target = (broker.hostname or "", broker.port or 0)
    with relay.running(target=target, address="127.0.0.2") as line:
        node = real_node.enroll(platform, number)
        point_to(node, f"amqp://127.0.0.1:{line.port}")
        with real_node.started(node):
            yield node, line


def point_to(node, url: str) -> None:
    """Let the node look for its broker there."""
    settings = config.read(node.home)
    broker = settings.broker.model_copy(update={"url": url})
    config.write(node.home, settings.model_copy(update={"broker": broker}))


def peers(platform, node) -> set[str]:
    """Return from where the broker sees the node connected."""
    management = httpx.URL(platform.stack.environment["BROKER_MANAGEMENT_URL"])
    path = f"/api/connections/username/{node.config['broker']['username']}"
    answer = httpx.get(
        management.copy_with(username=None, password=None, path=path),
        auth=(management.username, management.password),
    )
    named = {each["name"] for each in answer.raise_for_status().json()}
    # A name begins with the peer, as in 127.0.0.2:54321.
    return {name.partition(":")[0] for name in named}


def test_a_node_whose_address_changes_comes_back_and_works_on(platform):
    """The broker sees its connections end and new ones come from elsewhere."""
    partner = platform.puppet(2)
    with relayed(platform, 53) as (node, line):
        node.work_with(partner)
        pid = node.pid
        assert peers(platform, node) == {"127.0.0.2"}

        assert line.move("127.0.0.3") >= 1

        stack.wait_until(
            lambda: peers(platform, node) == {"127.0.0.3"}, seconds=REJOIN_SECONDS, what="the node"
        )
        node.work_with(partner)
        assert node.pid == pid


def test_a_node_notices_connections_that_are_dead_in_silence(platform):
    """Nothing arrives and nobody says so: heartbeats tell both sides, and then it comes back."""
    partner = platform.puppet(2)
    with relayed(platform, 55) as (node, line):
        node.work_with(partner)
        pid = node.pid

        assert line.lose() >= 1

        node.wait(lambda state: state["reason"] == "offline", "to notice", seconds=NOTICE_SECONDS)
        node.wait(lambda state: state["reason"] == "", "to be back", seconds=NOTICE_SECONDS)
        node.wait(lambda state: state["trouble"] == "", "to be heard", seconds=NOTICE_SECONDS)
        node.work_with(partner)
        assert node.pid == pid


def test_a_result_made_while_the_broker_is_away_arrives_and_is_paid_once(platform, tmp_path):
    photo = tmp_path / "noise.png"
    photo.write_bytes(factories.noise(size=(600, 600)))
    partner = platform.puppet(2)
    with relayed(platform, 56) as (node, line), platform.api() as api:
        # So slow that the broker is away before the picture is there.
        assert node.command("limits", "set", "bandwidth_kib=64").returncode == 0
        dataset = sample.upload(api, name="noise", photos=[photo])
        job_id = sample.submit(api, dataset=dataset, target_error="1e-2")["id"]
        node.wait(lambda state: state["assignments"], "to begin", seconds=60)

        line.go_down()
        node.wait(lambda state: state["unconfirmed_reports"] == 1, "to finish", seconds=90)
        node.wait(lambda state: state["trouble"] != "", "to say what is wrong", seconds=60)
        line.come_up()

        node.wait(lambda state: state["unconfirmed_reports"] == 0, "the receipt", seconds=90)
        partner.beat()
        partner.work(job_id, answers=[NOTHING_FOUND])
        assert platform.finish(job_id).job["state"] == "finished"
        assert node.worked(job_id) == ["accepted"]
        assert rewards(platform, job_id, node.node_id) == 1
        platform.assert_sound()


def test_a_node_whose_broker_moved_learns_the_new_address_by_rotating(platform):
    partner = platform.puppet(2)
    node = real_node.enroll(platform, 54)
    url = node.config["broker"]["url"]
    point_to(node, "amqp://127.0.0.1:1")

    rotated = node.command("rotate")

    assert rotated.returncode == 0, rotated.stderr
    assert node.config["broker"]["url"] == url
    with real_node.started(node):
        node.work_with(partner)


def rewards(platform, job_id: str, node_id: str) -> int:
    return platform.python(
        "from payments.models import TransferIntent\n"
        "from tasks.models import Replica\n"
        f"found = Replica.objects.filter(job={job_id!r}, node={node_id!r})\n"
        "keys = [f'replica:{pk}:reward' for pk in found.values_list('pk', flat=True)]\n"
        "print(json.dumps(TransferIntent.objects.filter(key__in=keys).count()))"
    )
