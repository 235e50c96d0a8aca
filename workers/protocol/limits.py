"""Bounds on everything that crosses between node, platform and client."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

#: Largest AMQP message body, bytes; the broker refuses more.
MESSAGE_BYTES_MAX = 128 * KIB
#: Images in one chunk.
CHUNK_ITEMS_MAX = 16
#: Detections a node may report for one image; with 16 images the report stays under 128 kB.
DETECTIONS_MAX = 100
#: Running assignments named in one heartbeat.
RUNNING_MAX = 64
#: Assignments, or reports, of one node in one message.
BATCH_MAX = 50
#: Reports named in one receipt.
RECEIPT_REPORTS_MAX = 200
#: Slots a node may offer.
SLOTS_MAX = 32
#: Of these, assignments beyond what it computes at a time, so that none of its cores idles.
SLOTS_AHEAD = 1
#: Models a heartbeat may list as cached.
CACHED_MODELS_MAX = 64

#: One picture, bytes as stored.
IMAGE_BYTES_MAX = 20 * MIB
#: One picture, pixels after decoding (40 megapixels: 120 MB as RGB).
IMAGE_PIXELS_MAX = 40_000_000
#: Shortest side, pixels: below this nothing can be recognised.
IMAGE_SIDE_MIN = 8
#: Longest side, pixels: JPEG's own limit.
IMAGE_SIDE_MAX = 65_500
#: One model, bytes.
MODEL_BYTES_MAX = 512 * MIB
#: Classes of one model.
LABELS_MAX = 10_000
#: Classes a node names for one picture, likeliest first.
CLASSES_MAX = 5

#: Heartbeat interval while working and while idle, seconds.
HEARTBEAT_BUSY_SECONDS = 15
HEARTBEAT_IDLE_SECONDS = 120
#: Accepted difference between a node's clock and ours, seconds.
CLOCK_SKEW_SECONDS_MAX = 600
#: Warnings that a node's portal tells it of, the newest; in words.
WARNINGS_MAX = 3
#: Changes of the platform's key that a node follows.
KEY_CHANGES_MAX = 100
