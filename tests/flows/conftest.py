"""Each flow test has its own job and its own nodes, on the one platform of the session."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _puppets_leave(request):
    """Retire the puppets of a test: an idle one would be given the next test's rechecks."""
    if "platform" not in request.fixturenames:
        yield
        return
    platform = request.getfixturevalue("platform")
    before = len(platform.puppets)
    yield
    platform.dismiss(platform.puppets[before:])


@pytest.fixture
def submit(platform):
    """Return a function that buys a job on `images` small pictures and returns its id."""
    return platform.submit


@pytest.fixture
def finish(platform):
    """Return a function that waits for a job's end and returns what the client got."""
    return platform.finish
