"""A real node that is shut out, sleeps, moves or finds its disk full comes back and works on."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import httpx
import pytest

from portal.demo import sample, stack
from tests import factories
from tests.flows import real_node, relay
from workers import config
from workers.protocol import messages

pytestmark = [pytest.mark.slow, pytest.mark.embedded]

#: A node asks a broker that refused it again after five seconds.
REJOIN_SECONDS = 20
#: Longer than a lease, and than two signs of life are apart.
SLEEP_SECONDS = 17
#: The rest of the picture would take longer.
GIVE_UP_SECONDS = 8
NOTHING_FOUND = messages.Answer(position=0, width=600, height=600, detections=[])
SUSPEND = """
from datetime import UTC, datetime
from tasks import nodes
nodes.{verb}(node_id={node_id!r}, now=datetime.now(UTC))
print("null")
"""


def finish_with(platform, node, partner) -> None:
    """Let the node and another owner's puppet do a job."""
    partner.beat()
    job_id = platform.submit()
    partner.work(job_id, found=[])  # the small pictures are of one colour
    assert platform.finish(job_id).job["state"] == "finished"
    assert node.worked(job_id) == ["accepted"]


def test_a_suspended_node_does_nothing_and_comes_back_when_reinstated(platform):
    with real_node.running(platform, 51) as node:
        partner, pid = platform.puppet(2), node.pid

        platform.python(SUSPEND.format(verb="suspend", node_id=node.node_id))

        assert node.row("state") == ["suspended"]
        if "amqp" in node.config["broker"]["url"]:
            node.wait(lambda state: state["reason"] == "offline", "to notice")
        job_id = platform.submit()
        partner.beat()
        partner.work(job_id, found=[])
        assert node.worked(job_id) == []
        platform.python(SUSPEND.format(verb="reinstate", node_id=node.node_id))
        node.wait(lambda state: state["reason"] == "", "to be back", seconds=REJOIN_SECONDS)
        with platform.api() as api:
            api.post(f"jobs/{job_id}/cancel/").raise_for_status()
        finish_with(platform, node, partner)
        assert node.pid == pid


def test_after_a_sleep_the_node_asks_what_is_still_wanted_and_goes_on(platform, tmp_path):
    """Its work went to others meanwhile; the platform says so, and the node gives it up."""
    photo = tmp_path / "noise.png"
    photo.write_bytes(factories.noise(size=(600, 600)))
    with real_node.running(platform, 52) as node, platform.api() as api:
        others = [platform.puppet(number) for number in (2, 3)]
        node.stop()
        # So slow that the picture takes half a minute.
        assert node.command("limits", "set", "bandwidth_kib=32").returncode == 0
        node.start()
        dataset = sample.upload(api, name="noise", photos=[photo])
        job_id = sample.submit(api, dataset=dataset, target_error="1e-2")["id"]
        node.wait(lambda state: state["assignments"], "to begin", seconds=30)
        node.freeze()
        try:
            asleep = time.monotonic()
            for puppet in others:  # the second gets what the sleeper lost
                puppet.beat()
                puppet.work(job_id, answers=[NOTHING_FOUND])
            platform.finish(job_id)
            assert node.worked(job_id) == ["lost"]
            time.sleep(max(0.0, asleep + SLEEP_SECONDS - time.monotonic()))
        finally:
            node.thaw()

        seconds = node.wait(lambda state: not state["assignments"], "to give up", seconds=20)
        assert seconds < GIVE_UP_SECONDS
        assert node.state()["withdrawn"] == 1
        assert node.command("limits", "set", "bandwidth_kib=none").returncode == 0
        finish_with(platform, node, others[0])
        platform.assert_sound()


@pytest.mark.rabbitmq
def test_a_node_whose_address_changes_comes_back_and_works_on(platform):
    """The broker sees its connections end and new ones come from elsewhere."""
    broker = urlsplit(platform.stack.environment["BROKER_URL"])
    target = (broker.hostname or "", broker.port or 0)
    with (
        relay.running(target=target, address="127.0.0.2") as line,
        real_node.running(platform, 53) as node,
    ):
        partner = platform.puppet(2)
        node.stop()
        point_to(node, f"amqp://127.0.0.1:{line.port}")
        node.start()
        finish_with(platform, node, partner)
        assert peers(platform, node) == {"127.0.0.2"}
        pid = node.pid

        cut = line.move("127.0.0.3")

        assert cut >= 1
        stack.wait_until(
            lambda: peers(platform, node) == {"127.0.0.3"}, seconds=REJOIN_SECONDS, what="the node"
        )
        finish_with(platform, node, partner)
        assert node.pid == pid


@pytest.mark.rabbitmq
def test_a_node_whose_broker_moved_learns_the_new_address_by_rotating(platform):
    with real_node.running(platform, 54) as node:
        partner, url = platform.puppet(2), node.config["broker"]["url"]
        node.stop()
        point_to(node, "amqp://127.0.0.1:1")

        rotated = node.command("rotate")

        assert rotated.returncode == 0, rotated.stderr
        assert node.config["broker"]["url"] == url
        node.start()
        finish_with(platform, node, partner)


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
