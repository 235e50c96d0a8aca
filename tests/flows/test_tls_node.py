"""Whole nodes and a whole platform on a broker that speaks TLS only."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest

from portal.demo import stack
from tests.flows import platform as platforms
from tests.flows import real_node
from tests.hostile import certificates
from workers.protocol import tls

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq]

SERVICES = str(stack.BASE_DIR / "bin" / "services")


@pytest.fixture
def servers(tmp_path):
    """Start PostgreSQL and RabbitMQ with TLS for this test alone; return their variables."""
    tmp_path.chmod(0o711)
    keys, folder = tmp_path / "certificates", tmp_path / "servers"
    keys.mkdir()
    certificates.write(keys)
    started = [SERVICES, "start", str(folder), "--tls", str(keys)]
    subprocess.run(started, check=True, stdout=sys.__stderr__)
    yield {**stack.server_variables(folder), tls.CA_VARIABLE: str(keys / "ca.pem")}
    subprocess.run([SERVICES, "stop", str(folder)], check=True)


def connections(variables, username: str) -> list[dict]:
    """Ask the broker about a user's connections."""
    url = httpx.URL(variables["BROKER_MANAGEMENT_URL"])
    answer = httpx.get(
        url.copy_with(username=None, password=None, path=f"/api/connections/username/{username}"),
        auth=(url.username, url.password),
    )
    found: list[dict] = answer.raise_for_status().json()
    return found


@pytest.mark.timeout(300)
def test_nodes_work_over_tls_and_believe_only_our_authority(servers, tmp_path):
    with (
        platforms.running(tmp_path / "data", servers=servers) as platform,
        real_node.running(platform, 1) as node,
        real_node.running(platform, 2, role="operator-2") as other,
    ):
        job_id = platform.submit(images=2)

        outcome = platform.finish(job_id)

        assert outcome.job["state"] == "finished"
        assert node.worked(job_id) == other.worked(job_id) == ["accepted", "accepted"]
        assert node.config["broker"]["url"].startswith("amqps://")
        stack.wait_until(
            lambda: (
                [
                    (each.get("ssl"), each.get("ssl_protocol"))
                    for each in connections(servers, f"node-{node.node_id}")
                ]
                == [(True, "tlsv1.3")] * 2
            ),
            seconds=30,
            what="the broker to tell of two connections by TLS",
        )
        platform.assert_sound()

        node.stop()
        platform.stack.environment = {
            **platform.stack.environment,
            tls.CA_VARIABLE: str(tmp_path / "certificates" / "stranger.pem"),
        }
        platform.stack.start_node(node.number)
        node.wait(lambda state: "certificate verify failed" in state["trouble"], "to refuse it")
        assert node.state()["reason"] == "offline"
