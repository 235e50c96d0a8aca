"""Processes die between commit and publish; the sweeps rebuild what was lost."""

from __future__ import annotations

import pytest

from workers.protocol import messages

pytestmark = [pytest.mark.slow, pytest.mark.embedded]


def test_a_job_that_was_never_announced_is_announced_by_the_sweep(platform, submit, finish):
    """The portal died between commit and publish: the row is there, the message is not."""
    first, second = platform.puppet(1), platform.puppet(2)
    for puppet in (first, second):
        puppet.beat()
    job_id = _submit_and_die(platform)

    for puppet in (first, second):
        announced = puppet.next(messages.Announcement)
        assert announced.job == job_id
        puppet.work(job_id)
    outcome = finish(job_id)

    assert outcome.job["state"] == "finished"
    platform.assert_sound()


def test_an_assignment_that_was_lost_is_sent_again_and_ignored_twice(platform, submit, finish):
    first, second = platform.puppet(1), platform.puppet(2)
    for puppet in (first, second):
        puppet.beat()
    job_id = submit()
    first.ack(job_id)
    lost = first.next(messages.Assignment)

    platform.python(
        "from tasks import outgoing\n"
        f"outgoing.send_assignments(replica_ids=[{lost.assignment}])\n"
        "print('null')"
    )
    again = first.next(messages.Assignment)

    assert (again.assignment, again.nonce) == (lost.assignment, lost.nonce)
    first.send("report", first.report(again))
    second.work(job_id)
    finish(job_id)
    platform.assert_sound()


def _submit_and_die(platform) -> str:
    """Submit through the service in a process that dies between commit and publish."""
    return platform.python(
        """
import io, os
from datetime import UTC, datetime
from PIL import Image
from portal.models import User
from tasks import datasets, jobs, outgoing, requests
from tasks.models import CatalogModel

def die(*, job_id):
    print(json.dumps(job_id), flush=True)
    os._exit(0)

outgoing.send_announcement = die
now = datetime.now(UTC)
client = User.objects.get(email="client@nodefolk.example")
dataset = datasets.create(owner_id=client.pk, name="quiet", now=now)
file = io.BytesIO()
Image.new("RGB", (64, 48), (1, 2, 3)).save(file, "PNG")
file.seek(0)
datasets.add_files(
    dataset_id=dataset.pk, files=[datasets.Upload(name="a.png", file=file)], now=now
)
request = requests.JobRequest(
    kind="detect",
    dataset_id=dataset.pk,
    model_id=CatalogModel.objects.get(is_offered=True, kind="detect").pk,
    target_error="1e-2",
)
jobs.submit(owner_id=client.pk, request=request, now=now)
"""
    )
