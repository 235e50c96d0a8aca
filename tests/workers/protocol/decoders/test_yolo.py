"""YOLO's raw rows; suppression against ONNX Runtime's own NonMaxSuppression."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from workers.protocol.decoders import suppression, yolo
from workers.protocol.decoders.outputs import BadOutput, Found
from workers.protocol.manifest import Yolo

#: centre x, centre y, width, height, then the scores of two classes.
ROWS = [
    [50, 40, 20, 10, 0.9, 0.1],
    [51, 40, 20, 10, 0.8, 0.2],  # the same object again
    [50, 40, 20, 10, 0.1, 0.7],  # of the other class
    [90, 90, 10, 10, 0.2, 0.1],  # too low
]


def decode(tensor, *, floor=0.25, **how):
    how = Yolo(decoder="yolo", output="o", **({"rows": True} | how))
    return yolo.decode([np.array(tensor, dtype=np.float32)], how, floor=floor)


def test_each_object_is_kept_once_a_class():
    found = decode([ROWS])

    assert found.boxes.tolist() == [[40.0, 35.0, 60.0, 45.0]] * 2
    assert found.class_ids.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])


def test_columns_are_read_as_rows():
    found = decode(np.array([ROWS]).transpose(0, 2, 1), rows=False)

    assert found.scores.tolist() == pytest.approx([0.9, 0.7])


def test_objectness_multiplies_the_scores():
    found = decode([[[50, 40, 20, 10, 0.5, 0.8, 0.1]]], has_objectness=True)

    assert found.scores.tolist() == pytest.approx([0.4])


def test_logits_go_through_a_sigmoid_without_overflow():
    found = decode([[[50, 40, 20, 10, 0.0, -1000.0], [5, 4, 2, 1, -900.0, 900.0]]], logits=True)

    assert found.scores.tolist() == [1.0, 0.5]
    assert found.class_ids.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("tensor", "how", "code"),
    [
        ([[[1, 1, 1, 1, np.nan]]], {}, "output_not_finite"),
        ([[[1, 1, 1, np.inf, 0.5]]], {}, "output_not_finite"),
        ([[[1, 1, 1, 1, 1.2]]], {}, "output_out_of_range"),
        ([[[1, 1, 1, 1, -2.0, -0.4]]], {"has_objectness": True}, "output_out_of_range"),
        ([[[1, 1, 1, 1]]], {}, "output_shape"),
        ([[[1, 1, 1, 1, 0.5]]], {"has_objectness": True}, "output_shape"),
        ([[[1, 1, 1, 1, 0.5]]] * 2, {}, "output_shape"),
        ([1, 1, 1, 1, 0.5], {}, "output_shape"),
    ],
)
def test_hostile_outputs_are_refused(tensor, how, code):
    with pytest.raises(BadOutput) as refused:
        decode(tensor, **how)

    assert (refused.value.code, refused.value.tensor) == (code, "o")


def test_a_flood_of_good_candidates_costs_little():
    flood = np.tile(np.array([50, 40, 0, 0, 0.9], np.float32), (200_000, 1))
    flood[:, 0] = np.arange(200_000)

    found = decode([flood])

    assert len(found.scores) == suppression.KEPT_MAX


@pytest.mark.parametrize("seed", range(5))
def test_suppression_equals_the_runtimes(seed):
    random = np.random.default_rng(seed)
    centres, sizes = random.uniform(0, 100, (80, 2)), random.uniform(5, 40, (80, 2))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    scores = random.permutation(80).astype(np.float32) / 100 + 0.1
    classes = random.integers(0, 3, 80)
    table = np.zeros((1, 3, 80), np.float32)
    table[0, classes, np.arange(80)] = scores

    wanted = reference(boxes[np.newaxis].astype(np.float32), table, 0.45)
    found = suppression.suppress(
        Found(boxes=boxes.astype(np.float32).astype(np.float64), scores=scores, class_ids=classes),
        iou_max=0.45,
    )

    kept = {(int(kind), int(place)) for _, kind, place in wanted}
    assert {
        (int(kind), int(np.flatnonzero(scores == score)[0]))
        for kind, score in zip(found.class_ids, found.scores, strict=True)
    } == kept


def reference(boxes, scores, iou_max):
    """Run ONNX's NonMaxSuppression."""
    node = helper.make_node("NonMaxSuppression", ["b", "s", "n", "i", "t"], ["k"])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "nms",
        [value("b", TensorProto.FLOAT, [1, None, 4]), value("s", TensorProto.FLOAT, [1, 3, None])],
        [value("k", TensorProto.INT64, [None, 3])],
        [
            helper.make_tensor("n", TensorProto.INT64, [1], [100]),
            helper.make_tensor("i", TensorProto.FLOAT, [1], [iou_max]),
            helper.make_tensor("t", TensorProto.FLOAT, [1], [0.05]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"b": boxes, "s": scores})[0]
