"""The platform's own computing: the node's code on a real model, in a locked room."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests import factories
from tests.workers import models
from tests.workers.protocol.modelcheck import builders
from workers import referee
from workers.protocol import digests, messages

pytestmark = pytest.mark.slow


def reference(data: bytes) -> messages.ModelReference:
    return messages.ModelReference(
        digest=digests.digest(data),
        size_bytes=len(data),
        url="http://localhost/",
        kind="detect",
        origin="client",
        contract=builders.SSD,
        class_ids=[1, 17, 47],
    )


def write(folder, model: bytes, *pictures: bytes):
    paths = [folder / "model", *(folder / str(number) for number in range(len(pictures)))]
    for path, data in zip(paths, [model, *pictures], strict=True):
        path.write_bytes(data)
    return paths


def compute(folder, model: bytes, *pictures: bytes):
    path, *files = write(folder, model, *pictures)
    return referee.compute(path, files, reference=reference(model), floor=0.3)


def test_each_picture_has_an_answer_at_its_place(tmp_path):
    white = factories.picture(color=(255, 255, 255))

    given = compute(tmp_path, models.make_detector(), white, factories.picture(size=(32, 20)))

    assert given["code"] == ""
    assert given["numeric_class"].startswith("ort-")
    assert [(each["position"], each["width"], each["height"]) for each in given["answers"]] == [
        (0, 64, 48),
        (1, 32, 20),
    ]
    assert [len(each["detections"]) for each in given["answers"]] == [3, 3]


@pytest.mark.parametrize(
    ("model", "picture", "code"),
    [
        (models.make_detector(), b"no picture", "unreadable_input"),
        (b"no model", factories.picture(), "model_unusable"),
        (models.make_detector(scores=(0.9, 7.0)), factories.picture(), "model_unusable"),
    ],
)
def test_the_first_failure_is_all_that_is_said(tmp_path, model, picture, code):
    assert compute(tmp_path, model, factories.picture(), picture) == {"code": code}


def test_a_file_that_is_not_the_named_model_is_refused(tmp_path):
    path, picture = write(tmp_path, models.make_detector(), factories.picture())

    given = referee.compute(
        path, [picture], reference=reference(models.make_detector(boxes=[[0, 0, 1, 1]] * 3)),
        floor=0.3,
    )  # fmt: skip

    assert given == {"code": "model_unusable"}


def test_it_can_be_asked_as_a_process_under_limits(tmp_path):
    model = models.make_detector()
    paths = write(tmp_path, model, factories.picture(color=(0, 0, 0)))
    request = {"reference": reference(model).model_dump(mode="json"), "floor": 0.3}

    done = subprocess.run(
        [sys.executable, "-m", "workers.referee", *map(str, paths)],
        input=json.dumps(request).encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr.decode()
    (answer,) = json.loads(done.stdout)["answers"]
    assert [found[0] for found in answer["detections"]] == [1, 17]
