"""What may pass the wall of a model's room, from the checked graph and the owner's contract."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from workers.protocol import preparation
from workers.protocol.decoders import outputs
from workers.protocol.manifest import Contract
from workers.protocol.modelcheck import fitting, limits
from workers.protocol.modelcheck.facts import Fact
from workers.protocol.modelcheck.graphs import DTYPES, Graph
from workers.protocol.preparation import Shape
from workers.room.tensors import TensorSpec
from workers.rooms import Declared

#: A common size of photographs: types and ranks are read off a run with one.
WIDTH: Final = 640
HEIGHT: Final = 480


def declare(graph: Graph, contract: Contract) -> Declared:
    """Return the tensors that are fed and that the decoder reads, in its order.

    A model that takes one size of picture is held to the very shapes found for it; else
    each side is free, and the whole is bounded by what the decoder takes.

    Raises:
        modelcheck.refusals.Refused: the contract does not fit the graph.
    """
    bounds = fitting.check(graph, contract, width=WIDTH, height=HEIGHT)
    is_fixed = contract.input.width is not None
    inputs = [_picture(contract, preparation.shape(contract.input, width=WIDTH, height=HEIGHT))]
    if contract.threshold_input is not None:
        inputs.append(
            TensorSpec(name=contract.threshold_input, dtypes=("float32",), shape=(1,), bytes_max=4)
        )
    return Declared(
        inputs=tuple(inputs),
        outputs=tuple(
            _output(name, bounds.tensors[name], is_fixed=is_fixed) for name in contract.output_names
        ),
    )


def _picture(contract: Contract, shape: Shape) -> TensorSpec:
    wanted = contract.input
    if wanted.width is None:
        free = (1, 3, None, None) if wanted.layout == "NCHW" else (1, None, None, 3)
        return TensorSpec(
            name=wanted.name,
            dtypes=(wanted.dtype,),
            shape=free,
            bytes_max=limits.TENSOR_BYTES_MAX,
        )
    return TensorSpec(
        name=wanted.name,
        dtypes=(wanted.dtype,),
        shape=shape,
        bytes_max=math.prod(shape) * np.dtype(wanted.dtype).itemsize,
    )


def _output(name: str, fact: Fact, *, is_fixed: bool) -> TensorSpec:
    dtype = np.dtype(DTYPES[fact.dtype])
    is_known = is_fixed and fact.is_exact
    return TensorSpec(
        name=name,
        dtypes=(dtype.name,),
        shape=fact.shape if is_known else (None,) * len(fact.shape),
        bytes_max=fact.size_bytes if is_fixed else outputs.ELEMENTS_MAX * dtype.itemsize,
    )
