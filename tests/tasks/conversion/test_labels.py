from __future__ import annotations

from tasks.conversion.labels import COCO_LABELS


def test_there_are_eighty_classes_with_names_of_their_own() -> None:
    assert len(COCO_LABELS) == 80
    assert len(set(COCO_LABELS.values())) == 80


def test_exactly_the_ids_coco_never_used_are_absent() -> None:
    absent = set(range(1, 92)) - set(COCO_LABELS)

    assert absent == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}


def test_known_ids_carry_their_names() -> None:
    chosen = {number: COCO_LABELS[number] for number in (1, 6, 17, 47, 51, 67, 74, 90)}

    assert chosen == {
        1: "person",
        6: "bus",
        17: "cat",
        47: "cup",
        51: "bowl",
        67: "dining table",
        74: "mouse",
        90: "toothbrush",
    }
