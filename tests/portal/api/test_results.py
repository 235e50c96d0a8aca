"""`jobs/{id}/results/`."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tasks.models import Item
from tests import factories
from tests.portal.api import calls

FOUND = [{"label": "cat", "score": 0.9, "box": [1.0, 2.0, 30.0, 40.0]}]


@pytest.fixture
def job(client_user):
    job = factories.make_job(client_user, images=2)
    first = job.items.order_by("pk").first()
    Item.objects.filter(pk=first.pk).update(state="final", detections=FOUND)
    return job


def body(response) -> str:
    return b"".join(response.streaming_content).decode()


def test_jsonl_is_the_default_and_holds_what_is_decided(client_api, job):
    response = calls.get(client_api, f"jobs/{job.pk}/results/")

    item = job.items.order_by("pk").first()
    assert response.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
    assert [json.loads(line) for line in body(response).splitlines()] == [
        {
            "image": item.image_id,
            "name": item.image.name,
            "width": 64,
            "height": 48,
            "state": "final",
            "source": "machine",
            "detections": FOUND,
        }
    ]


def test_coco_is_one_json_document(client_api, job):
    response = calls.get(client_api, f"jobs/{job.pk}/results/?format=coco")

    document = json.loads(body(response))
    assert response.headers["Content-Disposition"] == f'attachment; filename="{job.pk}.json"'
    assert document["annotations"][0]["bbox"] == [1.0, 2.0, 30.0, 40.0]


def test_csv_has_a_row_for_each_detection(client_api, job):
    response = calls.get(client_api, f"jobs/{job.pk}/results/?format=csv", Accept="text/csv")

    rows = list(csv.DictReader(io.StringIO(body(response))))
    assert [(row["label"], row["box_width"]) for row in rows] == [("cat", "30.0")]


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("format=xml", "format", "invalid_choice"),
        ("fromat=csv", "fromat", "unknown_field"),
        ("format=csv&format=coco", "format", "repeated"),
        ("format=%00", "format", "invalid_choice"),
    ],
)
def test_other_queries_are_refused(client_api, job, query, field, code):
    response = calls.get(client_api, f"jobs/{job.pk}/results/?{query}")

    calls.refused(response, 400, "invalid_input", fields=[(field, code)])


def test_an_unknown_job_is_a_problem_whatever_is_accepted(client_api):
    response = calls.get(client_api, "jobs/job_x/results/", Accept="text/csv")

    calls.refused(response, 404, "not_found")
