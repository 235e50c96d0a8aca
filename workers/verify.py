"""`nodefolk-verify RECEIPT --key KEY`: check a job's receipt, offline.

Needs nothing but the file and the platform's public key (base64, as `GET platform-keys/`
shows it and as every node pins it). Exit code 0: it holds; 1: it does not; 2: unreadable.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from workers.protocol import receipts, signatures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="nodefolk-verify", description=__doc__.splitlines()[0])
    parser.add_argument("receipt", type=Path, help="the file `GET jobs/{id}/receipt/` answered")
    parser.add_argument("--key", required=True, help="the platform's public key, base64")
    options = parser.parse_args(arguments)
    try:
        document = json.loads(_read(options.receipt))
        signatures.load_public(options.key)
    except (OSError, ValueError, RecursionError, signatures.BadKey) as exc:
        print(f"cannot read: {exc}", file=sys.stderr)
        return 2
    try:
        verified = receipts.verify(document, public_key=options.key)
    except receipts.BadReceipt as exc:
        print(f"NOT VALID: {exc}", file=sys.stderr)
        return 1
    state = "final" if verified.is_final else "provisional: it may still be rechecked"
    print(
        f"valid: job {verified.job}, {verified.chunks} chunks, "
        f"{verified.replicas} replicas, {state}\nmerkle root {verified.merkle_root}"
    )
    return 0


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(receipts.DOCUMENT_BYTES_MAX + 1)
    if len(data) > receipts.DOCUMENT_BYTES_MAX:
        raise ValueError("larger than any receipt")
    return data


if __name__ == "__main__":
    sys.exit(main())
