"""The pilot's job, as an outsider would run it: over HTTP with an API key."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from portal.demo import stack

#: What the pilot's nodes saw; always counted, also when absent.
EXPECTED_LABELS = ("person", "cat", "cup")
TARGET_ERROR = "1e-3"
SCORE_THRESHOLD = 0.4
JOB_SECONDS_MAX = 120.0
ACKS_SECONDS_MAX = 5.0
ENDED = {"finished", "failed", "cancelled"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the client got; `job` is the API's answer, `lines` its results."""

    job: dict[str, Any]
    lines: list[dict[str, Any]]
    detections: Counter[str]


@contextmanager
def session(*, url: str, api_key: str) -> Iterator[httpx.Client]:
    """Open a client of the API."""
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=f"{url}/api/v1/", headers=headers, timeout=60) as api:
        yield api


def upload(api: httpx.Client, *, name: str, photos: Sequence[Path]) -> str:
    """Make a data set of `photos`; return its id."""
    dataset = _created(api.post("datasets/", json={"name": name}))["id"]
    files = [("files", (photo.name, photo.read_bytes())) for photo in photos]
    answer = _created(api.post(f"datasets/{dataset}/images/", files=files))
    if answer["rejected"]:
        raise RuntimeError(f"The portal refused photographs: {answer['rejected']}")
    return str(dataset)


def submit(api: httpx.Client, *, dataset: str, **fields: Any) -> dict[str, Any]:
    """Buy the detection (or `kind`) of everything in `dataset` at the quoted price."""
    kind = fields.get("kind", "detect")
    models = api.get("models/").raise_for_status().json()["results"]
    request = {
        "kind": kind,
        "dataset": dataset,
        "model": next(model["id"] for model in models if model["kind"] == kind),
        "target_error": TARGET_ERROR,
        "score_threshold": SCORE_THRESHOLD,
        **fields,
    }
    request.setdefault("max_price", _ok(api.post("quotes/", json=request))["price"])
    return _created(api.post("jobs/", json=request))


def finish(
    api: httpx.Client, *, job_id: str, nodes: int = 0, seconds: float = JOB_SECONDS_MAX
) -> Outcome:
    """Wait for the job's end and fetch its results.

    A small job may end before the slowest of `nodes` has answered the announcement; their
    acks are waited for a little.

    Raises:
        portal.demo.stack.NotReady: it did not end in time.
    """
    job: dict[str, Any] = {}

    def has_ended() -> bool:
        job.update(_ok(api.get(f"jobs/{job_id}/")))
        return job["state"] in ENDED

    def has_all_acks() -> bool:
        job.update(_ok(api.get(f"jobs/{job_id}/")))
        return int(job["acks"]["count"]) >= nodes

    stack.wait_until(has_ended, seconds=seconds, what=f"job {job_id}")
    with suppress(stack.NotReady):
        stack.wait_until(has_all_acks, seconds=ACKS_SECONDS_MAX, what="the slowest acks")
    text = api.get(f"jobs/{job_id}/results/", params={"format": "jsonl"}).raise_for_status().text
    lines = [json.loads(line) for line in text.splitlines()]
    found = Counter(dict.fromkeys(EXPECTED_LABELS, 0))
    found.update(each["label"] for line in lines for each in line["detections"])
    return Outcome(job=job, lines=lines, detections=found)


def _ok(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise RuntimeError(f"{response.request.url}: {response.text}")
    answer: dict[str, Any] = response.json()
    return answer


def _created(response: httpx.Response) -> dict[str, Any]:
    answer = _ok(response)
    assert response.status_code == 201, response.text
    return answer
