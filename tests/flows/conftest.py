"""One platform for all flow tests; each test has its own job and its own nodes."""

from __future__ import annotations

import pytest

from portal.demo import sample
from tests import factories
from tests.flows import platform as platforms


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    with platforms.running(tmp_path_factory.mktemp("platform")) as running:
        yield running


@pytest.fixture
def submit(platform, tmp_path):
    """Return a function that buys a job on `images` small pictures and returns its id."""

    def submit_job(*, images: int = 1, **fields) -> str:
        photos = []
        for number in range(images):
            path = tmp_path / f"{number}.png"
            path.write_bytes(factories.picture(color=(number, 5, 9)))
            photos.append(path)
        with platform.api() as api:
            dataset = sample.upload(api, name="small", photos=photos)
            return str(sample.submit(api, dataset=dataset, **fields)["id"])

    return submit_job


@pytest.fixture
def finish(platform):
    """Return a function that waits for a job's end and returns what the client got."""

    def finish_job(job_id: str, *, seconds: float = 60):
        with platform.api() as api:
            return sample.finish(api, job_id=job_id, seconds=seconds)

    return finish_job
