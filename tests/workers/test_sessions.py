"""Real ONNX Runtime sessions on tiny models."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.workers import models
from tests.workers.protocol.modelcheck import hostile
from workers import sessions
from workers.protocol import digests
from workers.sessions import OpenModel, Sessions

OUTPUTS = ("boxes", "scores", "classes")
PIXELS = np.full((1, 20, 30, 3), 51, dtype=np.uint8)


def store(folder, content: bytes):
    path = folder / digests.digest(content)
    path.write_bytes(content)
    return path.name, path


def run(model: OpenModel, pixels):
    feeds = {"image": pixels, "score_threshold": np.array([0.3], dtype=np.float32)}
    return model.run({name: feeds[name] for name in model.graph.inputs}, OUTPUTS)


@pytest.mark.parametrize("takes_threshold", [True, False])
def test_a_detector_answers_with_boxes_scores_and_classes(tmp_path, takes_threshold):
    content = models.make_detector(takes_threshold=takes_threshold)

    boxes, scores, classes = run(sessions.load(*store(tmp_path, content)), PIXELS)

    assert boxes.tolist() == np.array(models.BOXES, dtype=np.float32).tolist()
    assert scores.tolist() == pytest.approx([0.9, 0.6, 0.2])
    assert classes.tolist() == models.CLASSES


def test_a_large_picture_gives_the_same_answer(tmp_path):
    detector = sessions.load(*store(tmp_path, models.make_detector()))
    large = np.full((1, 2000, 2001, 3), 51, dtype=np.uint8)

    assert run(detector, large)[1].tolist() == pytest.approx([0.9, 0.6, 0.2], abs=1e-3)


def test_an_open_session_is_used_again(tmp_path):
    cache = Sessions()
    digest, path = store(tmp_path, models.make_detector())

    first = cache.open(digest, path)

    assert cache.open(digest, path) is first
    assert cache.is_open(digest)


def test_threads_that_ask_at_once_get_the_same_session(tmp_path):
    cache = Sessions()
    digest, path = store(tmp_path, models.make_detector())
    barrier = threading.Barrier(4)

    def ask():
        barrier.wait()
        return cache.open(digest, path)

    with ThreadPoolExecutor(4) as pool:
        opened = [future.result() for future in [pool.submit(ask) for _ in range(4)]]

    assert len({id(each) for each in opened}) == 1


def test_the_least_recently_used_session_is_closed(tmp_path):
    cache = Sessions()
    stored = [store(tmp_path, models.make_detector(scores=(0.9, each))) for each in (0.1, 0.2, 0.3)]
    cache.open(*stored[0])
    cache.open(*stored[1])
    cache.open(*stored[0])

    cache.open(*stored[2])

    assert [cache.is_open(digest) for digest, _ in stored] == [True, False, True]


def test_a_damaged_file_is_noticed_and_not_remembered(tmp_path):
    cache = Sessions()
    content = models.make_detector()
    digest, path = store(tmp_path, content)
    path.write_bytes(content[:-1] + b"x")

    with pytest.raises(sessions.Corrupt):
        cache.open(digest, path)

    path.write_bytes(content)
    assert len(cache.open(digest, path).graph.inputs) == 2


def test_a_missing_file_is_corrupt(tmp_path):
    with pytest.raises(sessions.Corrupt):
        sessions.load("0" * 64, tmp_path / "none")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no model",
        models.make_detector()[:200],
        hostile.constant_bomb(),
    ],
)
def test_what_is_no_harmless_model_is_unusable(tmp_path, content):
    with pytest.raises(sessions.Unusable):
        sessions.load(*store(tmp_path, content))


def test_a_picture_of_another_shape_is_unusable(tmp_path):
    detector = sessions.load(*store(tmp_path, models.make_detector()))

    with pytest.raises(sessions.Unusable):
        run(detector, PIXELS[0])


def test_the_numeric_class_names_what_numbers_depend_on():
    parts = sessions.numeric_class().split("/")

    assert parts[1:4] == ["cpu", "all", "x64precision"]
    assert len(sessions.numeric_class()) <= 120
