"""The pilot's job: photographs in, checked and paid boxes out, by real node processes."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from PIL import Image

from portal.demo import sample, stack

pytestmark = [pytest.mark.slow, pytest.mark.embedded]

PHOTOS = stack.BASE_DIR / "portal" / "photos"
NODES = 3
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def nodes(platform):
    """Enrol and start three real nodes of three owners; stop them afterwards."""
    for number in range(1, NODES + 1):
        role = "operator" if number == 1 else f"operator-{number}"
        with platform.api(role) as api:
            token = api.post("nodes/enrollments/").raise_for_status().json()["token"]
        home = platform.stack.node_home(number)
        enrolling = platform.stack.start(
            f"enroll-{number}",
            stack.node_argv(home, "enroll", "--portal", platform.stack.url, "--token", token),
        )
        assert enrolling.popen.wait(timeout=60) == 0, enrolling.log_path.read_text()
        del platform.stack.processes[enrolling.name]
        platform.stack.start_node(number)
    stack.wait_until(lambda: _ready(platform) == NODES, seconds=90, what="the nodes")
    yield
    for number in range(1, NODES + 1):
        if f"node-{number}" in platform.stack.processes:
            platform.stack.stop(f"node-{number}")


def _ready(platform, *, since=LONG_AGO) -> int:
    """Count the real nodes that have a model at hand and were heard of after `since`."""
    return platform.python(
        "from datetime import datetime\n"
        "from tasks.models import Node\n"
        f"since = datetime.fromisoformat('{since.isoformat()}')\n"
        "heard = Node.objects.filter(reason='', heartbeat_sent_at__gt=since)\n"
        "print(json.dumps(len([node for node in heard if node.cached_models])))"
    )


def test_photographs_become_checked_and_paid_boxes(platform, nodes):
    with platform.api() as api:
        before = api.get("wallet/").json()
        dataset = sample.upload(api, name="photos", photos=sorted(PHOTOS.glob("*.png")))
        job = sample.submit(api, dataset=dataset)
        outcome = sample.finish(api, job_id=job["id"], nodes=NODES)
        after = api.get("wallet/").json()

    assert outcome.job["state"] == "finished"
    assert outcome.job["acks"]["count"] == NODES
    assert {label: outcome.detections[label] for label in ("person", "cat", "cup")} == {
        "person": 2,
        "cat": 1,
        "cup": 1,
    }
    boxes = {each["name"]: each["detections"][0]["box"] for each in outcome.lines}
    assert boxes["chelsea.png"] == pytest.approx([8, 1, 400, 296], abs=3)
    assert before["held"] == after["held"] == "0.0000000"
    # Two nodes with a record may suffice where three fresh ones were planned.
    assert 0 < Decimal(outcome.job["spent"]) <= Decimal(job["price"])
    platform.assert_sound()


def test_photographs_are_named_by_the_classifier(platform, nodes):
    with platform.api() as api:
        dataset = sample.upload(api, name="to name", photos=sorted(PHOTOS.glob("*.png")))
        job = sample.submit(api, dataset=dataset, kind="classify")
        outcome = sample.finish(api, job_id=job["id"])

    assert outcome.job["state"] == "finished"
    named = {each["name"]: each["classes"][0]["label"] for each in outcome.lines}
    assert named == {
        "astronaut.png": "football helmet",
        "camera.png": "tripod",
        "chelsea.png": "Egyptian cat",
        "coffee.png": "espresso",
    }
    # Two nodes with a record may suffice where three fresh ones were planned.
    assert 0 < Decimal(outcome.job["spent"]) <= Decimal(job["price"])
    platform.assert_sound()


def test_a_node_killed_at_work_loses_nothing(platform, nodes, tmp_path):
    photos = _crops(tmp_path, count=12)
    with platform.api() as api:
        dataset = sample.upload(api, name="crops", photos=photos)
        job_id = sample.submit(api, dataset=dataset)["id"]
        stack.wait_until(
            lambda: api.get(f"jobs/{job_id}/").json()["progress"]["provisional"] >= 1,
            seconds=60,
            what="the first result",
        )
        victim = platform.stack.processes["node-3"]
        victim.popen.send_signal(signal.SIGKILL)
        victim.popen.wait()
        outcome = sample.finish(api, job_id=job_id)
    restarted_at = datetime.now(UTC)
    platform.stack.start_node(3)
    stack.wait_until(
        lambda: _ready(platform, since=restarted_at) >= 1, seconds=60, what="the node's return"
    )

    assert outcome.job["progress"]["provisional"] == 12
    platform.assert_sound()


def test_an_ingest_killed_in_the_middle_loses_nothing(platform, nodes, tmp_path):
    photos = _crops(tmp_path, count=12)
    with platform.api() as api:
        dataset = sample.upload(api, name="crops", photos=photos)
        job_id = sample.submit(api, dataset=dataset)["id"]
        for _ in range(3):
            process = platform.stack.processes["ingest"]
            process.popen.send_signal(signal.SIGKILL)
            process.popen.wait()
            platform.stack.start("ingest", process.argv)
            _poll_briefly(api, job_id)
        outcome = sample.finish(api, job_id=job_id)

    assert outcome.job["progress"]["provisional"] == 12
    platform.assert_sound()


def _poll_briefly(api, job_id: str) -> None:
    """Let the new process take something, or a second pass, before it is killed too."""
    seen = api.get(f"jobs/{job_id}/").json()["progress"]["provisional"]
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        if api.get(f"jobs/{job_id}/").json()["progress"]["provisional"] > seen:
            return


def _crops(folder, *, count: int):
    """Cut different pictures out of the photographs."""
    paths = []
    with Image.open(PHOTOS / "astronaut.png") as photo:
        for number in range(count):
            path = folder / f"{number}.png"
            photo.crop((number, 0, 400 + number, 500)).save(path)
            paths.append(path)
    return paths
