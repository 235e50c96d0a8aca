"""Clients' sets of pictures: what comes in, judged file by file."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO

from tasks import archives, blobs, filenames
from tasks.errors import Refused
from tasks.models import Dataset, Image
from workers.protocol import limits, pictures

logger = logging.getLogger(__name__)

#: Characters of a data set's name.
NAME_LENGTH_MAX = 200
#: Pictures in one data set; uploads at the same moment may pass it by what each brings.
IMAGES_MAX = 100_000
#: Files looked at in one call; the zip in which the bound is met is still finished.
FILES_MAX = archives.ENTRIES_MAX


class BadName(Refused):
    """A data set needs a name of 1 to 200 visible characters."""

    code, status, field = "invalid_name", 422, "name"


class UnknownDataset(Refused):
    """There is no such data set."""

    code, status = "not_found", 404


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file that a client sent: a picture or a zip of pictures. `file` can be rewound."""

    name: str
    file: IO[bytes]


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A file that was not taken; for one inside a zip, `name` has its folders."""

    name: str
    code: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Intake:
    """What became of the files, each list in the order they came in."""

    added: list[Image]
    rejected: list[Rejection]


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """Bytes that may be a picture. `shown` names them in a rejection."""

    name: str
    shown: str
    data: bytes


def create(*, owner_id: int, name: str, now: datetime) -> Dataset:
    """Make an empty data set.

    Raises:
        BadName: nothing visible in the name, or more than `NAME_LENGTH_MAX` characters.
    """
    visible = filenames.visible(name)
    if not 0 < len(visible) <= NAME_LENGTH_MAX:
        raise BadName(f"A data set needs a name of 1 to {NAME_LENGTH_MAX} characters.")
    dataset = Dataset.objects.create(owner_id=owner_id, name=visible, created_at=now)
    logger.info("data set made", extra={"dataset_id": dataset.pk})
    return dataset


def add_files(*, dataset_id: str, files: Sequence[Upload], now: datetime) -> Intake:
    """Add pictures, single or in zips; each is judged alone and none spoils the others.

    Content decides, never the name's ending: first bytes of a zip make a zip, anything else
    is given to the picture decoder. The same picture twice is rejected as `duplicate`. A
    file counts when its row is there, so a call that dies keeps what it had added.

    Not for use inside a transaction: files are written. A few queries and one full decode
    a picture.

    Raises:
        UnknownDataset: nothing was looked at.
    """
    if not Dataset.objects.filter(pk=dataset_id).exists():
        raise UnknownDataset("There is no such data set.")
    held = Image.objects.filter(dataset_id=dataset_id).count()
    intake = Intake(added=[], rejected=[])
    for upload in files:
        if len(intake.added) + len(intake.rejected) >= FILES_MAX:
            intake.rejected.append(_one_too_many(upload))
            continue
        for candidate in _candidates(upload):
            room = IMAGES_MAX - held - len(intake.added)
            outcome = _judge(candidate, dataset_id=dataset_id, room=room, now=now)
            if isinstance(outcome, Image):
                intake.added.append(outcome)
            else:
                intake.rejected.append(outcome)
    logger.info(
        "files taken in",
        extra={
            "dataset_id": dataset_id,
            "added": len(intake.added),
            "rejected": len(intake.rejected),
        },
    )
    return intake


def _judge(
    candidate: _Candidate | Rejection, *, dataset_id: str, room: int, now: datetime
) -> Image | Rejection:
    """Store the candidate if it is a picture that is new to the data set."""
    if isinstance(candidate, Rejection):
        return candidate
    if room <= 0:
        return _reject(candidate, "dataset_full", f"A data set has at most {IMAGES_MAX} pictures.")
    try:
        picture = pictures.read(candidate.data)
    except pictures.Unreadable as exc:
        return _reject(candidate, exc.code, exc.detail)
    image, is_new = Image.objects.get_or_create(
        dataset_id=dataset_id,
        blob=blobs.put(candidate.data, media_type=picture.media_type),
        defaults={
            "name": candidate.name,
            "width": picture.image.width,
            "height": picture.image.height,
            "created_at": now,
        },
    )
    if not is_new:
        return _reject(candidate, "duplicate", f"The data set has this picture: {image.name}.")
    return image


def _candidates(upload: Upload) -> Iterator[_Candidate | Rejection]:
    """Yield what the upload holds, one file in memory at a time."""
    upload.file.seek(0)
    head = upload.file.read(archives.HEAD_BYTES)
    if archives.is_archive(head):
        yield from _unpacked(upload)
        return
    # One byte more than allowed, so that the decoder's own limit refuses it.
    data = head + upload.file.read(limits.IMAGE_BYTES_MAX + 1 - len(head))
    name = filenames.base(upload.name)
    yield _Candidate(name=name, shown=name, data=data)


def _unpacked(upload: Upload) -> Iterator[_Candidate | Rejection]:
    name = filenames.base(upload.name)
    upload.file.seek(0, io.SEEK_END)
    size_bytes = upload.file.tell()
    try:
        with archives.opened(upload.file) as archive:
            for member in archives.members(archive, size_bytes=size_bytes):
                shown = filenames.clean(member.path)
                try:
                    data = archives.read(archive, member)
                except archives.BadMember as exc:
                    detail = f"In {name}: {exc.detail}"
                    yield Rejection(name=shown, code=exc.code, detail=detail)
                else:
                    inner = filenames.base(member.path)
                    yield _Candidate(name=inner, shown=shown, data=data)
    except archives.BadArchive as exc:
        yield Rejection(name=name, code=exc.code, detail=exc.detail)


def _one_too_many(upload: Upload) -> Rejection:
    return Rejection(
        name=filenames.base(upload.name),
        code="too_many_files",
        detail=f"At most {FILES_MAX} files at once; send it again alone.",
    )


def _reject(candidate: _Candidate, code: str, detail: str) -> Rejection:
    return Rejection(name=candidate.shown, code=code, detail=detail)
