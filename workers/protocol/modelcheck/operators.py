"""Which operators a client's model may have, and why others may not."""

from __future__ import annotations

from typing import Final

from workers.protocol.modelcheck.refusals import Refused

CONTROL_FLOW: Final = frozenset(
    {"If", "Loop", "Scan", "SequenceMap", "SequenceAt", "SequenceConstruct", "SequenceEmpty",
     "SequenceErase", "SequenceInsert", "SequenceLength", "SplitToSequence",
     "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement"}
)  # fmt: skip
RANDOM: Final = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial",
     "Bernoulli"}
)  # fmt: skip
#: Quantisation with ranges taken from the data: `session.x64quantprecision` does not make
#: it equal on all processors.
VARYING: Final = frozenset({"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"})

#: One input, the same shape out.
UNARY: Final = frozenset(
    {"Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Clip", "Cos",
     "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Hardmax",
     "Identity", "LRN", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization",
     "MeanVarianceNormalization", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu",
     "Sigmoid", "Sign", "Sin", "Sinh", "Softmax", "Softplus", "Softsign", "Sqrt", "Tan",
     "Tanh", "ThresholdedRelu", "Not", "IsNaN", "IsInf", "Cast", "CumSum", "Trilu",
     "BatchNormalization", "InstanceNormalization", "GroupNormalization",
     "LayerNormalization", "Dropout", "QuantizeLinear", "DequantizeLinear", "ScatterND",
     "ScatterElements"}
)  # fmt: skip
#: Any inputs, broadcast against each other.
BROADCAST: Final = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max",
     "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor"}
)  # fmt: skip
REDUCTIONS: Final = frozenset(
    {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
     "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"}
)  # fmt: skip
LAYERS: Final = frozenset(
    {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
     "MatMul", "Gemm", "QLinearConv", "QLinearMatMul", "GridSample"}
)  # fmt: skip
ARRANGEMENTS: Final = frozenset(
    {"Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Expand", "Flatten", "Pad",
     "Range", "Reshape", "Resize", "Shape", "Size", "Slice", "SpaceToDepth", "Split",
     "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)  # fmt: skip
SELECTIONS: Final = frozenset(
    {"ArgMax", "ArgMin", "Gather", "GatherElements", "GatherND", "NonMaxSuppression",
     "NonZero", "OneHot", "TopK"}
)  # fmt: skip

ALLOWED: Final = UNARY | BROADCAST | REDUCTIONS | LAYERS | ARRANGEMENTS | SELECTIONS

#: Results that are true or false.
BOOLEAN: Final = frozenset(
    {"And", "Or", "Xor", "Not", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
     "IsNaN", "IsInf"}
)  # fmt: skip


def check_name(op: str, tensor: str) -> None:
    """Check that the operator is allowed.

    Raises:
        Refused: with the reason's own code.
    """
    if op in ALLOWED:
        return
    if op in CONTROL_FLOW:
        raise Refused("control_flow", f"{op} is not taken", tensor=tensor)
    if op in RANDOM:
        raise Refused("not_deterministic", f"{op} is not taken", tensor=tensor)
    if op in VARYING:
        raise Refused("varying_quantisation", f"{op} is not taken", tensor=tensor)
    raise Refused("unknown_operator", f"{op!r} is not taken", tensor=tensor)
