"""The manifest of a client's classifier."""

from __future__ import annotations

from typing import Any

from tests.workers.protocol.modelcheck import builders


def manifest(**changes: Any) -> dict[str, Any]:
    """Return the manifest of `builders.classifier()` as JSON data."""
    contract = builders.CLASSIFIER.model_dump(mode="json")
    return {
        **contract,
        "name": "Pets",
        "licence": "MIT",
        "labels": {"0": "cat", "1": "dog", "2": "cup"},
        **changes,
    }
