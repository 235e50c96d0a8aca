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
from workers import sessions
from workers.protocol import digests
from workers.sessions import Detector, Sessions

ROOT = Path(__file__).parents[2]
PIXELS = np.full((1, 20, 30, 3), 51, dtype=np.uint8)


@pytest.fixture
def cache() -> Iterator[Sessions]:
    opened = Sessions()
    yield opened
    opened.close()


@pytest.fixture
def load(tmp_path) -> Iterator[Callable[[bytes], Detector]]:
    """Return a function that opens a model."""
    with contextlib.ExitStack() as stack:
        yield lambda content: stack.enter_context(
            contextlib.closing(sessions.load(*store(tmp_path, content)))
        )


def store(folder, content: bytes):
    path = folder / digests.digest(content)
    path.write_bytes(content)
    return path.name, path


@pytest.mark.parametrize("takes_threshold", [True, False])
def test_a_detector_answers_with_boxes_scores_and_classes(load, takes_threshold):
    content = models.make_detector(takes_threshold=takes_threshold)

    boxes, scores, classes = load(content).run(PIXELS, floor=0.3)

    assert boxes.tolist() == np.array(models.BOXES, dtype=np.float32).tolist()
    assert scores.tolist() == pytest.approx([0.9, 0.6, 0.2])
    assert classes.tolist() == models.CLASSES


def test_a_large_picture_gives_the_same_answer(load):
    detector = load(models.make_detector())
    large = np.full((1, 2000, 2001, 3), 51, dtype=np.uint8)

    assert detector.run(large, floor=0)[1].tolist() == pytest.approx([0.9, 0.6, 0.2], abs=1e-3)


def test_an_open_session_is_used_again(tmp_path, cache):
    digest, path = store(tmp_path, models.make_detector())

    first = cache.open(digest, path)

    assert cache.open(digest, path) is first
    assert cache.is_open(digest)


def test_threads_that_ask_at_once_get_the_same_session(tmp_path, cache):
    digest, path = store(tmp_path, models.make_detector())
    barrier = threading.Barrier(4)

    def ask():
        barrier.wait()
        return cache.open(digest, path)

    with ThreadPoolExecutor(4) as pool:
        opened = [future.result() for future in [pool.submit(ask) for _ in range(4)]]

    assert len({id(each) for each in opened}) == 1


def test_the_least_recently_used_session_is_closed(tmp_path, cache):
    stored = [store(tmp_path, models.make_detector(scores=(0.9, each))) for each in (0.1, 0.2, 0.3)]
    cache.open(*stored[0])
    cache.open(*stored[1])
    cache.open(*stored[0])

    cache.open(*stored[2])

    assert [cache.is_open(digest) for digest, _ in stored] == [True, False, True]


def test_an_idle_model_is_closed_and_opened_again_when_needed(tmp_path, cache):
    digest, path = store(tmp_path, models.make_detector())
    detector = cache.open(digest, path)

    assert cache.close_idle() == 1

    assert not cache.is_open(digest)
    assert detector.run(PIXELS, floor=0.3)[2].tolist() == models.CLASSES
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
        cache.open(digest, path)

    path.write_bytes(content)
    assert cache.open(digest, path).takes_threshold


def test_a_missing_file_is_corrupt(tmp_path):
    with pytest.raises(sessions.Corrupt):
        sessions.load("0" * 64, tmp_path / "none")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no model",
        models.make_detector()[:200],
        models.make_detector(outputs=("boxes", "scores")),
    ],
)
def test_what_is_no_detector_is_unusable(load, content):
    with pytest.raises(sessions.Unusable):
        load(content)


def test_a_picture_of_another_shape_is_unusable(load):
    detector = load(models.make_detector())

    with pytest.raises(sessions.Unusable):
        detector.run(PIXELS[0], floor=0.3)


def test_the_numeric_class_names_what_numbers_depend_on():
    parts = sessions.numeric_class().split("/")

    assert parts[1:4] == ["cpu", "all", "x64precision"]
    assert len(sessions.numeric_class()) <= 120
