"""Harmless models of the kinds that clients bring."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.workers.protocol.modelcheck.hostile import VALUE, model, node, numbers
from workers.protocol.manifest import (
    Classes,
    Contract,
    Detr,
    PictureInput,
    Ssd,
    Yolo,
)

FITTED = {"layout": "NCHW", "dtype": "float32", "width": 32, "height": 32, "resize": "stretch"}


def weight(name: str, *shape: int, seed: int = 0):
    values = np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def classifier(classes: int = 3, *, name: str = "image", logits: bool = False) -> bytes:
    """Convolution, pool, product, Softmax."""
    nodes = [
        node("Conv", name, "w", out="c", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", "c", out="r"),
        node("GlobalAveragePool", "r", out="p"),
        node("Flatten", "p", out="f"),
        node("Gemm", "f", "m", out="out" if logits else "l"),
    ]
    if not logits:
        nodes.append(node("Softmax", "l", axis=1))
    return model(
        nodes,
        weights=[weight("w", 4, 3, 3, 3), weight("m", 4, classes, seed=1)],
        inputs=[VALUE(name, TensorProto.FLOAT, [1, 3, 32, 32])],
    ).SerializeToString()


def yolo(classes: int = 2) -> bytes:
    """One convolution whose cells become columns of scores between 0 and 1."""
    nodes = [
        node("Conv", "image", "w", out="c", strides=[8, 8]),
        node("Sigmoid", "c", out="s"),
        node("Shape", "s", out="shape"),
        node("Slice", "shape", "zero", "two", out="head"),
        node("Concat", "head", "open", out="target", axis=0),
        node("Reshape", "s", "target"),
    ]
    return model(
        nodes,
        weights=[
            weight("w", 4 + classes, 3, 8, 8),
            numbers("zero", 0),
            numbers("two", 2),
            numbers("open", -1),
        ],
    ).SerializeToString()


def detr(classes: int = 3, queries: int = 5) -> bytes:
    """A pooled picture times a matrix, cut into queries."""
    nodes = [
        node("GlobalAveragePool", "image", out="p"),
        node("Flatten", "p", out="f"),
        node("Gemm", "f", "m", out="all"),
        node("Reshape", "all", "shape", out="rows"),
        node("Split", "rows", "parts", out="logits", axis=2),
        node("Sigmoid", "raw", out="boxes"),
    ]
    nodes[4].output.append("raw")
    return model(
        nodes,
        weights=[
            weight("m", 3, queries * (classes + 4)),
            numbers("shape", 1, queries, classes + 4),
            numbers("parts", classes, 4),
        ],
        outputs=[VALUE("logits", TensorProto.FLOAT, None), VALUE("boxes", TensorProto.FLOAT, None)],
    ).SerializeToString()


CLASSIFIER = Contract(
    kind="classify",
    input=PictureInput(**FITTED, scale=1 / 255),
    output=Classes(decoder="classify", output="out"),
)
YOLO = Contract(
    input=PictureInput(**FITTED, scale=1 / 255), output=Yolo(decoder="yolo", output="out")
)
DETR = Contract(
    input=PictureInput(**FITTED, scale=1 / 255),
    output=Detr(decoder="detr", logits="logits", boxes="boxes"),
)
SSD = Contract(output=Ssd(threshold_input="score_threshold"))
SSD_ALONE = Contract(output=Ssd())

__all__ = ["CLASSIFIER", "DETR", "SSD", "SSD_ALONE", "YOLO", "classifier", "detr", "helper", "yolo"]
