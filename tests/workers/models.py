"""Tiny ONNX models that follow, or break, the contract of detectors."""

from __future__ import annotations

import io

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

BOXES = [[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 1.0], [-0.2, 0.5, 0.3, 1.4]]
CLASSES = [1, 17, 47]


def make_detector(
    *,
    boxes: list[list[float]] = BOXES,
    scores: tuple[float, ...] = (0.9, 0.6),
    classes: list[int] = CLASSES,
    outputs: tuple[str, ...] = ("boxes", "scores", "classes"),
    takes_threshold: bool = True,
) -> bytes:
    """Return a model that answers `boxes`; its last score is the picture's brightness, 0..1."""
    constants = {
        "boxes_c": np.array(boxes, dtype=np.float32).reshape(-1, 4),
        "scores_c": np.array(scores, dtype=np.float32),
        "classes_c": np.array(classes, dtype=np.int64),
        "white": np.array(255, dtype=np.float32),
        "one": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "white"], ["bright"]),
        helper.make_node("Reshape", ["bright", "one"], ["last"]),
        helper.make_node("Concat", ["scores_c", "last"], ["scores"], axis=0),
        helper.make_node("Identity", ["boxes_c"], ["boxes"]),
        helper.make_node("Identity", ["classes_c"], ["classes"]),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, "h", "w", 3])]
    if takes_threshold:
        inputs.append(helper.make_tensor_value_info("score_threshold", TensorProto.FLOAT, [1]))
    kinds = {
        "boxes": helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", 4]),
        "scores": helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n"]),
        "classes": helper.make_tensor_value_info("classes", TensorProto.INT64, ["n"]),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [kinds[name] for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def make_picture(
    *,
    size: tuple[int, int] = (200, 100),
    brightness: int = 128,
    mode: str = "RGB",
    kind: str = "PNG",
    **options: object,
) -> bytes:
    """Return an encoded picture of one colour, (width, height)."""
    colour = brightness if mode in {"L", "I;16"} else (brightness,) * len(mode)
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, kind, **options)
    return file.getvalue()
