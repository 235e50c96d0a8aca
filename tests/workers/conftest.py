"""Fixtures of node tests: a file server, a platform on a file broker, a home folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.workers.node_process import Node, enroll, reason_of, start
from tests.workers.platform_double import FileServer, Platform
from workers.config import Home


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer().running() as running:
        yield running


@pytest.fixture
def platform(tmp_path) -> Iterator[Platform]:
    double = Platform(tmp_path / "broker")
    yield double
    double.close()


@pytest.fixture
def home(tmp_path) -> Home:
    folder = Home(tmp_path / "home")
    folder.make()
    return folder


@pytest.fixture
def own_node(home, platform, server) -> Iterator[Node]:
    """A node for one test that stops or starves it."""
    enroll(home, platform, server)
    running = Node(home, platform, server, start(home))
    platform.receive(lambda found: found.kind == "heartbeat" and not reason_of(found))
    yield running
    if running.process.poll() is None:
        running.process.kill()
    running.process.wait()
