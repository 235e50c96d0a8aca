"""A classifier's tensor, against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workers.protocol.decoders import classify
from workers.protocol.decoders.outputs import BadOutput
from workers.protocol.manifest import Classes


def decode(values, *, classes=3, kind="probabilities"):
    how = Classes(decoder="classify", output="o", values=kind)
    return classify.decode([np.array(values, dtype=np.float32)], how, classes=classes)


def test_probabilities_are_taken_as_they_are():
    assert decode([[0.5, 0.25, 0.25]]).tolist() == [0.5, 0.25, 0.25]


def test_logits_become_probabilities():
    found = decode([[math.log(2), 0.0, 0.0]], kind="logits")

    assert found.tolist() == pytest.approx([0.5, 0.25, 0.25])


def test_a_pooled_shape_is_taken():
    assert decode(np.array([0.5, 0.25, 0.25]).reshape(1, 3, 1, 1)).tolist() == [0.5, 0.25, 0.25]


def test_ties_go_to_the_smaller_number():
    assert classify.likeliest(np.array([0.3, 0.4, 0.3]), count=3) == [
        (1, 0.4),
        (0, 0.3),
        (2, 0.3),
    ]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([[0.5, math.nan, 0.5]], "output_not_finite"),
        ([[0.5, math.inf, 0.5]], "output_not_finite"),
        ([[0.9, 0.9, 0.9]], "output_out_of_range"),
        ([[0.1, 0.1, 0.1]], "output_out_of_range"),
        ([[1.5, -0.25, -0.25]], "output_out_of_range"),
        ([[0.5, 0.5]], "output_shape"),
        ([[0.25] * 4], "output_shape"),
        ([[0.5], [0.25], [0.25]] * 2, "output_shape"),
    ],
)
def test_hostile_outputs_are_refused(values, code):
    with pytest.raises(BadOutput) as refused:
        decode(values)

    assert (refused.value.code, refused.value.tensor) == (code, "o")
