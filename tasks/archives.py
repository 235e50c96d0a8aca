"""Zips of pictures, read under limits.

A zip's headers are a stranger's claims. They are used to refuse early, never to accept:
what is read is counted, and only the two compressions whose output the standard library
can bound (stored and deflated) are taken; a 4 kB read of bzip2 may become gigabytes.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from tasks import filenames
from workers.protocol import limits

#: Entries in one zip, folders included.
ENTRIES_MAX = 20_000
#: One file, bytes after unpacking.
ENTRY_BYTES_MAX = limits.IMAGE_BYTES_MAX
#: All files of one zip, bytes after unpacking.
TOTAL_BYTES_MAX = 8 * 1024 * limits.MIB
#: Bytes after unpacking for each byte before; photographs stay near 1.
RATIO_MAX = 100
#: The table of contents, bytes: 20,000 entries with paths of 350 characters.
TABLE_BYTES_MAX = 8 * limits.MIB
#: How much is unpacked at a time, bytes.
PORTION_BYTES = 256 * limits.KIB

#: How files begin that hold other files: zip, gzip, 7z, rar, bzip2, xz.
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_ARCHIVE_MAGICS = (
    *_ZIP_MAGICS,
    b"\x1f\x8b",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"BZh",
    b"\xfd7zXZ\x00",
)
HEAD_BYTES = 8
_ENCRYPTED = 0x1 | 0x40
_COMPRESSIONS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_DRIVE = re.compile(r"[A-Za-z]:")
#: What `zipfile` raises on damaged or hostile bytes; RuntimeError: what it does not support.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class _Bad(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class BadArchive(_Bad):
    """Nothing of the zip is taken; `code` says why."""


class BadMember(_Bad):
    """This file of the zip is not taken; `code` says why. The others are not touched by it."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file in a zip, not yet read."""

    #: Folders and name as in the zip, without invisible characters; never used as a path.
    path: str
    header: zipfile.ZipInfo


def is_archive(head: bytes) -> bool:
    """Say by a file's first `HEAD_BYTES` bytes whether it is to be read as a zip.

    Only the beginning counts: a zip may also be found at the end of any other file, so a
    picture with a zip behind it is a picture.
    """
    return head.startswith(_ZIP_MAGICS)


@contextmanager
def opened(file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """Open a zip; costs memory for its table of contents (about 100 MB at the bound).

    Raises:
        BadArchive: bad_archive or too_many_entries.
    """
    try:
        archive = zipfile.ZipFile(_Bounded(file))
    except _TableTooLarge as exc:
        raise _too_many_entries() from exc
    except _DAMAGE as exc:
        raise BadArchive("bad_archive", "The zip is damaged or of a kind we do not read.") from exc
    with archive:
        yield archive


def members(archive: zipfile.ZipFile, *, size_bytes: int) -> list[Member]:
    """Return the files of a zip of `size_bytes` bytes, in its order.

    Folders, hidden files and what macOS adds are left out without a word.

    Raises:
        BadArchive: too_many_entries, empty_archive, archive_too_large or suspicious_ratio.
            The last also catches files that overlap: each alone looks harmless.
    """
    headers = archive.infolist()
    if len(headers) > ENTRIES_MAX:
        raise _too_many_entries()
    # `filename` ends at the first NUL, which hides what follows; `orig_filename` does not.
    found = [Member(path=filenames.visible(each.orig_filename), header=each) for each in headers]
    found = [member for member in found if not _is_skipped(member)]
    if not found:
        raise BadArchive("empty_archive", "There are no files in the zip.")
    total_bytes = sum(member.header.file_size for member in found if _fault(member) is None)
    if total_bytes > TOTAL_BYTES_MAX:
        raise BadArchive("archive_too_large", f"A zip may unpack to {TOTAL_BYTES_MAX} bytes.")
    if total_bytes > RATIO_MAX * size_bytes:
        raise BadArchive("suspicious_ratio", "The zip unpacks to far more than pictures do.")
    return found


def read(archive: zipfile.ZipFile, member: Member) -> bytes:
    """Return a file's bytes.

    Raises:
        BadMember: unsafe_path, encrypted, link, unsupported_compression, too_large,
            suspicious_ratio, damaged or nested_archive.
    """
    if (fault := _fault(member)) is not None:
        raise fault
    content = bytearray()
    try:
        with archive.open(member.header) as file:
            while portion := file.read(PORTION_BYTES):
                content += portion
                if len(content) > ENTRY_BYTES_MAX:
                    raise BadMember("too_large", _TOO_LARGE)
    except _DAMAGE as exc:
        raise BadMember("damaged", "The file in the zip is damaged.") from exc
    if content.startswith(_ARCHIVE_MAGICS):
        raise BadMember("nested_archive", "Archives inside a zip are not unpacked.")
    return bytes(content)


def _fault(member: Member) -> BadMember | None:
    """Return what the header alone gives away, or None."""
    for is_broken, code, detail in _RULES:
        if is_broken(member):
            return BadMember(code, detail)
    return None


def _is_unsafe(path: str) -> bool:
    is_absolute = path.startswith("/") or _DRIVE.match(path) is not None
    return is_absolute or "\\" in path or ".." in path.split("/")


def _is_skipped(member: Member) -> bool:
    if _is_unsafe(member.path):
        return False
    # Not `is_dir()`, which fails on an empty name.
    if member.path.endswith("/") or stat.S_ISDIR(member.header.external_attr >> 16):
        return True
    return any(part == "__MACOSX" or part.startswith(".") for part in member.path.split("/"))


def _is_special(member: Member) -> bool:
    """Say whether the Unix mode names anything but a plain file; 0 means no mode is given."""
    return stat.S_IFMT(member.header.external_attr >> 16) not in {0, stat.S_IFREG}


def _is_too_dense(member: Member) -> bool:
    return member.header.file_size > RATIO_MAX * max(member.header.compress_size, 1)


def _too_many_entries() -> BadArchive:
    return BadArchive("too_many_entries", f"A zip may have {ENTRIES_MAX} files.")


_TOO_LARGE = f"A picture may have {ENTRY_BYTES_MAX} bytes."
#: In this order: (what is wrong, code, sentence).
_RULES: tuple[tuple[Callable[[Member], bool], str, str], ...] = (
    (lambda member: _is_unsafe(member.path), "unsafe_path", "The path leads out of the zip."),
    (
        lambda member: bool(member.header.flag_bits & _ENCRYPTED),
        "encrypted",
        "The file is encrypted.",
    ),
    (_is_special, "link", "Links and devices are not followed."),
    (
        lambda member: member.header.compress_type not in _COMPRESSIONS,
        "unsupported_compression",
        "Only stored and deflated files are read.",
    ),
    (lambda member: member.header.file_size > ENTRY_BYTES_MAX, "too_large", _TOO_LARGE),
    (_is_too_dense, "suspicious_ratio", "The file unpacks to far more than pictures do."),
)


class _TableTooLarge(Exception):
    """More bytes at once were asked for than a table of contents may have."""


class _Bounded:
    """A file of which at most `TABLE_BYTES_MAX` bytes are read at once.

    `zipfile` reads the whole table of contents in one go and makes an object for each
    entry before anybody can count them.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size > TABLE_BYTES_MAX:
            raise _TableTooLarge
        content = self._file.read(TABLE_BYTES_MAX + 1 if size < 0 else size)
        if len(content) > TABLE_BYTES_MAX:
            raise _TableTooLarge
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True
