"""Convert SSD MobileNet V2 (COCO, 2018-03-29) from its frozen graph to one ONNX model.

Only the backbone and the box predictors are translated. What TensorFlow does around them
in loops and thousands of operations (resizing, anchors, box decoding, suppression) is built
anew inside the ONNX graph, so every machine computes the same from the pixels on.

The contract of the result (opset 13):

in   image            uint8 (1, height, width, 3), RGB, any size; not letterboxed
in   score_threshold  float32 (1,), detections must score above it
out  boxes            float32 (n, 4): ymin, xmin, ymax, xmax in 0..1 of the picture
out  scores           float32 (n,), not sorted
out  classes          int64 (n,), COCO's 91-id space, see `labels`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from onnx import ModelProto, TensorProto, helper

from tasks.conversion import anchors, backbone, ordering
from tasks.conversion.assembly import Assembly
from tasks.conversion.backbone import Feature
from tasks.conversion.graphdef import GraphNode
from tasks.conversion.ordering import Unconvertible

MODEL_NAME: Final = "ssd_mobilenet_v2_coco_2018_03_29"
INPUT_SIDE: Final = 300
PREPARED_NODE: Final = "Preprocessor/sub"
BOXES_NODE: Final = "concat"
SCORES_NODE: Final = "concat_1"

# Class 0 of the detector is the background; the others carry COCO's own numbers.
CLASSES: Final = 91
# Variances of the box coder: offsets are stored 10 times, log sizes 5 times too large.
CENTRE_SCALE: Final = 10.0
SIZE_SCALE: Final = 5.0
SUPPRESSION_IOU: Final = 0.6
DETECTIONS_PER_CLASS_MAX: Final = 100


def convert(graph: Mapping[str, GraphNode]) -> ModelProto:
    """Return the detector as an ONNX model with float32 weights; same graph, same bytes.

    Raises:
        Unconvertible: the graph is not built like this detector.
        MalformedGraph: an attribute of the graph cannot be read.
    """
    assembly = Assembly()
    prepared = _prepare(assembly)
    roots = {name: _predictors(graph, name) for name in (BOXES_NODE, SCORES_NODE)}
    features = backbone.translate(
        assembly,
        graph,
        roots=[predictor for names in roots.values() for predictor in names],
        known={PREPARED_NODE: prepared},
    )
    encodings = _join(assembly, "box_encodings", [features[n] for n in roots[BOXES_NODE]], 4)
    logits = _join(assembly, "class_logits", [features[n] for n in roots[SCORES_NODE]], CLASSES)
    _select(assembly, boxes=_decode(assembly, encodings), scores=_score(assembly, logits))
    return _model(assembly)


def _prepare(assembly: Assembly) -> Feature:
    """Resize to 300 x 300 as TensorFlow's ResizeBilinear does and scale pixels to -1..1."""
    assembly.node("Cast", ["image"], "pixels", to=TensorProto.FLOAT)
    assembly.node("Transpose", ["pixels"], "planes", perm=[0, 3, 1, 2])
    size = assembly.indices("input_size", 1, 3, INPUT_SIDE, INPUT_SIDE)
    assembly.node(
        "Resize",
        ["planes", "", "", size],
        "resized",
        mode="linear",
        coordinate_transformation_mode="asymmetric",
    )
    assembly.node("Mul", ["resized", assembly.scalar("pixel_scale", 2 / 255)], "scaled")
    assembly.node("Sub", ["scaled", assembly.scalar("pixel_offset", 1.0)], "prepared")
    return Feature("prepared", INPUT_SIDE)


def _predictors(graph: Mapping[str, GraphNode], name: str) -> list[str]:
    """Return the nodes, one for each map, whose reshaped outputs node `name` joins."""
    joined = ordering.get(graph, name)
    reshapes = [ordering.get(graph, source) for source in joined.inputs[:-1]]
    if joined.op != "ConcatV2" or any(node.op != "Reshape" for node in reshapes):
        raise Unconvertible(f"node {name!r} does not join reshaped predictors")
    if len(reshapes) != len(anchors.MAP_SIDES):
        raise Unconvertible(f"node {name!r} joins {len(reshapes)} maps")
    return [node.inputs[0] for node in reshapes]


def _join(assembly: Assembly, name: str, maps: list[Feature], width: int) -> str:
    """Lay the predictors' outputs out as (1, 1917, width), anchors in their order."""
    if [feature.side for feature in maps] != list(anchors.MAP_SIDES):
        raise Unconvertible(f"{name}: maps of sides {[feature.side for feature in maps]}")
    shape = assembly.indices(f"{name}/shape", 1, -1, width)
    rows = []
    for level, feature in enumerate(maps):
        last = assembly.node("Transpose", [feature.name], f"{name}/{level}/last", perm=[0, 2, 3, 1])
        rows.append(assembly.node("Reshape", [last, shape], f"{name}/{level}"))
    return assembly.node("Concat", rows, name, axis=1)


