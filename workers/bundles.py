"""Reports that wait at one time travel together: one message, one signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from workers.protocol import limits, messages

#: Room for what a bundle adds to its reports.
ENVELOPE_BYTES = 256


@dataclass(frozen=True)
class Bundle:
    """A body to publish, and which of the reports given are in it, by index."""

    body: bytes
    members: list[int]


def pack(bodies: Sequence[bytes], *, node_id: str, now: datetime) -> list[Bundle]:
    """Put stored reports into as few messages as the limits allow, in order.

    One alone stays as it is. What cannot be read travels alone, as it is: it must not
    spoil the others.
    """
    reports = [_read(body, node_id=node_id) for body in bodies]
    groups: list[list[int]] = []
    group: list[int] = []
    size_bytes = 0
    for index, (report, body) in enumerate(zip(reports, bodies, strict=True)):
        if report is None:
            groups.append([index])
            continue
        is_full = size_bytes + len(body) + 1 > limits.MESSAGE_BYTES_MAX
        if not group or is_full or len(group) == limits.BATCH_MAX:
            group, size_bytes = [], ENVELOPE_BYTES
            groups.append(group)
        group.append(index)
        size_bytes += len(body) + 1
    return [
        Bundle(_together(members, bodies, reports, node_id=node_id, now=now), members)
        for members in groups
    ]


def _together(
    members: Sequence[int],
    bodies: Sequence[bytes],
    reports: Sequence[messages.Report | None],
    *,
    node_id: str,
    now: datetime,
) -> bytes:
    if len(members) == 1:
        return bodies[members[0]]
    inside = [report for index in members if (report := reports[index]) is not None]
    message = messages.Reports(sent_at=now, node=node_id, reports=inside)
    return message.model_dump_json().encode()


def _read(body: bytes, *, node_id: str) -> messages.Report | None:
    try:
        report = messages.Report.model_validate_json(body)
    except ValidationError:
        return None
    return report if report.node == node_id else None
