"""Hold a manifest against the graph it is for: the tensor and the reason when it does not fit."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from workers.protocol import preparation
from workers.protocol.manifest import Classes, Contract, Detr, Ssd, Yolo
from workers.protocol.modelcheck import shapes
from workers.protocol.modelcheck.facts import Fact
from workers.protocol.modelcheck.graphs import End, Graph
from workers.protocol.modelcheck.refusals import Refused
from workers.protocol.modelcheck.shapes import Bounds

#: onnx.TensorProto.DataType of the manifest's words.
_TYPES: Final = {"uint8": 2, "float32": 1, "float16": 10}
#: Types a decoder reads.
_FLOATS: Final = {1, 10, 11}
_NUMBERS: Final = _FLOATS | {2, 3, 4, 5, 6, 7, 12, 13}


def check(graph: Graph, contract: Contract, *, width: int, height: int) -> Bounds:
    """Bound the run for a picture of this size and check the ends against the contract.

    Raises:
        Refused.
    """
    fed = _fed(graph, contract, width=width, height=height)
    missing = [name for name in contract.output_names if name not in graph.outputs]
    if missing:
        raise Refused("output_missing", "the graph has no such output", tensor=missing[0])
    bounds = shapes.bound(graph, fed)
    _check_outputs(contract, bounds)
    return bounds


def check_labels(contract: Contract, bounds: Bounds, class_ids: Collection[int]) -> None:
    """Check that the classes the model tells apart are those that have a label.

    Raises:
        Refused: labels_mismatch.
    """
    count = _class_count(contract, bounds)
    if count is None:
        return
    if contract.kind == "classify" and set(class_ids) != set(range(count)):
        raise Refused("labels_mismatch", f"classes 0 to {count - 1} need a label each")
    if max(class_ids) >= count:
        raise Refused("labels_mismatch", f"class {max(class_ids)} of {count}: there is none")


def _fed(graph: Graph, contract: Contract, *, width: int, height: int) -> dict[str, Fact]:
    wanted = contract.input
    end = graph.inputs.get(wanted.name)
    if end is None:
        raise Refused("input_missing", "the graph has no such input", tensor=wanted.name)
    if end.dtype != _TYPES[wanted.dtype]:
        raise Refused("input_type", f"it is not {wanted.dtype}", tensor=wanted.name)
    shape = preparation.shape(wanted, width=width, height=height)
    _check_shape(end, shape, wanted.name, wanted.layout)
    fed = {wanted.name: Fact(end.dtype, shape)}
    if contract.threshold_input is not None:
        fed[contract.threshold_input] = _threshold(graph, contract.threshold_input)
    extra = sorted(set(graph.inputs) - set(fed))
    if extra:
        raise Refused("extra_input", "the manifest does not name it", tensor=extra[0])
    return fed


def _threshold(graph: Graph, name: str) -> Fact:
    end = graph.inputs.get(name)
    if end is None:
        raise Refused("input_missing", "the graph has no such input", tensor=name)
    if end.dtype != 1 or end.shape not in ((1,), (None,)):
        raise Refused("input_shape", "a threshold is float32 of shape (1,)", tensor=name)
    return Fact(end.dtype, (1,))


def _check_shape(end: End, shape: tuple[int, ...], name: str, layout: str) -> None:
    if end.shape is None:
        return
    fits = len(end.shape) == 4 and all(
        size is None or size == fed for size, fed in zip(end.shape, shape, strict=True)
    )
    if not fits:
        raise Refused("input_shape", f"it takes {end.shape}, not {layout} {shape}", tensor=name)


def _check_outputs(contract: Contract, bounds: Bounds) -> None:
    match contract.output:
        case Ssd() as how:
            _check(bounds, how.boxes, _FLOATS, ranks=(2, 3), last=4)
            _check(bounds, how.scores, _FLOATS, ranks=(1, 2))
            _check(bounds, how.classes, _NUMBERS, ranks=(1, 2))
        case Detr() as how:
            _check(bounds, how.logits, _FLOATS, ranks=(2, 3))
            _check(bounds, how.boxes, _FLOATS, ranks=(2, 3), last=4)
        case Yolo() as how:
            fact = _check(bounds, how.output, _FLOATS, ranks=(2, 3))
            values = fact.shape[-1 if how.rows else -2]
            if values < 5 + how.has_objectness:
                raise Refused("output_shape", f"{fact.shape}: no scores", tensor=how.output)
        case Classes() as how:
            fact = _check(bounds, how.output, _FLOATS, ranks=(1, 2, 3, 4))
            if fact.elements != max(fact.shape):
                raise Refused("output_shape", f"{fact.shape}: not one row", tensor=how.output)


def _check(
    bounds: Bounds, name: str, types: Collection[int], *, ranks: tuple[int, ...], last: int = 0
) -> Fact:
    fact = bounds.tensors.get(name)
    if fact is None:
        raise Refused("output_shape", "its size is not known beforehand", tensor=name)
    if fact.dtype not in types:
        raise Refused("output_type", f"type {fact.dtype}", tensor=name)
    if len(fact.shape) not in ranks or (last and fact.shape[-1] != last):
        raise Refused("output_shape", f"{fact.shape} is not what the decoder reads", tensor=name)
    if len(fact.shape) == max(ranks) and len(ranks) == 2 and fact.shape[0] != 1:
        raise Refused("output_shape", f"{fact.shape}: a batch of 1 is wanted", tensor=name)
    return fact


def _class_count(contract: Contract, bounds: Bounds) -> int | None:
    """Return how many classes the outputs tell apart, None where they do not say."""
    match contract.output:
        case Ssd():
            return None
        case Detr() as how:
            return bounds.tensors[how.logits].shape[-1] - (how.activation == "softmax")
        case Yolo() as how:
            values = bounds.tensors[how.output].shape[-1 if how.rows else -2]
            return values - 4 - how.has_objectness
        case Classes() as how:
            return bounds.tensors[how.output].elements
