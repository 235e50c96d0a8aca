"""A job's results as a file: JSON lines, COCO or CSV, streamed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.db.models import QuerySet

from tasks.models import Item, Job

#: Rows read from the database at one time.
ROWS = 500
CSV_COLUMNS = (
    "image", "name", "width", "height", "state", "source",
    "label", "score", "x", "y", "box_width", "box_height",
)  # fmt: skip
#: A cell that begins so would be run by a spreadsheet.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


class UnknownFormat(Exception):
    """Results come as jsonl, coco or csv."""


def export(*, job_id: str, format_name: str) -> Iterator[str]:
    """Yield the file piece by piece, images in the order of the job.

    Only decided items are in it. Memory stays bounded: 500 rows at one time.

    Raises:
        UnknownFormat: `format_name` is none of FORMATS.
    """
    if format_name not in FORMATS:
        raise UnknownFormat(f"One of {', '.join(FORMATS)}.")
    return FORMATS[format_name](Job.objects.select_related("model").get(pk=job_id))


def _decided(job: Job) -> QuerySet[Item]:
    return (
        job.items.filter(state__in=[Item.State.PROVISIONAL, Item.State.FINAL])
        .select_related("image", "chunk")
        .order_by("chunk__index", "position")
    )


def _jsonl(job: Job) -> Iterator[str]:
    for item in _decided(job).iterator(chunk_size=ROWS):
        yield json.dumps(line(item), ensure_ascii=False) + "\n"


def line(item: Item) -> dict[str, Any]:
    """Return one picture's result as the API shows it; boxes [x, y, w, h] in pixels.

    Of a `classify` job it has `classes` as well, likeliest first.
    """
    shown = {
        "image": item.image_id,
        "name": item.image.name,
        "width": item.image.width,
        "height": item.image.height,
        "state": item.state,
        "source": item.source,
        "detections": item.detections,
    }
    return shown if item.classes is None else {**shown, "classes": item.classes}


def _coco(job: Job) -> Iterator[str]:
    """COCO's format needs numbers as ids: images are numbered in the order of the job."""
    categories = [
        {"id": int(number), "name": name}
        for number, name in sorted(job.model.labels.items(), key=lambda pair: int(pair[0]))
    ]
    numbers = {category["name"]: category["id"] for category in categories}
    yield '{"info": ' + json.dumps({"description": f"Nodefolk {job.pk}"})
    yield ', "categories": ' + json.dumps(categories) + ', "images": ['
    yield from _joined(_coco_images(job))
    yield '], "annotations": ['
    yield from _joined(_coco_annotations(job, numbers))
    yield "]}\n"


def _coco_images(job: Job) -> Iterator[dict[str, Any]]:
    for number, item in enumerate(_decided(job).iterator(chunk_size=ROWS), start=1):
        yield {
            "id": number,
            "file_name": item.image.name,
            "width": item.image.width,
            "height": item.image.height,
        }


def _coco_annotations(job: Job, numbers: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    annotation = 0
    for image, item in enumerate(_decided(job).iterator(chunk_size=ROWS), start=1):
        for found in item.detections or item.classes or []:
            annotation += 1
            # COCO has no annotation without a place: a class is said of the whole picture.
            box = found.get("box", [0, 0, item.image.width, item.image.height])
            yield {
                "id": annotation,
                "image_id": image,
                "category_id": numbers[found["label"]],
                "bbox": box,
                "area": round(box[2] * box[3], 2),
                "iscrowd": 0,
                "score": found["score"],
            }


def _joined(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    for index, row in enumerate(rows):
        yield (", " if index else "") + json.dumps(row, ensure_ascii=False)


def _csv(job: Job) -> Iterator[str]:
    """One row a detection or class; a picture without any has one row with empty cells."""
    yield _csv_row(CSV_COLUMNS)
    for item in _decided(job).iterator(chunk_size=ROWS):
        image = item.image
        common = [item.image_id, image.name, image.width, image.height, item.state, item.source]
        rows = item.detections or item.classes or []
        if not rows:
            yield _csv_row([*common, "", "", "", "", "", ""])
        for found in rows:
            box = found.get("box", ["", "", "", ""])
            yield _csv_row([*common, found["label"], found["score"], *box])


def _csv_row(cells: Any) -> str:
    text = io.StringIO()
    csv.writer(text).writerow([_harmless(cell) for cell in cells])
    return text.getvalue()


def _harmless(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith(FORMULA_STARTS):
        return f"'{cell}"
    return cell


FORMATS: Mapping[str, Callable[[Job], Iterator[str]]] = {
    "jsonl": _jsonl,
    "coco": _coco,
    "csv": _csv,
}
