"""More than fifty models made to hurt are refused, each for its own reason."""

from __future__ import annotations

import time

import pytest

from tests.workers.protocol.modelcheck import hostile
from workers.protocol import limits
from workers.protocol.manifest import Classes, Contract, PictureInput
from workers.protocol.modelcheck import fitting, reading
from workers.protocol.modelcheck.refusals import CODES, Refused

CONTRACT = Contract(
    kind="classify",
    input=PictureInput(layout="NCHW", dtype="float32", width=32, height=32, resize="stretch"),
    output=Classes(decoder="classify", output="out"),
)


def check(data: bytes) -> None:
    graph = reading.read(data)
    fitting.check(graph, CONTRACT, width=640, height=480)


@pytest.mark.parametrize("name", hostile.MODELS)
def test_a_hostile_model_is_refused_with_its_code(name):
    data, code = hostile.MODELS[name]
    started = time.process_time()

    with pytest.raises(Refused) as refused:
        check(data)

    assert refused.value.code == code
    assert code in CODES
    assert time.process_time() - started < 10


def test_a_file_above_the_limit_is_refused_unread(monkeypatch):
    monkeypatch.setattr(limits, "MODEL_BYTES_MAX", 10)

    with pytest.raises(Refused) as refused:
        check(hostile.good().SerializeToString())

    assert refused.value.code == "too_large"


def test_there_are_more_than_fifty_of_them():
    assert len(hostile.MODELS) == 52
