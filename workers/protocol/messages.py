"""The messages between platform and node, strict and versioned.

From the platform: `Announcement`, `Assignment` or several as `Assignments`, `Withdrawal`,
`NodeSettings`, `Receipt` (Celery messages whose only arguments are the JSON text and its
signature). From a node: `AckMessage`, `Report` or several as `Reports`, `Heartbeat` (plain
JSON bodies, signature in a header). Over HTTP: `Inquiry`, answered by `Standing`; `Leave`;
`KeyRotation`, by which a node changes its key, and `KeySuccession`, by which the platform
does. Unknown fields, numbers as text, NaN and infinities are refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    model_validator,
)

from workers.protocol import limits, manifest
from workers.protocol.allowance import UNDECLARED, Allowance, Declared

VERSION = 1

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,40}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Nonce = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{0,40}$")]
Url = Annotated[str, StringConstraints(max_length=2000, pattern=r"^https?://")]
#: Base64 of 32 bytes.
PublicKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{43}=$")]
#: Printable ASCII: PostgreSQL stores no NUL, and terminals obey control characters.
Short = Annotated[str, StringConstraints(max_length=120, pattern=r"^[ -~]*$")]
#: Words for people, in any language.
Sentences = Annotated[
    str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")
]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Pixel = Annotated[float, Field(ge=0, le=limits.IMAGE_SIDE_MAX, allow_inf_nan=False)]

#: (class id, score 0..1, x, y, width, height), pixels of the picture as seen.
Detection = tuple[Annotated[int, Field(ge=0, le=100_000)], Score, Pixel, Pixel, Pixel, Pixel]
#: (class id, probability 0..1).
Classified = tuple[Annotated[int, Field(ge=0, le=100_000)], Score]


class Message(BaseModel):
    """Common to all: strict types, no unknown fields, never changed."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    v: Literal[1] = 1
    #: The sender's clock, UTC.
    sent_at: AwareDatetime


class ModelReference(BaseModel):
    """Which model, and where to fetch it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    digest: Digest
    size_bytes: Annotated[int, Field(gt=0, le=limits.MODEL_BYTES_MAX)]
    url: Url
    kind: Literal["detect", "classify"]
    #: Who vouches for it: the platform itself, or the client who sent it.
    origin: Literal["built_in", "client"] = "built_in"
    #: How pictures go in and answers come out; signed with the assignment.
    contract: manifest.Contract = manifest.DETECTOR
    #: Class ids the model may answer with.
    class_ids: Annotated[list[int], Field(max_length=limits.LABELS_MAX)]

    @model_validator(mode="after")
    def _check(self) -> ModelReference:
        if self.kind != self.contract.kind:
            raise ValueError("the contract is for another kind of work")
        return self


class Input(BaseModel):
    """One picture of an assignment."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    position: Annotated[int, Field(ge=0, lt=limits.CHUNK_ITEMS_MAX)]
    digest: Digest
    size_bytes: Annotated[int, Field(gt=0, le=limits.IMAGE_BYTES_MAX)]
    url: Url


class Announcement(Message):
    """A job is open. Nodes answer with an `AckMessage`."""

    kind: Literal["announcement"] = "announcement"
    job: Identifier
    task: Literal["detect", "classify"]
    model_digest: Digest
    items: Annotated[int, Field(gt=0)]
    #: What the client's account is for; who it is, no node learns.
    client_category: Declared = UNDECLARED


class Assignment(Message):
    """Compute these pictures with this model, for this node only."""

    kind: Literal["assignment"] = "assignment"
    #: The replica's id.
    assignment: Identifier
    node: Identifier
    job: Identifier
    nonce: Nonce
    model: ModelReference
    #: Report every detection with at least this score (`detect`).
    score_floor: Score
    client_category: Declared = UNDECLARED
    inputs: Annotated[list[Input], Field(min_length=1, max_length=limits.CHUNK_ITEMS_MAX)]
    expires_at: AwareDatetime


class Assignments(Message):
    """Several assignments of one node under one signature; each means what it would alone."""

    kind: Literal["assignments"] = "assignments"
    node: Identifier
    assignments: Annotated[list[Assignment], Field(min_length=1, max_length=limits.BATCH_MAX)]

    @model_validator(mode="after")
    def _check(self) -> Assignments:
        if any(each.node != self.node for each in self.assignments):
            raise ValueError("an assignment of another node")
        return self


class Withdrawal(Message):
    """These assignments are no longer wanted; running ones may be ended."""

    kind: Literal["withdrawal"] = "withdrawal"
    node: Identifier
    assignments: Annotated[list[Identifier], Field(max_length=limits.RUNNING_MAX)]


class NodeSettings(Message):
    """What the node's page asks for; the node keeps the newest revision.

    Sent when the page changed, and again while heartbeats name an older revision.
    """

    kind: Literal["settings"] = "settings"
    node: Identifier
    revision: Annotated[int, Field(ge=0, lt=2**31)]
    is_paused: bool
    #: Made stricter by these; never looser than the node's own file.
    wishes: Allowance


