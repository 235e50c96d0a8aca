"""When two answers say the same: laws that hold for any answers, and the bounds."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification import agreement
from workers.protocol import boxes, limits

THRESHOLD = 0.3
MUST_MATCH = THRESHOLD + agreement.DEAD_BAND

# Few values close together, so that many boxes match several others.
scores = st.sampled_from([0.296, 0.3, 0.3165, 0.319, 0.3215, 0.324, 0.3275, 0.9])
sides = st.sampled_from([0.0, 100.0, 100.4, 100.8, 101.2])
detections = st.tuples(
    st.integers(1, 2), scores, st.sampled_from([0.0, 0.3]), st.just(0.0), sides, st.just(80.0)
)
pictures = st.lists(detections, max_size=4)
answers = st.lists(pictures, min_size=1, max_size=2)


def agree(first, second):
    return agreement.agree(first, second, score_threshold=THRESHOLD)


def is_same(first, second):
    return (
        first[0] == second[0]
        and abs(first[1] - second[1]) <= agreement.SCORE_DIFFERENCE_MAX
        and (first[2:] == second[2:] or boxes.iou(first[2:], second[2:]) >= agreement.IOU_MIN)
    )


def pairings(first, second):
    """Yield every way to pair some of `first` with some of `second`, one to one."""
    for size in range(min(len(first), len(second)) + 1):
        for ours in itertools.combinations(range(len(first)), size):
            for theirs in itertools.permutations(range(len(second)), size):
                yield list(zip(ours, theirs, strict=True))


def agree_by_trying_all(first, second):
    def serves(pairing):
        ours = {index for index, _ in pairing}
        theirs = {index for _, index in pairing}
        return (
            all(is_same(first[one], second[other]) for one, other in pairing)
            and all(n in ours or found[1] < MUST_MATCH for n, found in enumerate(first))
            and all(n in theirs or found[1] < MUST_MATCH for n, found in enumerate(second))
        )

    return any(serves(pairing) for pairing in pairings(first, second))


@given(answers)
def test_an_answer_agrees_with_itself(answer):
    assert agree(answer, answer)


@given(answers, answers)
def test_agreement_is_the_same_from_both_sides(first, second):
    assert agree(first, second) == agree(second, first)


@given(pictures.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))), pictures)
def test_the_order_of_detections_does_not_matter(both, other):
    found, shuffled = both

    assert agree([found], [shuffled])
    assert agree([found], [other]) == agree([shuffled], [other])


@given(pictures, pictures)
def test_matching_finds_what_trying_all_pairings_finds(first, second):
    assert agree([first], [second]) == agree_by_trying_all(first, second)


def test_a_weak_box_does_not_take_the_partner_of_a_strong_one():
    ours = [(1, 0.322, 0.0, 0.0, 100.0, 80.0)]
    theirs = [(1, 0.319, 0.0, 0.0, 100.0, 80.0), (1, 0.322, 0.0, 0.0, 100.0, 80.0)]

    assert agree([ours], [theirs])
    assert agree([theirs], [ours])


def test_two_overlapping_boxes_are_paired_whatever_their_order():
    left, middle, right = ((1, 0.9, x, 0.0, 100.0, 80.0) for x in (0.0, 0.4, 0.8))

    assert agree([[left, middle]], [[middle, right]])
    assert agree([[middle, left]], [[middle, right]])


@pytest.mark.parametrize(
    ("score", "expected"),
    [(0.2999, True), (0.3199, True), (0.32, False), (0.9, False)],
)
def test_only_a_detection_inside_the_dead_band_may_be_missing(score, expected):
    found = [(1, score, 0.0, 0.0, 100.0, 80.0)]

    assert agree([found], [[]]) is expected
    assert agree([[]], [found]) is expected


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ((1, 0.904, 0.0, 0.0, 100.0, 80.0), True),
        ((1, 0.906, 0.0, 0.0, 100.0, 80.0), False),
        ((2, 0.9, 0.0, 0.0, 100.0, 80.0), False),
        ((1, 0.9, 0.0, 0.0, 101.0, 80.0), True),
        ((1, 0.9, 0.0, 0.0, 102.0, 80.0), False),
        ((1, 0.9, 500.0, 0.0, 100.0, 80.0), False),
    ],
    ids=["score near", "score far", "class", "box near", "box far", "elsewhere"],
)
def test_a_strong_box_needs_one_of_its_class_score_and_place(other, expected):
    assert agree([[(1, 0.9, 0.0, 0.0, 100.0, 80.0)]], [[other]]) is expected


def test_another_number_of_pictures_is_another_answer():
    assert not agree([[]], [[], []])


def test_a_box_without_area_agrees_with_itself_only():
    flat = (1, 0.9, 5.0, 5.0, 0.0, 3.0)

    assert agree([[flat]], [[flat]])
    assert not agree([[flat]], [[(1, 0.9, 5.0, 5.0, 0.0, 3.1)]])


def test_no_answers_are_no_group():
    assert agreement.groups([], score_threshold=THRESHOLD) == []


def test_the_medoid_comes_first_and_the_largest_group_before_others():
    def answer(width):
        return [[(1, 0.9, 0.0, 0.0, width, 80.0)]]

    chain = [answer(100.0), answer(500.0), answer(100.8), answer(101.6)]

    assert agreement.groups(chain, score_threshold=THRESHOLD) == [[2, 0, 3], [1]]


@given(st.lists(answers, max_size=5))
def test_each_of_the_largest_group_agrees_with_its_first_and_none_is_larger(candidates):
    group, *_ = [*agreement.groups(candidates, score_threshold=THRESHOLD), []]

    sizes = [sum(agree(one, other) for other in candidates) for one in candidates]
    assert len(group) == max(sizes, default=0)
    assert len(set(group)) == len(group)
    assert all(agree(candidates[group[0]], candidates[index]) for index in group)


CAT, DOG, CUP = 0, 1, 2


def one(*likelihoods):
    """Return a chunk's answer of one picture."""
    return [list(likelihoods)]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (one((CAT, 0.8), (DOG, 0.1)), one((CAT, 0.8), (DOG, 0.1)), True),
        (one((CAT, 0.8), (DOG, 0.1)), one((CAT, 0.785), (DOG, 0.115)), True),
        (one((CAT, 0.8), (DOG, 0.1)), one((CAT, 0.77), (DOG, 0.1)), False),
        (one((CAT, 0.8), (DOG, 0.1)), one((DOG, 0.8), (CAT, 0.1)), False),
        # Neither leads by enough to be the only right one.
        (one((CAT, 0.45), (DOG, 0.44)), one((DOG, 0.45), (CAT, 0.44)), True),
        # One side leads clearly.
        (one((CAT, 0.45), (DOG, 0.44)), one((DOG, 0.455), (CAT, 0.43)), False),
        # A class that only one side names must be unlikely.
        (one((CAT, 0.8), (DOG, 0.01)), one((CAT, 0.8), (CUP, 0.011)), True),
        (one((CAT, 0.5), (DOG, 0.4)), one((CAT, 0.5), (CUP, 0.1)), False),
        (one(), one(), True),
        (one((CAT, 0.8)), one(), False),
        (one((CAT, 1.0)), [*one((CAT, 1.0)), *one((CAT, 1.0))], False),
    ],
)
def test_classes_agree_by_the_likeliest_with_a_margin(first, second, same):
    assert agreement.classes_agree(first, second) is same
    assert agreement.classes_agree(second, first) is same


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=5),
    shifts=st.lists(st.floats(-0.03, 0.03), min_size=5, max_size=5),
)
def test_agreement_on_classes_is_reflexive_and_symmetric(scores, shifts):
    first = one(*enumerate(sorted(scores, reverse=True)))
    moved = [(n, score + shift) for (n, score), shift in zip(first[0], shifts, strict=False)]
    second = one(*sorted(moved, key=lambda pair: -pair[1]))

    assert agreement.classes_agree(first, first)
    assert agreement.classes_agree(first, second) == agreement.classes_agree(second, first)


