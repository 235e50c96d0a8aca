"""Which accepted answers are computed again by another owner: drawn by lot.

The lot is a keyed hash of the chunk, so it falls the same way each time and no node, nor
anybody who reads the code, knows how.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from django.conf import settings

#: Share of answers accepted on one node's word that are audited; of nodes with few checks.
SHARE: Final = 0.02
SHARE_OF_NEW: Final = 0.05
#: Checks from which a node is not new any more.
CHECKS_OF_OLD: Final = 100


def is_drawn(*, chunk_id: int, checks: float) -> bool:
    """Say whether the chunk is audited if a node with `checks` is believed alone."""
    digest = hmac.digest(
        settings.SECRET_KEY.encode(), f"audit:{chunk_id}".encode(), hashlib.sha256
    )
    share = SHARE if checks >= CHECKS_OF_OLD else SHARE_OF_NEW
    return int.from_bytes(digest[:8]) < share * 2**64
