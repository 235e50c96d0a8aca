"""A job's results as files: JSON lines, COCO, CSV."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tasks import jobs, results
from tasks.models import Image, Item
from tests import factories
from tests.tasks import work

CAT = (17, 0.5, 1.5, 2.0, 3.0, 4.0)


@pytest.fixture
def job(client_user):
    """Three pictures: a person and a cat on the first, nothing on the second, the third open."""
    job = work.start(client_user, factories.make_fleet(2, slots=4), images=3)
    by_chunk = {index: [] for index in range(3)}
    for replica in work.leased(job):
        by_chunk[replica.chunk.index].append(replica)
    work.take(*(work.report_of(replica, work.FOUND, CAT) for replica in by_chunk[0]))
    work.take(*(work.report_of(row, answers=work.answers_of(row)) for row in by_chunk[1]))
    return job


def export(job, format_name) -> str:
    return "".join(results.export(job_id=job.pk, format_name=format_name))


def images_of(job) -> list[str]:
    return list(job.items.order_by("chunk__index").values_list("image_id", flat=True))


def rename(job, *names) -> None:
    for image_id, name in zip(images_of(job), names, strict=False):
        Image.objects.filter(pk=image_id).update(name=name)


def test_json_lines_hold_one_decided_picture_each(job):
    lines = [json.loads(line) for line in export(job, "jsonl").splitlines()]

    assert [line["image"] for line in lines] == images_of(job)[:2]
    assert lines[0] == {
        "image": images_of(job)[0],
        "name": "0.png",
        "width": 64,
        "height": 48,
        "state": "provisional",
        "source": "machine",
        "detections": [
            {"label": "person", "score": 0.9, "box": [10.0, 10.0, 20.0, 20.0]},
            {"label": "cat", "score": 0.5, "box": [1.5, 2.0, 3.0, 4.0]},
        ],
    }
    assert lines[1]["detections"] == []


def test_coco_numbers_images_and_annotations(job):
    coco = json.loads(export(job, "coco"))

    assert coco["categories"] == [{"id": 1, "name": "person"}, {"id": 17, "name": "cat"}]
    assert coco["images"] == [
        {"id": 1, "file_name": "0.png", "width": 64, "height": 48},
        {"id": 2, "file_name": "1.png", "width": 64, "height": 48},
    ]
    assert coco["annotations"] == [
        {
            "id": 1, "image_id": 1, "category_id": 1, "bbox": [10.0, 10.0, 20.0, 20.0],
            "area": 400.0, "iscrowd": 0, "score": 0.9,
        },
        {
            "id": 2, "image_id": 1, "category_id": 17, "bbox": [1.5, 2.0, 3.0, 4.0],
            "area": 12.0, "iscrowd": 0, "score": 0.5,
        },
    ]  # fmt: skip


def test_csv_has_one_row_for_each_detection_and_one_for_a_picture_without(job):
    first, second = images_of(job)[:2]

    rows = list(csv.reader(io.StringIO(export(job, "csv"))))

    assert rows == [
        list(results.CSV_COLUMNS),
        [first, "0.png", "64", "48", "provisional", "machine", "person", "0.9", "10.0", "10.0", "20.0",
         "20.0"],
        [first, "0.png", "64", "48", "provisional", "machine", "cat", "0.5", "1.5", "2.0", "3.0", "4.0"],
        [second, "1.png", "64", "48", "provisional", "machine", "", "", "", "", "", ""],
    ]  # fmt: skip


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_name_that_a_spreadsheet_would_run_is_made_harmless(job, start):
    name = f'{start}cmd|"calc",0'
    rename(job, name)

    rows = list(csv.reader(io.StringIO(export(job, "csv"), newline="")))

    assert rows[1][1] == f"'{name}"
    assert json.loads(export(job, "jsonl").splitlines()[0])["name"] == name


def test_names_of_any_script_survive(job):
    name = 'Zürich, "Katze" 🐈.png'
    rename(job, name)

    rows = list(csv.reader(io.StringIO(export(job, "csv"))))

    assert rows[1][1] == name
    assert json.loads(export(job, "coco"))["images"][0]["file_name"] == name


@pytest.mark.parametrize("format_name", results.FORMATS)
def test_failed_items_and_waiting_ones_are_in_no_file(job, format_name, now):
    Item.objects.filter(state=Item.State.PROVISIONAL).update(state=Item.State.FAILED)

    text = export(job, format_name)

    assert not any(image_id in text for image_id in images_of(job))
    assert ".png" not in text


@pytest.mark.parametrize("format_name", results.FORMATS)
def test_a_cancelled_jobs_results_stay(job, format_name, now):
    before = export(job, format_name)

    jobs.cancel(job_id=job.pk, now=now)

    assert export(job, format_name) == before


def test_an_unknown_format_is_refused_before_anything_is_read(job, django_assert_num_queries):
    with django_assert_num_queries(0), pytest.raises(results.UnknownFormat):
        results.export(job_id=job.pk, format_name="xml")


@pytest.mark.parametrize(("format_name", "queries"), [("jsonl", 2), ("coco", 3), ("csv", 2)])
def test_the_number_of_queries_does_not_grow_with_the_pictures(
    job, format_name, queries, django_assert_num_queries
):
    with django_assert_num_queries(queries):
        export(job, format_name)
