"""Tiny ONNX models that follow, or break, the contract of detectors."""

from __future__ import annotations

import io

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from workers.room.tensors import TensorSpec
from workers.rooms import Declared

#: What passes the wall of a detector's room.
DECLARED = Declared(
    inputs=(
        TensorSpec(
            name="image", dtypes=("uint8",), shape=(1, None, None, 3), bytes_max=120_000_000
        ),
        TensorSpec(
            name="score_threshold",
            dtypes=("float32",),
            shape=(1,),
            bytes_max=4,
            is_optional=True,
        ),
    ),
    outputs=(
        TensorSpec(name="boxes", dtypes=("float32",), shape=(None, 4), bytes_max=1_600_000),
        TensorSpec(name="scores", dtypes=("float32",), shape=(None,), bytes_max=400_000),
        TensorSpec(name="classes", dtypes=("int64",), shape=(None,), bytes_max=800_000),
    ),
)
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


def make_endless() -> bytes:
    """Return a detector that adds nothing to its score 2**62 times."""
    number = helper.make_tensor_value_info("v", TensorProto.FLOAT, [1])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Mul", ["v", "v"], ["v_next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            number,
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_next", TensorProto.FLOAT, [1]),
        ],
    )
    return _burdened(
        [helper.make_node("Loop", ["turns", "yes", "bright"], ["burden"], body=body)],
        turns=np.array(2**62, dtype=np.int64),
        yes=np.array(True),
    )


def make_bomb() -> bytes:
    """Return a detector that wants 4 TB as soon as it sees a picture."""
    return _burdened(
        [
            helper.make_node("Size", ["image"], ["size"]),
            helper.make_node("Min", ["size", "many"], ["some"]),
            helper.make_node("Mul", ["some", "many"], ["all"]),
            helper.make_node("Reshape", ["all", "one"], ["shape"]),
            helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
            helper.make_node("ReduceMax", ["zeros"], ["burden"], keepdims=1),
        ],
        many=np.array(10**6, dtype=np.int64),
    )


def make_slow() -> bytes:
    """Return a harmless detector whose pictures take seconds: products of large matrices."""
    products = [helper.make_node("Mul", ["m", "bright"], ["p0"])]
    products += [helper.make_node("MatMul", [f"p{n}", "m"], [f"p{n + 1}"]) for n in range(8)]
    return _burdened(
        [
            helper.make_node("ConstantOfShape", ["sides"], ["m"]),
            *products,
            helper.make_node("ReduceMax", ["p8"], ["most"], keepdims=0),
            helper.make_node("Reshape", ["most", "one"], ["burden"]),
        ],
        sides=np.array([2000, 2000], dtype=np.int64),
    )


def make_large() -> bytes:
    """Return a harmless detector that needs 800 MB for a picture."""
    return _burdened(
        [
            helper.make_node("Expand", ["bright", "many"], ["first"]),
            helper.make_node("Add", ["first", "bright"], ["second"]),
            helper.make_node("Sub", ["second", "first"], ["third"]),
            helper.make_node("ReduceMax", ["third"], ["burden"], keepdims=1),
        ],
        many=np.array([10**8], dtype=np.int64),
    )


def _burdened(nodes: list[onnx.NodeProto], **constants: np.ndarray) -> bytes:
    """Return a detector without boxes whose one score waits for `burden`."""
    constants |= {
        "boxes_c": np.zeros((1, 4), dtype=np.float32),
        "classes_c": np.ones(1, dtype=np.int64),
        "one": np.array([1], dtype=np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["real"], ["mean"], keepdims=0),
            helper.make_node("Reshape", ["mean", "one"], ["bright"]),
            *nodes,
            helper.make_node("Identity", ["burden"], ["scores"]),
            helper.make_node("Identity", ["boxes_c"], ["boxes"]),
            helper.make_node("Identity", ["classes_c"], ["classes"]),
        ],
        "burdened",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, "h", "w", 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("classes", TensorProto.INT64, ["n"]),
        ],
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
