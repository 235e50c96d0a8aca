"""What ships in `deploy/` holds what it promises, as far as it can be looked at without running."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks import queues
from tasks.celery import app
from workers.protocol import limits

DEPLOY = Path(__file__).parent.parent / "deploy"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd's own tool")
def test_the_nodes_unit_exposes_little():
    unit = DEPLOY / "systemd" / "nodefolk-node.service"

    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)],
        check=False,
        capture_output=True,
        text=True,
    )

    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) < 2


def test_the_images_run_as_somebody_without_rights():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")

    stages = text.split("\nFROM ")
    for stage in stages:
        if " AS node" in stage.partition("\n")[0] or " AS platform" in stage.partition("\n")[0]:
            assert "\nUSER nodefolk\n" in stage


def test_each_queue_of_the_workers_is_read_by_one_process_in_units_and_in_containers():
    units = [file.read_text("utf-8") for file in (DEPLOY / "systemd").glob("*.service")]
    compose = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")

    for queue in queues.WORKER_QUEUES:
        assert [f" --queues {queue.name} " in text for text in units].count(True) == 1
        assert compose.count(f"--queues, {queue.name},") == 1
    target = (DEPLOY / "systemd" / "nodefolk.target").read_text(encoding="utf-8")
    assert "nodefolk-referee.service" in target


def test_the_brokers_limits_are_those_that_the_platform_counts_on():
    text = (DEPLOY / "rabbitmq.conf").read_text(encoding="utf-8")
    services = (DEPLOY.parent / "bin" / "services").read_text(encoding="utf-8")

    found = dict(re.findall(r"^(\w+) = (\d+)$", text, re.MULTILINE))

    assert found.keys() == {"max_message_size", "channel_max", "consumer_timeout"}
    assert int(found["max_message_size"]) == limits.MESSAGE_BYTES_MAX
    assert int(found["consumer_timeout"]) > 1000 * app.conf.task_time_limit
    assert [name for name, value in found.items() if f"\n{name} = {value}\n" not in services] == []
