"""The tables of the work: artifacts, nodes, jobs."""

from __future__ import annotations

from tasks.models.artifacts import Blob, CatalogModel, Dataset, Image
from tasks.models.evidence import SignedReport
from tasks.models.jobs import Chunk, Item, Job, JobArchive, JobEvent
from tasks.models.nodes import EnrollmentToken, Node, PlatformKeyChange
from tasks.models.operations import Platform, StaffAction
from tasks.models.replicas import Ack, Replica
from tasks.models.trust import Apart, Appeal, Credibility, GoldItem, Strike

__all__ = [
    "Ack",
    "Apart",
    "Appeal",
    "Blob",
    "CatalogModel",
    "Chunk",
    "Credibility",
    "Dataset",
    "EnrollmentToken",
    "GoldItem",
    "Image",
    "Item",
    "Job",
    "JobArchive",
    "JobEvent",
    "Node",
    "Platform",
    "PlatformKeyChange",
    "Replica",
    "SignedReport",
    "StaffAction",
    "Strike",
]
