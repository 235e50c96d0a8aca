"""Which accepted answers are computed again by another owner: drawn by lot.

The lot is a keyed hash of the chunk, so it falls the same way each time and no node, nor
anybody who reads the code, knows how.
"""

from __future__ import annotations

import hashlib
import hmac

from django.conf import settings

from tasks.verification import terms


def is_drawn(*, chunk_id: int, checks: float) -> bool:
    """Say whether the chunk is audited if a node with `checks` is believed alone."""
    digest = hmac.digest(settings.SECRET_KEY.encode(), f"audit:{chunk_id}".encode(), hashlib.sha256)
    return int.from_bytes(digest[:8]) < terms.audit_share(checks) * 2**64
