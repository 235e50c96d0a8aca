from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tasks.conversion import backbone, graphdef
from tasks.conversion.assembly import Assembly
from tasks.conversion.backbone import Feature
from tasks.conversion.ordering import Unconvertible
from tests.tasks.conversion import encoding

Array = NDArray[np.float32]


def run(parts: list[bytes], root: str, image: Array) -> tuple[Array, int]:
    """Translate, run on `image` (1, side, side, channels), return NHWC and the side."""
    assembly = Assembly()
    known = {"image": Feature("image", image.shape[1])}
    graph = graphdef.read(b"".join(parts))
    feature = backbone.translate(assembly, graph, roots=[root], known=known)[root]
    planes = image.transpose(0, 3, 1, 2)
    value = helper.make_tensor_value_info
    model = assembly.model(
        "test",
        inputs=[value("image", TensorProto.FLOAT, planes.shape)],
        outputs=[value(feature.name, TensorProto.FLOAT, None)],
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (result,) = session.run(None, {"image": planes})
    return result.transpose(0, 2, 3, 1), feature.side


def convolve(image: Array, weights: Array, *, stride: int, before: int, side: int) -> Array:
    """Convolve by the definition; `weights` are TensorFlow's (h, w, in, out)."""
    kernel = weights.shape[0]
    room = (side - 1) * stride + kernel
    padded = np.zeros((room + before, room + before, image.shape[3]), np.float32)
    inner = padded[before : before + image.shape[1], before : before + image.shape[2]]
    inner[:] = image[0, : inner.shape[0], : inner.shape[1]]
    return np.array(
        [
            [
                np.tensordot(
                    padded[y * stride : y * stride + kernel, x * stride : x * stride + kernel],
                    weights,
                    3,
                )
                for x in range(side)
            ]
            for y in range(side)
        ]
    )[np.newaxis]


def noise(*shape: int) -> Array:
    return np.random.default_rng(seed=7).normal(size=shape).astype(np.float32)


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "before", "side"),
    [
        (6, 3, 2, "SAME", 0, 3),
        (7, 3, 2, "SAME", 1, 4),
        (5, 3, 1, "SAME", 1, 5),
        (6, 1, 2, "SAME", 0, 3),
        (7, 3, 2, "VALID", 0, 3),
    ],
)
def test_a_convolution_pads_as_tensorflow_does(
    size: int, kernel: int, stride: int, padding: str, before: int, side: int
) -> None:
    image, weights, bias = noise(1, size, size, 3), noise(kernel, kernel, 3, 4), noise(4)
    parts = [
        encoding.const("w", weights),
        encoding.const("b", bias),
        encoding.conv("c", "image", "w", stride=stride, padding=padding),
        encoding.node("out", "BiasAdd", ["c", "b"]),
    ]

    result, found_side = run(parts, "out", image)

    assert found_side == side
    expected = convolve(image, weights, stride=stride, before=before, side=side) + bias
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_a_depthwise_convolution_keeps_channels_apart() -> None:
    image, weights = noise(1, 4, 4, 2), noise(1, 1, 2, 3)
    parts = [
        encoding.const("w", weights),
        encoding.const("b", np.zeros(6, np.float32)),
        encoding.conv("c", "image", "w", op="DepthwiseConv2dNative"),
        encoding.node("out", "BiasAdd", ["c", "b"]),
    ]

    result, _ = run(parts, "out", image)

    expected = image[..., :, np.newaxis] * weights[0, 0]
    np.testing.assert_allclose(result, expected.reshape(1, 4, 4, 6), rtol=1e-5)


