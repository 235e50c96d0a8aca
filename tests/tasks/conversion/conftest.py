"""The real detector, converted once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.conversion import pinned


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> pinned.Built:
    return pinned.build(tmp_path_factory.mktemp("built") / "detector.onnx")


@pytest.fixture(scope="session")
def photos() -> Path:
    return Path(__file__).parents[3] / "portal" / "photos"
