"""Real ONNX Runtime sessions on tiny models."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.workers import models
from tests.workers.protocol.modelcheck import builders, hostile
from workers import sandbox, sessions
from workers.protocol import digests
from workers.protocol.manifest import Contract
from workers.sessions import OpenModel, Sessions

ROOT = Path(__file__).parents[2]
PIXELS = np.full((1, 20, 30, 3), 51, dtype=np.uint8)


@pytest.fixture
def cache() -> Iterator[Sessions]:
    opened = Sessions()
    yield opened
    opened.close()


@pytest.fixture
def load(tmp_path, cache) -> Callable[..., OpenModel]:
    """Return a function that opens a model."""

    def open_model(content: bytes, contract: Contract = builders.SSD) -> OpenModel:
        return cache.open(*store(tmp_path, content), contract)

    return open_model


def store(folder, content: bytes):
    path = folder / digests.digest(content)
    path.write_bytes(content)
    return path.name, path


def run(model: OpenModel, pixels):
    feeds = {"image": pixels, "score_threshold": np.array([0.3], dtype=np.float32)}
    return model.run({name: feeds[name] for name in model.graph.inputs})


@pytest.mark.parametrize("takes_threshold", [True, False])
def test_a_detector_answers_with_boxes_scores_and_classes(load, takes_threshold):
    content = models.make_detector(takes_threshold=takes_threshold)

    model = load(content, builders.SSD if takes_threshold else builders.SSD_ALONE)

    boxes, scores, classes = run(model, PIXELS)

    assert boxes.tolist() == np.array(models.BOXES, dtype=np.float32).tolist()
    assert scores.tolist() == pytest.approx([0.9, 0.6, 0.2])
    assert classes.tolist() == models.CLASSES


def test_a_large_picture_gives_the_same_answer(load):
    detector = load(models.make_detector())
    large = np.full((1, 2000, 2001, 3), 51, dtype=np.uint8)

    assert run(detector, large)[1].tolist() == pytest.approx([0.9, 0.6, 0.2], abs=1e-3)


def test_an_open_session_is_used_again(tmp_path, cache):
    digest, path = store(tmp_path, models.make_detector())

    first = cache.open(digest, path, builders.SSD)

    assert cache.open(digest, path, builders.SSD) is first
    assert cache.is_open(digest)


def test_threads_that_ask_at_once_get_the_same_session(tmp_path, cache):
    digest, path = store(tmp_path, models.make_detector())
    barrier = threading.Barrier(4)

    def ask():
        barrier.wait()
        return cache.open(digest, path, builders.SSD)

    with ThreadPoolExecutor(4) as pool:
        opened = [future.result() for future in [pool.submit(ask) for _ in range(4)]]

    assert len({id(each) for each in opened}) == 1


def test_the_least_recently_used_session_is_closed(tmp_path, cache):
    stored = [store(tmp_path, models.make_detector(scores=(0.9, each))) for each in (0.1, 0.2, 0.3)]
    cache.open(*stored[0], builders.SSD)
    cache.open(*stored[1], builders.SSD)
    cache.open(*stored[0], builders.SSD)

    cache.open(*stored[2], builders.SSD)

    assert [cache.is_open(digest) for digest, _ in stored] == [True, False, True]


def test_an_idle_model_is_closed_and_opened_again_when_needed(tmp_path, cache):
    digest, path = store(tmp_path, models.make_detector())
    detector = cache.open(digest, path, builders.SSD)

    assert cache.close_idle() == 1

    assert not cache.is_open(digest)
    assert run(detector, PIXELS)[2].tolist() == models.CLASSES
    assert detector.rooms._all == set()


def test_the_node_itself_does_not_load_the_runtime():
    code = "import sys, workers.cli; print('onnxruntime' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "False\n"


def test_a_damaged_file_is_noticed_and_not_remembered(tmp_path, cache):
    content = models.make_detector()
    digest, path = store(tmp_path, content)
    path.write_bytes(content[:-1] + b"x")

    with pytest.raises(sessions.Corrupt):
        cache.open(digest, path, builders.SSD)

    path.write_bytes(content)
    assert len(cache.open(digest, path, builders.SSD).graph.inputs) == 2


def test_a_missing_file_is_corrupt(tmp_path, cache):
    with pytest.raises(sessions.Corrupt):
        cache.open("0" * 64, tmp_path / "none", builders.SSD)


def test_a_contract_that_does_not_fit_is_unusable_and_no_room_is_made(load, monkeypatch):
    monkeypatch.setattr(sandbox, "start_room", None)

    with pytest.raises(sessions.Unusable, match="input_missing: score_threshold"):
        load(models.make_detector(takes_threshold=False), builders.SSD)


def test_one_file_with_two_contracts_is_two_models(load):
    content = builders.classifier(logits=True)
    likely = builders.CLASSIFIER
    raw = likely.model_copy(
        update={"output": likely.output.model_copy(update={"values": "logits"})}
    )

    assert load(content, likely) is not load(content, raw)
    assert load(content, raw) is load(content, raw)


def test_the_contract_used_last_is_remembered(tmp_path):
    digest, path = store(tmp_path, models.make_detector(takes_threshold=False))
    with contextlib.closing(Sessions(built_in={digest: builders.SSD})) as cache:
        assert cache.contract("0" * 64) is None
        assert cache.contract(digest) == builders.SSD

        cache.open(digest, path, builders.SSD_ALONE)

        assert cache.contract(digest) == builders.SSD_ALONE


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no model",
        models.make_detector()[:200],
        hostile.constant_bomb(),
    ],
)
def test_what_is_no_harmless_model_is_unusable(load, content):
    with pytest.raises(sessions.Unusable):
        load(content)


def test_a_picture_of_another_shape_is_unusable(load):
    detector = load(models.make_detector())

    with pytest.raises(sessions.Unusable):
        run(detector, PIXELS[0])


def test_the_numeric_class_names_what_numbers_depend_on():
    parts = sessions.numeric_class().split("/")

    assert parts[1:4] == ["cpu", "all", "x64precision"]
    assert len(sessions.numeric_class()) <= 120
