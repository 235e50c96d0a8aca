"""Make rows for tests, with keyword overrides."""

from __future__ import annotations

import base64
import io
import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image as Pillow

from payments import ledger
from portal.models import KycCase, User
from tasks import blobs, jobs, requests
from tasks.models import CatalogModel, Dataset, Image, Job, Node
from workers.protocol import manifest, signatures

PASSWORD = "correct horse battery"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
_numbers = itertools.count(1)


def make_user(role: str = "client", *, is_person: bool = False, **fields) -> User:
    """Make a user with one role ("stranger": all but staff); `is_person`: approved KYC."""
    number = next(_numbers)
    roles = {"client": "is_client", "operator": "is_operator", "annotator": "is_annotator"}
    flags = {flag: role in {name, "stranger"} for name, flag in roles.items()}
    if role == "staff":
        flags |= {"is_staff": True, "is_superuser": True}
    user = User.objects.create_user(f"{role}{number}@example.com", PASSWORD, **{**flags, **fields})
    if is_person:
        KycCase.objects.create(user=user, status=KycCase.Status.APPROVED, level=1)
    return user


def fund(user: User, amount_minor: int = 100 * 10**7) -> None:
    """Give a user money (durable: needs `transaction=True` or pytest-django's `db`)."""
    ledger.deposit(
        owner_id=user.pk, amount_minor=amount_minor, key=f"test{next(_numbers)}", now=NOW
    )


def picture(*, size=(64, 48), color=(200, 30, 30), kind="PNG") -> bytes:
    """Return the bytes of a small picture."""
    file = io.BytesIO()
    Pillow.new("RGB", size, color).save(file, kind)
    return file.getvalue()


def noise(*, size: tuple[int, int]) -> bytes:
    """Return a picture that cannot be compressed: 3 bytes a pixel."""
    file = io.BytesIO()
    pixels = random.Random(7).randbytes(3 * size[0] * size[1])
    Pillow.frombytes("RGB", size, pixels).save(file, "PNG")
    return file.getvalue()


def make_dataset(owner: User, *, images: int = 1, **fields) -> Dataset:
    """Make a data set with `images` different pictures of 64 x 48 pixels."""
    dataset = Dataset.objects.create(owner=owner, name=fields.pop("name", "photos"), **fields)
    for index in range(images):
        blob = blobs.put(picture(color=(index % 256, index // 256, 7)), media_type="image/png")
        Image.objects.create(dataset=dataset, blob=blob, name=f"{index}.png", width=64, height=48)
    return dataset


def make_model(**fields) -> CatalogModel:
    """Make a detector that knows person (1) and cat (17); its bytes are no real model."""
    blob = blobs.put(f"model {next(_numbers)}".encode(), media_type="application/octet-stream")
    defaults = {
        "kind": "detect",
        "slug": "tiny",
        "name": "Tiny detector",
        "version": "1",
        "blob": blob,
        "labels": {"1": "person", "17": "cat"},
        "licence": "Apache-2.0",
        "source": "test",
        "tensor_contract": manifest.DETECTOR.model_dump(mode="json"),
    }
    return CatalogModel.objects.create(**{**defaults, **fields})


def make_classifier(**fields) -> CatalogModel:
    """Make a classifier of cat (0), dog (1) and cup (2); its bytes are no real model."""
    contract = manifest.Contract(
        kind="classify",
        input=manifest.PictureInput(width=32, height=32, resize="stretch"),
        output=manifest.Classes(decoder="classify", output="probabilities"),
    )
    return make_model(
        **{
            "kind": "classify",
            "slug": "tiny-classifier",
            "name": "Tiny classifier",
            "labels": {"0": "cat", "1": "dog", "2": "cup"},
            "tensor_contract": contract.model_dump(mode="json"),
            **fields,
        }
    )


def make_key() -> Ed25519PrivateKey:
    """Make a node's key."""
    return Ed25519PrivateKey.generate()


def make_node(owner: User, *, key: Ed25519PrivateKey | None = None, **fields) -> Node:
    """Make an active node that was heard of just now and is ready."""
    key = key or make_key()
    defaults = {
        "name": f"node {next(_numbers)}",
        "public_key": signatures.public_text(key),
        "slots": 1,
        "last_seen_at": NOW,
    }
    return Node.objects.create(owner=owner, **{**defaults, **fields})


def make_fleet(count: int, **fields) -> list[Node]:
    """Make `count` nodes, each of another owner."""
    return [make_node(make_user("operator", is_person=True), **fields) for _ in range(count)]


def make_job(owner: User, *, images: int = 1, now: datetime = NOW, **fields) -> Job:
    """Submit a real job through the service; the owner is given the money for it."""
    fund(owner)
    request = requests.JobRequest(
        kind=fields.pop("kind", "detect"),
        dataset_id=make_dataset(owner, images=images).pk,
        model_id=fields.pop("model", None) or make_model().pk,
        target_error=fields.pop("target_error", "1e-2"),
        **fields,
    )
    return jobs.submit(owner_id=owner.pk, request=request, now=now)


def announce(job: Job, *, nodes: Sequence[Node], now: datetime = NOW) -> None:
    """Let the job be announced and acknowledged by `nodes` 50 ms later."""
    from tasks.models import Ack  # noqa: PLC0415

    Job.objects.filter(pk=job.pk).update(announced_at=now)
    Ack.objects.bulk_create(
        [
            Ack(job=job, node=node, received_at=now + timedelta(milliseconds=50), latency_ms=50)
            for node in nodes
        ]
    )


def nonsense_key() -> str:
    """Return base64 of 31 bytes, which is no public key."""
    return base64.b64encode(b"x" * 31).decode()