def _decode(assembly: Assembly, encodings: str) -> str:
    """Turn encodings (1, 1917, 4) into corners (1, 1917, 4) within the picture.

    Inverse of the encoding in Liu et al. (2016), section 2.2.
    """
    boxes = anchors.boxes()[np.newaxis]
    assembly.constant("anchor_centres", boxes[:, :, :2])
    assembly.constant("anchor_sizes", boxes[:, :, 2:])

    offsets = _slice(assembly, encodings, "offsets", axis=2, start=0, end=2)
    assembly.node("Div", [offsets, assembly.scalar("centre_scale", CENTRE_SCALE)], "shifts")
    assembly.node("Mul", ["shifts", "anchor_sizes"], "moves")
    assembly.node("Add", ["moves", "anchor_centres"], "centres")

    stretches = _slice(assembly, encodings, "stretches", axis=2, start=2, end=4)
    assembly.node("Div", [stretches, assembly.scalar("size_scale", SIZE_SCALE)], "log_sizes")
    assembly.node("Exp", ["log_sizes"], "growths")
    assembly.node("Mul", ["growths", "anchor_sizes"], "sizes")
    assembly.node("Mul", ["sizes", assembly.scalar("half", 0.5)], "half_sizes")

    assembly.node("Sub", ["centres", "half_sizes"], "corners_min")
    assembly.node("Add", ["centres", "half_sizes"], "corners_max")
    assembly.node("Concat", ["corners_min", "corners_max"], "corners", axis=2)
    bounds = [assembly.scalar("picture_min", 0.0), assembly.scalar("picture_max", 1.0)]
    return assembly.node("Clip", ["corners", *bounds], "corners_inside")


def _score(assembly: Assembly, logits: str) -> str:
    """Turn logits (1, 1917, 91) into scores (1, 90, 1917), the background left out."""
    assembly.node("Sigmoid", [logits], "probabilities")
    objects = _slice(assembly, "probabilities", "objects", axis=2, start=1, end=CLASSES)
    return assembly.node("Transpose", [objects], "class_scores", perm=[0, 2, 1])


def _select(assembly: Assembly, *, boxes: str, scores: str) -> None:
    """Keep the best boxes of every class and name the three outputs.

    NonMaxSuppression answers rows of (batch, class, anchor); the batch is always 0.
    """
    limits = [
        assembly.indices("detections_max", DETECTIONS_PER_CLASS_MAX),
        assembly.constant("suppression_iou", np.array([SUPPRESSION_IOU], dtype=np.float32)),
    ]
    assembly.node("NonMaxSuppression", [boxes, scores, *limits, "score_threshold"], "kept")
    pairs = _slice(assembly, "kept", "kept_pairs", axis=1, start=1, end=3)
    column = assembly.indices("column", 1)
    for name, start in (("kept_class", 1), ("kept_anchor", 2)):
        part = _slice(assembly, "kept", f"{name}/column", axis=1, start=start, end=start + 1)
        assembly.node("Squeeze", [part, column], name)

    batch = assembly.indices("batch", 0)
    assembly.node("Squeeze", [boxes, batch], "all_boxes")
    assembly.node("Gather", ["all_boxes", "kept_anchor"], "boxes", axis=0)
    assembly.node("Squeeze", [scores, batch], "all_scores")
    assembly.node("GatherND", ["all_scores", pairs], "scores")
    first = assembly.constant("first_class", np.array(1, dtype=np.int64))
    assembly.node("Add", ["kept_class", first], "classes")


def _slice(assembly: Assembly, source: str, name: str, *, axis: int, start: int, end: int) -> str:
    bounds = [
        assembly.indices(f"{name}/start", start),
        assembly.indices(f"{name}/end", end),
        assembly.indices(f"{name}/axis", axis),
    ]
    return assembly.node("Slice", [source, *bounds], name)


def _model(assembly: Assembly) -> ModelProto:
    value = helper.make_tensor_value_info
    return assembly.model(
        MODEL_NAME,
        inputs=[
            value("image", TensorProto.UINT8, [1, "height", "width", 3]),
            value("score_threshold", TensorProto.FLOAT, [1]),
        ],
        outputs=[
            value("boxes", TensorProto.FLOAT, ["n", 4]),
            value("scores", TensorProto.FLOAT, ["n"]),
            value("classes", TensorProto.INT64, ["n"]),
        ],
    )
