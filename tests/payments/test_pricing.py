"""The price list and the arithmetic of a quote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments import pricing

KINDS = st.sampled_from(["detect", "classify"])


def test_four_pictures_by_two_nodes_cost_the_published_price():
    price = pricing.price_images(kind="detect", images=4, quorum=2)

    assert [(line.label, line.quantity, line.unit_minor) for line in price.lines] == [
        ("Detection, each image by at most 2 nodes", 8, 50_000),
        ("Platform fee, 10 %", 8, 5_000),
    ]
    assert [line.amount_minor for line in price.lines] == [400_000, 40_000]
    assert price.price_minor == 440_000
    assert price.hold_minor == 440_000


def test_classifying_is_cheaper_and_one_node_needs_no_words():
    price = pricing.price_images(kind="classify", images=1, quorum=1)

    assert price.lines[0].label == "Classification"
    assert price.price_minor == 22_000


@pytest.mark.parametrize("kind", ["detect", "classify"])
def test_the_fee_of_one_image_is_a_whole_number_of_minor_units(kind):
    assert pricing.REWARD_MINOR_PER_IMAGE[kind] * pricing.FEE_PERCENT % 100 == 0


@given(KINDS, st.lists(st.integers(1, 500), min_size=1, max_size=50), st.integers(1, 10))
def test_any_cut_into_chunks_costs_exactly_the_price(kind, chunks, quorum):
    price = pricing.price_images(kind=kind, images=sum(chunks), quorum=quorum)

    paid = sum(
        pricing.reward_minor(kind=kind, images=images) + pricing.fee_minor(kind=kind, images=images)
        for images in chunks
        for _ in range(quorum)
    )
    assert paid == price.price_minor == price.hold_minor


@pytest.mark.parametrize(
    ("images", "quorum"),
    [(0, 2), (-1, 2), (1, 0), (pricing.IMAGES_MAX + 1, 1), (1, pricing.QUORUM_MAX + 1)],
)
def test_what_is_not_on_the_list_has_no_price(images, quorum):
    with pytest.raises(pricing.NotPriced):
        pricing.price_images(kind="detect", images=images, quorum=quorum)
