"""Bounds on what the API reads and answers."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

#: One JSON body, bytes.
JSON_BYTES_MAX = MIB
#: Objects and lists inside each other in a JSON body.
JSON_DEPTH_MAX = 20
#: A client's own notes on a job, and a node's words about its machine: bytes as JSON.
NOTES_BYTES_MAX = 4 * KIB
#: One upload of files, bytes of the whole request.
UPLOAD_BYTES_MAX = 2 * 1024 * MIB
#: Entries of one page of a list.
PAGE_ROWS_DEFAULT = 50
PAGE_ROWS_MAX = 100
#: A cursor, characters.
CURSOR_LENGTH_MAX = 300
#: Acks of one job in one answer; a fleet's announcement goes to a sample of its nodes.
ACKS_MAX = 1000
#: Numbers of chunks: a job of one-picture chunks at the most.
CHUNK_INDEX_MAX = 1_000_000
