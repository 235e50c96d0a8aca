"""The signed receipt of a job, and how anybody checks it. Pure.

A receipt is one JSON document of three parts: `leaves`, one for each chunk (who computed it
under an alias, with which model and numeric class, which checks were made, what it cost and
the digest of its result); `receipt`, the job with the root of a Merkle tree over the leaves
(RFC 6962: leaf = SHA-256(0x00 || text), node = SHA-256(0x01 || left || right)); and
`signature`, the platform's over the text of `receipt`. Texts are `canonical` JSON, so that
a document which was parsed and written again still verifies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from workers.protocol import signatures

VERSION: Final = 1
#: Signed together with each receipt: no message's signature passes for a receipt's.
DOMAIN: Final = b"nodefolk-receipt-v1\n"
#: Largest document that is read, bytes.
DOCUMENT_BYTES_MAX: Final = 512 * 1024 * 1024
_LEAF, _NODE = b"\x00", b"\x01"


class BadReceipt(Exception):
    """The document is no receipt, or not what the platform signed; the text says why."""


def canonical(value: Any) -> bytes:
    """Return JSON with sorted keys, no spaces, UTF-8; floats as Python's shortest form."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def leaf_hash(leaf: Mapping[str, Any]) -> bytes:
    """Return the 32-byte hash of one leaf."""
    return hashlib.sha256(_LEAF + canonical(leaf)).digest()


def _join(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


@dataclass
class Tree:
    """The Merkle tree of leaves that come one by one; memory grows with the logarithm."""

    #: Roots of the complete subtrees so far, largest first, with their number of leaves.
    _peaks: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        size = 1
        while self._peaks and self._peaks[-1][0] == size:
            leaf = _join(self._peaks.pop()[1], leaf)
            size *= 2
        self._peaks.append((size, leaf))

    def root(self) -> str:
        """Return the root, 64 hex digits; of no leaves the hash of nothing."""
        if not self._peaks:
            return hashlib.sha256(b"").hexdigest()
        peaks = [peak for _, peak in self._peaks]
        root = peaks.pop()
        while peaks:
            root = _join(peaks.pop(), root)
        return root.hex()


def path(leaves: Sequence[bytes], index: int) -> list[str]:
    """Return the audit path of leaf `index`: sibling hashes from the leaf up, hex."""
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*path(leaves[:split], index), _root(leaves[split:]).hex()]
    return [*path(leaves[split:], index - split), _root(leaves[:split]).hex()]


def root_by_path(leaf: bytes, *, index: int, count: int, audit_path: Sequence[str]) -> str:
    """Return the root that leaf `index` of `count` leads to along its audit path.

    Raises:
        BadReceipt: the path does not fit such a tree.
    """
    if not 0 <= index < count:
        raise BadReceipt("The leaf's place lies outside the tree.")
    try:
        siblings = [bytes.fromhex(text) for text in audit_path]
    except ValueError as exc:
        raise BadReceipt("The path is not made of hashes.") from exc
    sides = _sides(index, count)
    if len(sides) != len(siblings):
        raise BadReceipt("The path has the wrong length.")
    for is_left, sibling in zip(sides, siblings, strict=True):
        leaf = _join(leaf, sibling) if is_left else _join(sibling, leaf)
    return leaf.hex()


def _sides(index: int, count: int) -> list[bool]:
    """Say for each step upwards whether the node so far is the left one."""
    if count == 1:
        return []
    split = _split(count)
    if index < split:
        return [*_sides(index, split), True]
    return [*_sides(index - split, count - split), False]


def _split(count: int) -> int:
    """Return the largest power of two smaller than `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _root(leaves: Sequence[bytes]) -> bytes:
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    return bytes.fromhex(tree.root())


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a receipt that holds says."""

    job: str
    chunks: int
    replicas: int
    is_final: bool
    merkle_root: str


def verify(document: Any, *, public_key: str) -> Verified:
    """Check a whole receipt, or one chunk's with its audit path.

    Raises:
        BadReceipt: it is not exactly what the platform with `public_key` signed.
    """
    if not isinstance(document, dict):
        raise BadReceipt("This is no receipt: a JSON object is expected.")
    receipt, leaves = document.get("receipt"), document.get("leaves")
    if not isinstance(receipt, dict) or not isinstance(leaves, list):
        raise BadReceipt("This is no receipt: `receipt` or `leaves` is missing.")
    if receipt.get("v") != VERSION:
        raise BadReceipt("This version of receipts is not known.")
    try:
        signatures.verify(
            canonical(receipt), document.get("signature"), public_key=public_key, domain=DOMAIN
        )
    except signatures.BadSignature as exc:
        raise BadReceipt("The signature is not this platform's over this receipt.") from exc
    if _root_of(document, receipt, leaves) != receipt.get("merkle_root"):
        raise BadReceipt("The chunks are not the ones that were signed.")
    return Verified(
        job=str(receipt.get("job")),
        chunks=len(leaves),
        replicas=sum(len(leaf.get("replicas", [])) for leaf in leaves),
        is_final=receipt.get("is_final") is True,
        merkle_root=str(receipt["merkle_root"]),
    )


def _root_of(document: Mapping[str, Any], receipt: Mapping[str, Any], leaves: list[Any]) -> str:
    if not all(isinstance(leaf, dict) for leaf in leaves):
        raise BadReceipt("A chunk is not an object.")
    count = receipt.get("chunks")
    if "path" not in document:
        if count != len(leaves):
            raise BadReceipt("Chunks are missing, or there are too many.")
        tree = Tree()
        for leaf in _hashes(leaves):
            tree.add(leaf)
        return tree.root()
    audit_path, place = document["path"], document.get("place")
    if len(leaves) != 1 or not isinstance(audit_path, list) or not isinstance(count, int):
        raise BadReceipt("A path belongs to exactly one chunk.")
    if not isinstance(place, int) or not all(isinstance(text, str) for text in audit_path):
        raise BadReceipt("The path is not made of hashes.")
    return root_by_path(leaf_hash(leaves[0]), index=place, count=count, audit_path=audit_path)


def _hashes(leaves: Iterable[Mapping[str, Any]]) -> Iterable[bytes]:
    return (leaf_hash(leaf) for leaf in leaves)
