"""Write signs of life into the rows: one statement for a whole batch.

`write` is the way in; on PostgreSQL it is one statement over arrays, elsewhere
`write_plainly`, which says the same row by row and is what the statement is tested against.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import connection

from payments import arrays
from tasks.models import Node, Replica
from tasks.reasons import NodeReason
from workers.protocol import limits, messages

SKEW_MAX = timedelta(seconds=limits.CLOCK_SKEW_SECONDS_MAX)


def write(
    heartbeats: Sequence[messages.Heartbeat], *, leased_until: datetime, now: datetime
) -> list[str]:
    """Note what each node says of itself and renew the leases it names; one of each node.

    Returns the ids of the nodes heard, in order. Not heard: an older heartbeat than the last
    one, which is a replay and changes nothing; and one of another time, whose node may be
    alive but cannot prove that this is no replay: shown, and given no work. Runs inside the
    caller's transaction; locks nodes, then replicas, each in the order of their ids.
    """
    assert connection.in_atomic_block
    if not heartbeats:
        return []
    if connection.vendor == "postgresql":
        return _write_at_once(heartbeats, leased_until=leased_until, now=now)
    return write_plainly(heartbeats, leased_until=leased_until, now=now)


def write_plainly(
    heartbeats: Sequence[messages.Heartbeat], *, leased_until: datetime, now: datetime
) -> list[str]:
    """Do what `write` does, row by row."""
    return [
        beat.node
        for beat in sorted(heartbeats, key=lambda beat: beat.node)
        if _write_one(beat, leased_until=leased_until, now=now)
    ]


def is_of_another_time(beat: messages.Heartbeat, *, now: datetime) -> bool:
    """Say whether the sender's clock is too far from ours."""
    return abs(beat.sent_at - now) > SKEW_MAX


def _skew_ms(beat: messages.Heartbeat, *, now: datetime) -> int:
    return round((beat.sent_at - now).total_seconds() * 1000)


def _write_one(beat: messages.Heartbeat, *, leased_until: datetime, now: datetime) -> bool:
    node = Node.objects.filter(pk=beat.node)
    if is_of_another_time(beat, now=now):
        node.update(
            clock_skew_ms=_skew_ms(beat, now=now), last_seen_at=now, reason=NodeReason.CLOCK_SKEW
        )
        return False
    profile = _profile(beat)
    taken = node.exclude(heartbeat_sent_at__gte=beat.sent_at).update(
        last_seen_at=now,
        heartbeat_sent_at=beat.sent_at,
        clock_skew_ms=_skew_ms(beat, now=now),
        slots=beat.slots,
        reason=beat.reason,
        cached_models=beat.cached_models,
        numeric_class=beat.numeric_class,
        software_version=beat.software_version,
        settings_seen=beat.settings_revision,
        **({} if profile is None else {"profile": profile}),
    )
    if taken == 0:
        return False
    held = Replica.objects.filter(
        pk__in=replica_ids(beat.running), node_id=beat.node, state=Replica.State.LEASED
    )
    held.update(lease_expires_at=leased_until)
    held.filter(started_at=None).update(started_at=now)
    return True


def _profile(beat: messages.Heartbeat) -> dict[str, object] | None:
    if beat.profile is None:
        return None
    return {
        "allowance": beat.profile.allowance.model_dump(mode="json", exclude_defaults=True),
        "images_per_second": beat.profile.images_per_second,
    }


def replica_ids(texts: Sequence[str]) -> list[int]:
    """Read assignment ids as the numbers they are; what is no number is nobody's."""
    return [int(text) for text in texts if text.isdecimal() and len(text) < 19]