def test_the_largest_group_of_classes_is_found():
    answers = [one((CAT, 0.8)), one((DOG, 0.8)), one((CAT, 0.79))]

    first, *_ = agreement.groups(answers, score_threshold=0.3, kind="classify")
    assert sorted(first) == [0, 2]


@given(
    st.lists(answers, max_size=5).flatmap(
        lambda given: st.tuples(st.just(given), st.permutations(range(len(given))))
    )
)
def test_groups_are_the_same_in_any_order_up_to_equal_answers(both):
    given_answers, order = both

    def grouped(candidates):
        found = agreement.groups(candidates, score_threshold=THRESHOLD)
        return [[repr(candidates[index]) for index in group] for group in found]

    def sorted_members(found):
        return [[first, *sorted(rest)] for first, *rest in found]

    shuffled = [given_answers[index] for index in order]
    assert sorted_members(grouped(given_answers)) == sorted_members(grouped(shuffled))


@given(st.lists(answers, max_size=5))
def test_groups_split_all_answers_and_each_agrees_with_its_first(candidates):
    found = agreement.groups(candidates, score_threshold=THRESHOLD)

    assert sorted(index for group in found for index in group) == list(range(len(candidates)))
    assert all(agree(candidates[group[0]], candidates[index]) for group in found for index in group)
    assert [len(group) for group in found] == sorted(map(len, found), reverse=True)


