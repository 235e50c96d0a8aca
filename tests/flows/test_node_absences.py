"""A real node that is shut out or sleeps comes back and works on."""

from __future__ import annotations

import time

import pytest

from portal.demo import sample
from tests import factories
from tests.flows import real_node
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
        node.work_with(partner)
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
        node.wait(lambda state: state["assignments"], "to begin", seconds=60)
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

        seconds = node.wait(lambda state: not state["assignments"], "to give up", seconds=40)
        assert seconds < GIVE_UP_SECONDS
        assert node.state()["withdrawn"] == 1
        assert node.command("limits", "set", "bandwidth_kib=none").returncode == 0
        node.work_with(others[0])
        platform.assert_sound()
