"""RabbitMQ dies without warning and comes back; whoever was connected goes on."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from portal.demo import sample, stack
from tests import factories
from tests.flows import platform as platforms
from workers.protocol import messages

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq]

SERVICES = str(stack.BASE_DIR / "bin" / "services")


@pytest.fixture
def servers(tmp_path):
    """Start PostgreSQL and RabbitMQ for this test alone; return their folder and variables."""
    tmp_path.chmod(0o711)
    folder = tmp_path / "servers"
    subprocess.run([SERVICES, "start", str(folder)], check=True)
    yield folder, stack.server_variables(folder)
    subprocess.run([SERVICES, "stop", str(folder)], check=True)


def test_a_job_survives_the_brokers_death(servers, tmp_path):
    folder, variables = servers
    photo = tmp_path / "photo.png"
    photo.write_bytes(factories.picture())
    with platforms.running(tmp_path / "data", servers=variables) as platform:
        first, second = platform.puppet(1), platform.puppet(2)
        for puppet in (first, second):
            puppet.beat()
        with platform.api() as api:
            dataset = sample.upload(api, name="one", photos=[photo])
            job_id = sample.submit(api, dataset=dataset, target_error="1e-2")["id"]
        first.ack(job_id)
        assignment = first.next(messages.Assignment)

        pid = int((folder / "pids" / "rabbitmq").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        subprocess.run([SERVICES, "start", str(folder)], check=True)

        first.send("report", first.report(assignment))
        second.work(job_id)
        with platform.api() as api:
            outcome = sample.finish(api, job_id=job_id)

        assert outcome.job["state"] == "finished"
        platform.assert_sound()