class ReportName(BaseModel):
    """Which report: an assignment is reported under one nonce."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    assignment: Identifier
    nonce: Nonce


class Receipt(Message):
    """The platform has dealt with these reports, taken or refused; forget them."""

    kind: Literal["receipt"] = "receipt"
    node: Identifier
    reports: Annotated[list[ReportName], Field(max_length=limits.RECEIPT_REPORTS_MAX)]


class Profile(BaseModel):
    """What rarely changes about a node; sent at its start and now and then."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    #: What the file on the machine allows.
    allowance: Allowance
    #: Pictures a second that one slot computes, by the node's own measure; for showing only.
    images_per_second: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0


class Leave(Message):
    """The node's owner wants it gone for good; posted to the portal, signed by its key."""

    kind: Literal["leave"] = "leave"
    node: Identifier


class Inquiry(Message):
    """The node asks why it gets no work; posted to the portal, signed by its key."""

    kind: Literal["inquiry"] = "inquiry"
    node: Identifier


class Standing(BaseModel):
    """The portal's answer: what the node's page says of it."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    state: Code
    #: Why it does not work (`tasks.reasons.NodeReason`), empty when it does.
    reason: Code
    #: Answers of its that were nearly right, in words for its operator; the newest few.
    warnings: Annotated[list[Sentences], Field(max_length=limits.WARNINGS_MAX)] = []


class AckMessage(Message):
    """The node takes part in the job."""

    kind: Literal["ack"] = "ack"
    node: Identifier
    job: Identifier
    slots: Annotated[int, Field(ge=0, le=limits.SLOTS_MAX)]
    cached_models: Annotated[list[Digest], Field(max_length=limits.CACHED_MODELS_MAX)]


class Answer(BaseModel):
    """What the node found on one picture; highest score first.

    `detect`: at most 100 detections; `classify`: the 5 likeliest classes.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    position: Annotated[int, Field(ge=0, lt=limits.CHUNK_ITEMS_MAX)]
    width: Annotated[int, Field(gt=0, le=limits.IMAGE_SIDE_MAX)]
    height: Annotated[int, Field(gt=0, le=limits.IMAGE_SIDE_MAX)]
    detections: Annotated[list[Detection], Field(max_length=limits.DETECTIONS_MAX)]
    classes: Annotated[list[Classified], Field(max_length=limits.CLASSES_MAX)] = []


class Report(Message):
    """The node's answer to an assignment, or why it has none."""

    kind: Literal["report"] = "report"
    node: Identifier
    assignment: Identifier
    nonce: Nonce
    model_digest: Digest
    status: Literal["done", "failed", "handed_back"]
    #: Empty when done; else a short code such as `download_failed` or `out_of_memory`.
    reason: Code = ""
    answers: Annotated[list[Answer], Field(max_length=limits.CHUNK_ITEMS_MAX)] = []
    compute_ms: Annotated[int, Field(ge=0, le=86_400_000)] = 0
    numeric_class: Short = ""


class Reports(Message):
    """Several reports of one node under one signature; each means what it would alone."""

    kind: Literal["reports"] = "reports"
    node: Identifier
    reports: Annotated[list[Report], Field(min_length=1, max_length=limits.BATCH_MAX)]

    @model_validator(mode="after")
    def _check(self) -> Reports:
        if any(each.node != self.node for each in self.reports):
            raise ValueError("a report of another node")
        return self


class Heartbeat(Message):
    """The node is alive; renews the leases it names."""

    kind: Literal["heartbeat"] = "heartbeat"
    node: Identifier
    running: Annotated[list[Identifier], Field(max_length=limits.RUNNING_MAX)]
    slots: Annotated[int, Field(ge=0, le=limits.SLOTS_MAX)]
    #: Why it takes no work (`tasks.reasons.NodeReason`), empty when it does.
    reason: Code = ""
    cached_models: Annotated[list[Digest], Field(max_length=limits.CACHED_MODELS_MAX)]
    numeric_class: Short = ""
    software_version: Short = ""
    #: The newest revision of `NodeSettings` this node has.
    settings_revision: Annotated[int, Field(ge=0, lt=2**31)] = 0
    profile: Profile | None = None


class KeyRotation(Message):
    """The node wants another key or broker password; signed by the key it has."""

    kind: Literal["key_rotation"] = "key_rotation"
    node: Identifier
    #: The key from now on; the same one when only the password is to change.
    public_key: PublicKey


class KeySuccession(Message):
    """The platform's next key, signed by the one before."""

    kind: Literal["key_succession"] = "key_succession"
    old_key: PublicKey
    new_key: PublicKey


_assigned: TypeAdapter[Assignment | Assignments] = TypeAdapter(
    Annotated[Assignment | Assignments, Field(discriminator="kind")]
)
_reported: TypeAdapter[Report | Reports] = TypeAdapter(
    Annotated[Report | Reports, Field(discriminator="kind")]
)


def read_assignments(body: bytes) -> Assignment | Assignments:
    """Read one assignment or several.

    Raises:
        pydantic.ValidationError: it is neither.
    """
    return _assigned.validate_json(body)


def read_reports(body: bytes) -> Report | Reports:
    """Read one report or several.

    Raises:
        pydantic.ValidationError: it is neither.
    """
    return _reported.validate_json(body)
