from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tasks.conversion import golden, pinned
from tasks.conversion.golden import Detection

CAT = Detection("cat", 0.9, (0, 0, 100, 100))


def test_the_real_model_finds_the_six_objects(built: pinned.Built, photos: Path) -> None:
    lines = golden.check(built.path, photos)

    assert [(line.photo, line.label) for line in lines] == [
        ("astronaut.png", "person"),
        ("chelsea.png", "cat"),
        ("coffee.png", "cup"),
        ("coffee.png", "bowl"),
        ("coffee.png", "dining table"),
        ("camera.png", "person"),
    ]
    assert [line.score for line in lines] == pytest.approx(
        [line.expected_score for line in lines], abs=0.003
    )
    assert [round(line.iou, 2) for line in lines] == [1.0] * 6


def test_other_photographs_are_a_mismatch_that_names_each(
    built: pinned.Built, photos: Path, tmp_path: Path
) -> None:
    for name in ("astronaut.png", "camera.png", "coffee.png"):
        shutil.copy(photos / name, tmp_path)
    Image.new("RGB", (64, 64)).save(tmp_path / "chelsea.png")
    shutil.copy(photos / "coffee.png", tmp_path / "astronaut.png")

    with pytest.raises(golden.GoldenMismatch) as caught:
        golden.check(built.path, tmp_path)

    assert caught.value.differences == (
        "astronaut.png: no person",
        "astronaut.png: extra cup 0.964",
        "astronaut.png: extra bowl 0.858",
        "astronaut.png: extra dining table 0.839",
        "chelsea.png: no cat",
    )
    assert str(caught.value) == "; ".join(caught.value.differences)


def test_a_photograph_too_large_is_refused(
    built: pinned.Built, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path, dirs_exist_ok=True)
    Image.new("L", (2001, 2000)).save(tmp_path / "astronaut.png")

    with pytest.raises(ValueError, match=r"astronaut\.png has more than 4000000 pixels"):
        golden.check(built.path, tmp_path)


def test_a_match_within_the_tolerances_has_no_differences() -> None:
    found = Detection("cat", 0.909, (0, 0, 100, 96))

    comparison = golden.compare("p", [CAT], [found])

    assert comparison.differences == ()
    assert comparison.lines == (golden.GoldenLine("p", "cat", 0.9, 0.909, 0.96),)


@pytest.mark.parametrize(
    ("found", "differences"),
    [
        ([], ("p: no cat",)),
        ([Detection("dog", 0.9, CAT.box)], ("p: no cat", "p: extra dog 0.900")),
        ([Detection("cat", 0.911, CAT.box)], ("p: cat scores 0.911, not 0.900",)),
        ([Detection("cat", float("nan"), CAT.box)], ("p: cat scores nan, not 0.900",)),
        ([Detection("cat", 0.9, (0, 0, 100, 94))], ("p: cat at an IoU of 0.940",)),
        ([CAT, CAT], ("p: extra cat 0.900",)),
    ],
)
def test_each_difference_is_named(found: list[Detection], differences: tuple[str, ...]) -> None:
    assert golden.compare("p", [CAT], found).differences == differences


def test_each_expected_object_takes_the_nearest_one() -> None:
    left, right = Detection("cat", 0.9, (0, 0, 50, 50)), Detection("cat", 0.9, (60, 0, 99, 50))

    comparison = golden.compare("p", [left, right], [right, left])

    assert [line.iou for line in comparison.lines] == [1.0, 1.0]
    assert comparison.differences == ()


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ((0, 0, 100, 100), 1.0),
        ((0, 0, 50, 100), 0.5),
        ((50, 0, 150, 100), 1 / 3),
        ((100, 0, 200, 100), 0.0),
        ((200, 200, 300, 300), 0.0),
    ],
)
def test_iou_is_shared_over_covered_area(other: golden.Box, expected: float) -> None:
    assert golden.iou(CAT.box, other) == pytest.approx(expected)


def test_two_empty_boxes_share_nothing() -> None:
    assert golden.iou((5, 5, 5, 5), (5, 5, 5, 5)) == 0.0
