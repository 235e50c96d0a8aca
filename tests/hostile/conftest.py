"""One scene for all attacks, and the table of what stopped each at the end of the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flows import platform as platforms
from tests.flows.platform import Platform
from tests.hostile import private_broker
from tests.hostile import scene as scenes

#: Longer than a test that starves the broker, so that no lease ends of itself.
STARVED_LEASE_SECONDS = 240

_stopped: list[tuple[str, str, str]] = []
_measured: list[str] = []


@pytest.fixture(scope="session")
def scene(platform):
    return scenes.prepare(platform)


@pytest.fixture(scope="session")
def broker(tmp_path_factory) -> Iterator[private_broker.PrivateBroker]:
    """A RabbitMQ that may be starved: nobody else is on it."""
    with private_broker.started(tmp_path_factory.mktemp("starved")) as running:
        yield running


@pytest.fixture(scope="session")
def starved(broker, tmp_path_factory) -> Iterator[Platform]:
    """The platform on that RabbitMQ."""
    servers = {**broker.variables, "NODEFOLK_LEASE_SECONDS": str(STARVED_LEASE_SECONDS)}
    with platforms.running(tmp_path_factory.mktemp("platform"), servers=servers) as running:
        yield running


@pytest.fixture
def note_stopped():
    """Return a function that adds a line (rule, attempt, what stopped it) to the table."""
    return lambda rule, attempt, stopped_by: _stopped.append((rule, attempt, stopped_by))


@pytest.fixture
def note_measured():
    """Return a function that adds a measured figure to the end of the run."""
    return _measured.append


def pytest_terminal_summary(terminalreporter):
    """Print what each forbidden attempt was stopped by."""
    if not _stopped and not _measured:
        return
    terminalreporter.section("what stopped the hostile node")
    widths = [max(map(len, column)) for column in zip(*_stopped, strict=True)]
    for row in sorted(_stopped):
        terminalreporter.write_line(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        )
    terminalreporter.write_line(f"{len(_stopped)} attempts, none changed anything")
    for line in _measured:
        terminalreporter.write_line(line)
