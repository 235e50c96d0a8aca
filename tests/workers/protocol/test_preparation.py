"""A picture as a tensor, and where its pixels come from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from workers.protocol import digests, preparation
from workers.protocol.manifest import PictureInput

BOX = np.array([[2.0, 3.0, 10.0, 12.0]])


def picture(width=40, height=20, colour=(200, 100, 50)):
    return Image.new("RGB", (width, height), colour)


def corners_of(prepared, wanted, image):
    """Move the model's whole picture onto the original."""
    return prepared.frame.on_picture(
        np.array([[0.0, 0.0, prepared.frame.width, prepared.frame.height]])
    ).tolist()[0]


def test_as_it_is_the_pixels_are_the_tensor():
    prepared = preparation.prepare(picture(), PictureInput())

    assert prepared.tensor.shape == (1, 20, 40, 3)
    assert prepared.tensor[0, 0, 0].tolist() == [200, 100, 50]
    assert prepared.frame.on_picture(BOX).tolist() == BOX.tolist()


def test_layout_order_scale_mean_and_std_are_applied():
    wanted = PictureInput(
        layout="NCHW", dtype="float32", channels="BGR", width=16, height=8, resize="stretch",
        scale=0.01, mean=(0.5, 0.0, 1.0), std=(1.0, 2.0, 0.5),
    )  # fmt: skip

    prepared = preparation.prepare(picture(), wanted)

    assert prepared.tensor.shape == (1, 3, 8, 16)
    assert prepared.tensor.dtype == np.float32
    assert prepared.tensor[0, :, 0, 0].tolist() == pytest.approx([0.0, 0.5, 2.0], abs=1e-6)


def test_stretch_covers_the_whole_picture():
    wanted = PictureInput(width=16, height=32, resize="stretch")
    prepared = preparation.prepare(picture(), wanted)

    assert prepared.tensor.shape == (1, 32, 16, 3)
    assert corners_of(prepared, wanted, picture()) == [0.0, 0.0, 40.0, 20.0]


def test_letterbox_keeps_the_aspect_and_fills_around():
    wanted = PictureInput(width=32, height=32, resize="letterbox", fill=114)
    prepared = preparation.prepare(picture(), wanted)

    assert prepared.tensor[0, 7, 0].tolist() == [114, 114, 114]
    assert prepared.tensor[0, 8, 0].tolist() == [200, 100, 50]
    assert prepared.frame.on_picture(np.array([[0.0, 8, 32, 24]])).tolist() == [[0, 0, 40, 20]]


def test_crop_takes_the_middle():
    wanted = PictureInput(width=16, height=16, resize="crop", crop_fraction=0.5)
    prepared = preparation.prepare(picture(), wanted)

    assert corners_of(prepared, wanted, picture()) == [15.0, 5.0, 25.0, 15.0]


def test_a_large_picture_is_shrunk_and_filled_to_a_multiple():
    wanted = PictureInput(side_max=32, multiple_of=32)
    prepared = preparation.prepare(picture(100, 50), wanted)

    assert prepared.tensor.shape == (1, 32, 32, 3)
    assert prepared.frame.on_picture(np.array([[0.0, 0, 32, 16]])).tolist() == [[0, 0, 100, 50]]


def test_the_bytes_are_the_same_everywhere():
    """Numbers of another machine or library version would show here."""
    rows, columns = np.mgrid[0:60, 0:90]
    pixels = np.stack([rows * 4, columns * 2, (rows * columns) % 256], axis=2).astype(np.uint8)
    wanted = PictureInput(
        layout="NCHW", dtype="float32", width=32, height=32, resize="letterbox",
        scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
    )  # fmt: skip

    tensor = preparation.prepare(Image.fromarray(pixels), wanted).tensor

    assert digests.digest(tensor.tobytes()) == PINNED


PINNED = "b5febe96a4582d079bdf09d463613f1e72f53b69377ceb244f262be45061e12b"


@given(
    width=st.integers(8, 300),
    height=st.integers(8, 300),
    mode=st.sampled_from(["none", "stretch", "letterbox", "crop"]),
    layout=st.sampled_from(["NCHW", "NHWC"]),
    part=st.floats(0.06, 1),
    multiple=st.sampled_from([1, 32]),
)
def test_the_shape_foretold_is_the_shape_made(width, height, mode, layout, part, multiple):
    size = {} if mode == "none" else {"width": 24, "height": 16}
    wanted = PictureInput(
        layout=layout, resize=mode, crop_fraction=part, side_max=128, multiple_of=multiple, **size
    )

    prepared = preparation.prepare(picture(width, height), wanted)

    foretold = preparation.shape(wanted, width=width, height=height)
    assert prepared.tensor.shape == foretold
