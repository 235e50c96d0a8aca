"""Envelopes that py-amqp cannot read count as empty ones."""

from __future__ import annotations

import struct

import pytest
from amqp import serialization

from tasks import envelopes


@pytest.fixture(autouse=True)
def _guarded(monkeypatch):
    loaders = dict(serialization.PROPERTY_CLASSES)
    monkeypatch.setattr(serialization, "PROPERTY_CLASSES", loaders)
    envelopes.guard()
    envelopes.guard()


def load(properties: bytes):
    return serialization.PROPERTY_CLASSES[envelopes.BASIC](properties, 0)[0]


def table(content: bytes) -> bytes:
    return struct.pack(">HI", 0x2000, len(content)) + content


@pytest.mark.parametrize(
    "properties",
    [
        struct.pack(">HB", 0x8000, 1) + b"\xff",
        table(b"\x01xT" + b"\x7f" * 8),
        table(b"\x01xA" + struct.pack(">I", 5) * 1 + b"A" * 5),
        table(b"\x01x?"),
        b"",
    ],
)
def test_what_cannot_be_read_is_empty(properties):
    assert load(properties) == {}


def test_an_honest_envelope_is_read():
    assert load(struct.pack(">HB", 0x8000, 4) + b"json") == {"content_type": "json"}
