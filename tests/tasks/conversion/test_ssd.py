from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from tasks.conversion import anchors, graphdef, ssd
from tasks.conversion.ordering import Unconvertible
from tests.tasks.conversion import encoding

PERSON, CAT, TOOTHBRUSH = 1, 17, 90


def logits(level: int, **scored: dict[int, float]) -> dict[int, list[float]]:
    """Return -20 everywhere but for `shape0={class: logit}` and the like."""
    rows = np.full((len(anchors.shapes(level)), 91), -20.0, np.float32)
    for name, classes in scored.items():
        for number, logit in classes.items():
            rows[int(name.removeprefix("shape")), number] = logit
    return {level: rows.ravel().tolist()}


def detect(
    *,
    logit_biases: dict[int, list[float]],
    box_biases: dict[int, list[float]] | None = None,
    threshold: float = 0.5,
    size: tuple[int, int] = (40, 60),
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    data = encoding.detector(box_biases=box_biases or {}, logit_biases=logit_biases)
    model = ssd.convert(graphdef.read(data))
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    image = np.zeros((1, *size, 3), np.uint8)
    boxes, scores, classes = session.run(
        None, {"image": image, "score_threshold": np.array([threshold], np.float32)}
    )
    return boxes, scores, classes


def test_the_tensors_keep_the_contract() -> None:
    model = ssd.convert(graphdef.read(encoding.detector(box_biases={}, logit_biases={})))

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert [(t.name, t.type, t.shape) for t in session.get_inputs()] == [
        ("image", "tensor(uint8)", [1, "height", "width", 3]),
        ("score_threshold", "tensor(float)", [1]),
    ]
    assert [(t.name, t.type, t.shape) for t in session.get_outputs()] == [
        ("boxes", "tensor(float)", ["n", 4]),
        ("scores", "tensor(float)", ["n"]),
        ("classes", "tensor(int64)", ["n"]),
    ]
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 13)]


def test_one_anchor_with_one_class_is_one_detection() -> None:
    boxes, scores, classes = detect(logit_biases=logits(5, shape1={CAT: 2.0}))

    half_height, half_width = 0.95 / math.sqrt(2) / 2, 0.95 * math.sqrt(2) / 2
    assert half_width > 0.5
    np.testing.assert_allclose(boxes, [[0.5 - half_height, 0.0, 0.5 + half_height, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(scores, [1 / (1 + math.exp(-2))], rtol=1e-6)
    assert classes.tolist() == [CAT]


def test_box_encodings_move_and_stretch_the_anchor() -> None:
    encodings = np.zeros((6, 4), np.float32)
    encodings[0] = [1.0, -2.0, 5 * math.log(0.5), 5 * math.log(0.25)]

    boxes, _, _ = detect(
        logit_biases=logits(5, shape0={PERSON: 3.0}),
        box_biases={5: encodings.ravel().tolist()},
    )

    y, x, height, width = 0.5 + 0.095, 0.5 - 0.19, 0.475, 0.2375
    expected = [[y - height / 2, x - width / 2, y + height / 2, x + width / 2]]
    np.testing.assert_allclose(boxes, expected, rtol=1e-5)


def test_only_scores_above_the_threshold_count() -> None:
    biases = logits(5, shape0={CAT: 0.0}, shape1={TOOTHBRUSH: 0.2})

    assert detect(logit_biases=biases, threshold=0.5)[2].tolist() == [TOOTHBRUSH]
    assert detect(logit_biases=biases, threshold=0.49)[2].tolist() == [CAT, TOOTHBRUSH]


def test_the_background_is_never_detected() -> None:
    boxes, scores, classes = detect(logit_biases=logits(5, shape0={0: 9.0}))

    assert (boxes.shape, scores.shape, classes.shape) == ((0, 4), (0,), (0,))


def test_of_overlapping_boxes_of_a_class_the_best_is_kept() -> None:
    biases = logits(5, shape0={CAT: 1.0}, shape5={CAT: 2.0, PERSON: 1.0})

    boxes, scores, classes = detect(logit_biases=biases)

    assert classes.tolist() == [PERSON, CAT]
    np.testing.assert_allclose(scores, [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))], rtol=1e-6)
    low, high = 0.5 - math.sqrt(0.95) / 2, 0.5 + math.sqrt(0.95) / 2
    np.testing.assert_allclose(boxes, [[low, low, high, high]] * 2, rtol=1e-5)


def test_every_cell_of_a_map_answers_for_its_own_anchor() -> None:
    shrunk = np.tile(np.array([0, 0, 5 * math.log(0.2), 5 * math.log(0.1)]), 6)

    boxes, scores, _ = detect(
        logit_biases=logits(1, shape2={CAT: 2.0}), box_biases={1: shrunk.tolist()}
    )

    height, width = 0.2 * 0.35 * math.sqrt(2), 0.1 * 0.35 / math.sqrt(2)
    centres = [(0.1 * row + 0.05, 0.1 * column + 0.05) for row in range(10) for column in range(10)]
    expected = [
        [max(y - height / 2, 0), x - width / 2, min(y + height / 2, 1), x + width / 2]
        for y, x in centres
    ]
    assert len(scores) == 100
    order = np.lexsort((boxes[:, 1], boxes[:, 0].round(3)))
    np.testing.assert_allclose(boxes[order], expected, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (300, 300), (7, 501)])
def test_a_picture_of_any_size_is_taken(size: tuple[int, int]) -> None:
    _, _, classes = detect(logit_biases=logits(5, shape0={CAT: 2.0}), size=size)

    assert classes.tolist() == [CAT]


def test_the_same_graph_gives_the_same_bytes() -> None:
    data = encoding.detector(box_biases={}, logit_biases=logits(5, shape0={CAT: 2.0}))

    first, second = (
        ssd.convert(graphdef.read(data)).SerializeToString(deterministic=True) for _ in range(2)
    )

    assert first == second


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"ConcatV2", b"ConcatV3", "'concat' does not join reshaped predictors"),
        (b"Reshape\x12\x07Reshape", b"Reshape\x12\x07Squeeze", "does not join reshaped"),
        (b"concat_1", b"concat_2", "no node is named 'concat_1'"),
        (b"Preprocessor/sub", b"Preprocessor/add", "no node is named 'Preprocessor/add'"),
    ],
)
def test_a_graph_of_another_build_is_refused(old: bytes, new: bytes, message: str) -> None:
    data = encoding.detector(box_biases={}, logit_biases={})
    assert old in data

    with pytest.raises(Unconvertible, match=message):
        ssd.convert(graphdef.read(data.replace(old, new)))


def test_maps_of_other_sides_are_refused() -> None:
    data = encoding.detector(box_biases={}, logit_biases={})
    swapped = data.replace(b"map4\x1a\x0cBox4", b"map5\x1a\x0cBox4")
    assert swapped != data

    with pytest.raises(Unconvertible, match=r"box_encodings: maps of sides \[19, 10, 5, 3, 1, 1\]"):
        ssd.convert(graphdef.read(swapped))
