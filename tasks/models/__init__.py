"""The tables of the work: artifacts, nodes, jobs."""

from __future__ import annotations

from tasks.models.artifacts import Blob, CatalogModel, Dataset, Image
from tasks.models.jobs import Ack, Chunk, Item, Job, JobEvent, Replica
from tasks.models.nodes import EnrollmentToken, Node, PlatformKeyChange

__all__ = [
    "Ack",
    "Blob",
    "CatalogModel",
    "Chunk",
    "Dataset",
    "EnrollmentToken",
    "Image",
    "Item",
    "Job",
    "JobEvent",
    "Node",
    "PlatformKeyChange",
    "Replica",
]
