"""When a job's errors are its own fault: many owners' nodes fail in the same way. Pure.

One owner must not be able to stop a stranger's job by failing on purpose, however often.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

#: A job is stopped when of this many decided chunks and errors half name one error.
DECISIONS_MIN: Final = 20
#: Owners whose nodes must fail alike: none counts for more than one of so many equal parts
#: of what is needed.
OWNERS_MIN: Final = 3


def common_error(errors: Mapping[tuple[str, int], int], *, decided: int) -> str:
    """Return the error that stops a job; empty while none does.

    `errors`: (code, owner) -> how often; `decided`: chunks with an end of their own. Of
    several errors the one that weighs most, then the first by name.
    """
    total = decided + sum(errors.values())
    if total < DECISIONS_MIN:
        return ""
    # In sixths of the total, so that nothing is rounded: half of it in OWNERS_MIN parts.
    weights: defaultdict[str, int] = defaultdict(int)
    for (code, _), count in errors.items():
        weights[code] += min(2 * OWNERS_MIN * count, total)
    code = min(weights, key=lambda each: (-weights[each], each), default="")
    return code if code and weights[code] >= OWNERS_MIN * total else ""
