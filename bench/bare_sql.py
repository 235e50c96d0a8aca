"""The least that PostgreSQL must do to accept an answer and pay: one statement a batch.

Tables of its own, as narrow as can be, with the same seven changes: the replica is accepted,
the chunk decided, a verdict and a reward written, counters of node and job raised, the queue
of open work shortened.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

BATCH = 200
OPEN = 40_000
SECONDS = 1.2

_TABLES = """
DROP SCHEMA IF EXISTS bare CASCADE;
CREATE SCHEMA bare;
CREATE TABLE bare.node (id bigint PRIMARY KEY, accepted bigint NOT NULL DEFAULT 0);
CREATE TABLE bare.job (id bigint PRIMARY KEY, decided bigint NOT NULL DEFAULT 0);
CREATE TABLE bare.chunk (id bigint PRIMARY KEY, job bigint NOT NULL, state int NOT NULL);
CREATE TABLE bare.replica (
    id bigint PRIMARY KEY, chunk bigint NOT NULL, node bigint NOT NULL, state int NOT NULL,
    digest text);
CREATE INDEX open_replica ON bare.replica (node, id) WHERE state = 0;
CREATE TABLE bare.verdict (replica bigint PRIMARY KEY, kind int NOT NULL);
CREATE TABLE bare.intent (id bigserial PRIMARY KEY, replica bigint UNIQUE, amount bigint);
INSERT INTO bare.node SELECT g FROM generate_series(0, 99) g;
INSERT INTO bare.job SELECT g FROM generate_series(0, 9) g;
INSERT INTO bare.chunk SELECT g, g % 10, 0 FROM generate_series(1, {count}) g;
INSERT INTO bare.replica SELECT g, g, g % 100, 0, NULL FROM generate_series(1, {count}) g;
"""
_ACCEPT = """
WITH given AS (SELECT * FROM unnest(%s::bigint[], %s::text[]) AS g(id, digest)),
done AS (
    UPDATE bare.replica r SET state = 1, digest = given.digest FROM given
    WHERE r.id = given.id AND r.state = 0 RETURNING r.id, r.chunk, r.node
), decided AS (
    UPDATE bare.chunk c SET state = 1 FROM done WHERE c.id = done.chunk AND c.state = 0
    RETURNING c.id, c.job
), verdicts AS (INSERT INTO bare.verdict SELECT id, 1 FROM done
), intents AS (INSERT INTO bare.intent (replica, amount) SELECT id, 50000 FROM done
), nodes AS (
    UPDATE bare.node n SET accepted = accepted + d.count
    FROM (SELECT node, count(*) AS count FROM done GROUP BY node) d WHERE n.id = d.node
)
UPDATE bare.job j SET decided = decided + d.count
FROM (SELECT job, count(*) AS count FROM decided GROUP BY job) d WHERE j.id = d.job
"""


class Bare:
    """One connection to the narrow tables."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._next = OPEN + 1

    def measure(self) -> float:
        """Accept batches for SECONDS; return chunks a second."""
        started = time.monotonic()
        accepted = 0
        while time.monotonic() - started < SECONDS:
            if self._next > OPEN:
                pause = time.monotonic()
                self._fill()
                started += time.monotonic() - pause
            ids = list(range(self._next, min(self._next + BATCH, OPEN + 1)))
            self._next += len(ids)
            with self._connection, self._connection.cursor() as cursor:
                cursor.execute(_ACCEPT, [ids, ["d" * 64] * len(ids)])
            accepted += len(ids)
        return accepted / (time.monotonic() - started)

    def _fill(self) -> None:
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(_TABLES.format(count=OPEN))
        self._next = 1


@contextmanager
def tables(url: str) -> Iterator[Bare]:
    """Open a connection, and remove the tables at the end."""
    connection = psycopg2.connect(url)
    try:
        yield Bare(connection)
    finally:
        with connection, connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA IF EXISTS bare CASCADE")
        connection.close()