def test_groups_can_be_told_how_to_compare():
    found = agreement.groups(
        [3, 1, 2, 9], score_threshold=THRESHOLD, compare=lambda one, other: abs(one - other) <= 1
    )

    assert found == [[2, 0, 1], [3]]


@pytest.mark.parametrize("tolerance", [agreement.STRICT, agreement.LOOSE])
@given(first=detections, second=detections)
def test_the_cheap_look_never_rejects_what_is_the_same(tolerance, first, second):
    is_near = agreement._is_near(first, second, tolerance)

    assert is_near or not agreement._is_same(first, second, tolerance)


@given(answers, answers)
def test_what_is_the_same_is_nearly_the_same_and_nearness_is_symmetric(first, second):
    def near(one, other):
        return agreement.agree(one, other, score_threshold=THRESHOLD, tolerance=agreement.LOOSE)

    assert near(first, second) or not agree(first, second)
    assert near(first, second) == near(second, first)


@pytest.mark.parametrize(
    ("other", "is_near"),
    [
        ((1, 0.9, 0.0, 0.0, 96.0, 80.0), True),  # a box 4 % narrower
        ((1, 0.851, 0.0, 0.0, 100.0, 80.0), True),
        ((1, 0.849, 0.0, 0.0, 100.0, 80.0), False),
        ((1, 0.9, 0.0, 0.0, 89.0, 80.0), False),
        ((2, 0.9, 0.0, 0.0, 100.0, 80.0), False),
    ],
)
def test_near_is_another_processors_digits_and_never_another_object(other, is_near):
    said = [[(1, 0.9, 0.0, 0.0, 100.0, 80.0)]]

    assert not agree(said, [[other]])
    assert (
        agreement.agree(said, [[other]], score_threshold=THRESHOLD, tolerance=agreement.LOOSE)
        is is_near
    )


@pytest.mark.parametrize(
    ("other", "is_near"), [([(1, 0.7), (2, 0.2)], True), ([(1, 0.5), (2, 0.4)], False)]
)
def test_classes_are_near_within_a_tenth(other, is_near):
    said = [[(1, 0.75), (2, 0.2)]]

    assert not agreement.classes_agree(said, [other])
    assert agreement.classes_agree(said, [other], tolerance=agreement.LOOSE) is is_near


def test_more_boxes_upon_each_other_than_a_detector_leaves_agree_only_with_the_same():
    crowd = [(1, 0.9, 0.001 * n, 0.0, 100.0, 80.0) for n in range(agreement.NEAR_MAX + 1)]

    assert agree([crowd], [crowd[::-1]])
    assert not agree([crowd], [[*crowd[1:], (1, 0.9, 0.01, 0.0, 100.0, 80.0)]])
    assert agree([crowd[1:]], [[*crowd[2:], (1, 0.9, 0.01, 0.0, 100.0, 80.0)]])


def _upon_each_other(*, shift):
    """All boxes of both answers are near each other."""
    return [(1, 0.9, shift + 0.001 * n, 0.0, 100.0, 80.0) for n in range(limits.DETECTIONS_MAX)]


def _in_a_row(*, shift):
    """Each box is near a few of the other answer's, in a chain through all of them."""
    return [(1, 0.9, shift + 0.25 * n, 0.0, 100.0, 80.0) for n in range(limits.DETECTIONS_MAX)]


@pytest.mark.parametrize("make", [_upon_each_other, _in_a_row])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_worst_answers_a_node_may_send_are_compared_in_bounded_steps(
    make, is_reversed, monkeypatch
):
    steps = Counter()

    def count(name):
        plain = getattr(agreement, name)

        def counted(*arguments):
            steps[name] += 1
            return plain(*arguments)

        monkeypatch.setattr(agreement, name, counted)

    for name in ("_is_near", "_is_same", "_augment"):
        count(name)
    first, second = make(shift=0.0), make(shift=0.4)
    chunk = limits.CHUNK_ITEMS_MAX
    agree([first] * chunk, [second[::-1] if is_reversed else second] * chunk)

    boxes_given = chunk * limits.DETECTIONS_MAX
    assert steps["_is_near"] <= boxes_given * limits.DETECTIONS_MAX
    assert steps["_is_same"] <= boxes_given * agreement.NEAR_MAX
    assert steps["_augment"] <= 2 * boxes_given * agreement.NEAR_MAX
