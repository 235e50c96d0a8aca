"""Fixtures for what platform and node do together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from portal.models import User
from tests import factories
from tests.portal.machines import Machine
from workers import steering
from workers.config import Home


@pytest.fixture
def make_machine(tmp_path: Path, live_server, monkeypatch) -> Callable[..., Machine]:
    """Return a function that makes a running node of an owner, ready and heard of just now."""
    monkeypatch.setattr(steering, "PROBE_SECONDS", 0.0)

    def make(owner: User, **fields) -> Machine:
        key = factories.make_key()
        node = factories.make_node(owner, key=key, last_seen_at=None, **fields)
        return Machine(node, key=key, home=Home(tmp_path / node.pk), portal=live_server.url)

    return make