def test_batch_normalisation_and_relu6_are_folded_in() -> None:
    image, weights = 9 * noise(1, 3, 3, 2), noise(1, 1, 2, 2)
    gamma, beta, mean = floats(2, 3), floats(0.5, -1), floats(0.1, 0.2)
    variance, epsilon = floats(4, 0.25), floats(0.001).reshape(())
    parts = [
        *(
            encoding.const(name, values)
            for name, values in (
                ("w", weights),
                ("gamma", gamma),
                ("beta", beta),
                ("mean", mean),
                ("variance", variance),
                ("epsilon", epsilon),
            )
        ),
        encoding.conv("c", "image", "w/read"),
        encoding.node("w/read", "Identity", ["w"]),
        encoding.node("wide", "Add", ["variance", "epsilon"]),
        encoding.node("root", "Rsqrt", ["wide"]),
        encoding.node("scale", "Mul", ["root", "gamma"]),
        encoding.node("scaled", "Mul", ["c", "scale"]),
        encoding.node("shift", "Mul", ["mean", "scale"]),
        encoding.node("offset", "Sub", ["beta", "shift"]),
        encoding.node("normal", "Add", ["scaled", "offset"]),
        encoding.node("out", "Relu6", ["normal"]),
    ]

    result, _ = run(parts, "out", image)

    normal = (image @ weights[0, 0] - mean) / np.sqrt(variance + epsilon) * gamma + beta
    np.testing.assert_allclose(result, np.clip(normal, 0, 6), rtol=1e-4, atol=1e-5)


def test_two_features_are_added() -> None:
    image = noise(1, 2, 2, 3)

    result, _ = run([encoding.node("out", "Add", ["image", "image"])], "out", image)

    np.testing.assert_array_equal(result, image + image)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (encoding.node("out", "Softmax", ["image"]), "Softmax of Feature in node 'out'"),
        (encoding.node("out", "Mul", ["image", "w"]), "Mul of Feature, ndarray"),
        (encoding.node("out", "NoOp"), "NoOp of nothing in node 'out'"),
        (encoding.node("out", "Identity", ["w"]), "'out' is no feature but ndarray"),
        (encoding.conv("out", "image", "w"), "'out' is no feature but Convolution"),
        (encoding.conv("out", "image", "w", dilation=2), "dilated or not NHWC"),
        (encoding.conv("out", "image", "w", data_format="NCHW"), "dilated or not NHWC"),
        (encoding.conv("out", "image", "w", padding="EXPLICIT"), "padding 'EXPLICIT'"),
        (encoding.conv("out", "image", "oblong"), "kernel of 1 x 2 in node 'out'"),
        (encoding.conv("out", "image", "b"), "weights of 1 dimensions in node 'out'"),
        (
            encoding.node("out", "Conv2D", ["image", "w"], strides=encoding.integers(1, 2, 1, 1)),
            r"strides \(1, 2, 1, 1\) in node 'out'",
        ),
        (
            encoding.node("out", "Conv2D", ["image", "w"], strides=encoding.integers(2, 2)),
            r"strides \(2, 2\) in node 'out'",
        ),
    ],
)
def test_what_is_not_known_is_refused(node: bytes, message: str) -> None:
    parts = [
        encoding.const("w", noise(1, 1, 3, 4)),
        encoding.const("oblong", noise(1, 2, 3, 4)),
        encoding.const("b", noise(4)),
        node,
        encoding.node("biased", "BiasAdd", ["out", "b"]),
    ]
    graph = graphdef.read(b"".join(parts))
    root = "biased" if b"EXPLICIT" in node else "out"

    with pytest.raises(Unconvertible, match=message):
        backbone.translate(Assembly(), graph, roots=[root], known={"image": Feature("image", 8)})


@pytest.mark.parametrize("op", ["Mul", "Add", "BiasAdd"])
def test_a_factor_or_bias_of_another_length_is_refused(op: str) -> None:
    parts = [
        encoding.const("w", noise(1, 1, 3, 4)),
        encoding.const("short", noise(1)),
        encoding.conv("c", "image", "w"),
        encoding.node("out", op, ["c", "short"]),
    ]
    graph = graphdef.read(b"".join(parts))

    with pytest.raises(Unconvertible, match=r"\(1,\) values for 4 outputs in node 'out'"):
        backbone.translate(Assembly(), graph, roots=["out"], known={"image": Feature("image", 8)})