def _write_at_once(
    heartbeats: Sequence[messages.Heartbeat], *, leased_until: datetime, now: datetime
) -> list[str]:
    named = [(beat.node, pk) for beat in heartbeats for pk in replica_ids(beat.running)]
    profiles = [_profile(beat) for beat in heartbeats]
    columns: list[list[object]] = [
        [beat.node for beat in heartbeats],
        [is_of_another_time(beat, now=now) for beat in heartbeats],
        # A time that is not stored may be one that PostgreSQL cannot read.
        [now if is_of_another_time(beat, now=now) else beat.sent_at for beat in heartbeats],
        [_skew_ms(beat, now=now) for beat in heartbeats],
        [beat.slots for beat in heartbeats],
        [beat.reason for beat in heartbeats],
        [json.dumps(beat.cached_models) for beat in heartbeats],
        [beat.numeric_class for beat in heartbeats],
        [beat.software_version for beat in heartbeats],
        [beat.settings_revision for beat in heartbeats],
        [None if profile is None else json.dumps(profile) for profile in profiles],
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            _WRITE,
            [
                *map(arrays.literal, columns),
                now,
                NodeReason.CLOCK_SKEW.value,
                arrays.literal(node_id for node_id, _ in named),
                arrays.literal(pk for _, pk in named),
                leased_until,
                now,
            ],
        )
        return [node_id for (node_id,) in cursor.fetchall()]


#: Reaches every row by its key. `was` is no constant to the planner, else it would go through all
#: that is leased (`replica_held_by_node`) for each name; what `held` locked is still leased.
_WRITE = """
WITH beat AS MATERIALIZED (
    SELECT * FROM unnest(
        %s::text[], %s::bool[], %s::timestamptz[], %s::bigint[], %s::int[], %s::text[],
        %s::text[], %s::text[], %s::text[], %s::int[], %s::text[]
    ) AS b(node_id, is_skewed, sent_at, skew_ms, slots, reason,
           cached_models, numeric_class, software_version, revision, profile)
), locked AS MATERIALIZED (
    SELECT id FROM tasks_node WHERE id IN (SELECT node_id FROM beat)
    ORDER BY id FOR NO KEY UPDATE
), taken AS (
    UPDATE tasks_node n SET
        last_seen_at = %s, clock_skew_ms = b.skew_ms,
        reason = CASE WHEN b.is_skewed THEN %s ELSE b.reason END,
        heartbeat_sent_at = CASE WHEN b.is_skewed THEN n.heartbeat_sent_at ELSE b.sent_at END,
        slots = CASE WHEN b.is_skewed THEN n.slots ELSE b.slots END,
        cached_models = CASE WHEN b.is_skewed THEN n.cached_models ELSE b.cached_models::jsonb END,
        numeric_class = CASE WHEN b.is_skewed THEN n.numeric_class ELSE b.numeric_class END,
        software_version =
            CASE WHEN b.is_skewed THEN n.software_version ELSE b.software_version END,
        settings_seen = CASE WHEN b.is_skewed THEN n.settings_seen ELSE b.revision END,
        profile = CASE WHEN b.is_skewed THEN n.profile
                       ELSE coalesce(b.profile::jsonb, n.profile) END
    FROM beat b JOIN locked ON locked.id = b.node_id
    WHERE n.id = b.node_id
      AND (b.is_skewed OR n.heartbeat_sent_at IS NULL OR n.heartbeat_sent_at < b.sent_at)
    RETURNING n.id, b.is_skewed
), named AS MATERIALIZED (
    SELECT m.node_id, m.replica_id, 'leased' AS was
    FROM unnest(%s::text[], %s::bigint[]) AS m(node_id, replica_id)
), held AS MATERIALIZED (
    SELECT r.id
    FROM named m
    JOIN taken t ON t.id = m.node_id AND NOT t.is_skewed
    JOIN tasks_replica r
        ON r.id = m.replica_id AND r.node_id = m.node_id AND r.state = m.was
    ORDER BY r.id FOR NO KEY UPDATE OF r
), renewed AS (
    UPDATE tasks_replica r
    SET lease_expires_at = %s, started_at = coalesce(r.started_at, %s)
    FROM held WHERE r.id = held.id
)
SELECT id FROM taken WHERE NOT is_skewed ORDER BY id
"""
