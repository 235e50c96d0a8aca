"""Every reason code that clients, operators and logs see, with its meaning.

The same word stands on the page, in the API and in the terminal; docs/reasons.md lists all.
"""

from __future__ import annotations

from django.db.models import TextChoices

#: The referee's error where a chunk is bound to nodes whose numbers differ from its own.
OTHER_CLASS = "other_numeric_class"


class JobReason(TextChoices):
    """Why a job waits."""

    NO_CAPABLE_NODES = "no_capable_nodes", "No node that can do this has answered yet."
    NODES_BUSY = "nodes_busy", "All nodes that answered are busy."
    OWNERS_EXHAUSTED = "owners_exhausted", "A check needs a node of another owner, elsewhere."
    NUMERIC_CLASS_SHORTAGE = (
        "numeric_class_shortage",
        "Its answers can only be compared between like processors, and too few are free.",
    )
    QUOTA = "quota", "The nodes that could do it may not take more of this model yet."
    PRIORITY_QUEUE = "priority_queue", "Other jobs have their turn; this one has its share."
    CATEGORY_EXCLUDED = (
        "category_excluded",
        "The nodes that could do it do not work for clients of your category.",
    )
    VERIFYING = "verifying", "Answers are in; a second opinion is being computed."
    REFEREE = "referee", "Answers differ; the platform computes it itself."
    SMOKE_FAILED = "smoke_failed", "Its first pictures could not be computed; nothing was charged."
    APP_ERRORS = "app_errors", "Most nodes fail on it in the same way; failed work is not charged."
    PLATFORM_DRAINED = "platform_drained", "The platform gives out no new work for a while."
    PAUSED_BY_CLIENT = "paused_by_client", "You paused this job."
    NOTHING_AGREED = "nothing_agreed", "No picture could be computed reliably."


class ChunkReason(TextChoices):
    """Why a chunk failed, or is not settled."""

    NO_AGREEMENT = "no_agreement", "Nodes did not agree and the referee could not compute it."
    APP_ERROR = "app_error", "The model fails on it, on the referee's machine too."
    RECHECKING = "rechecking", "Its result is called into question and computed again."


class ReplicaReason(TextChoices):
    """Why a node's work ended without being accepted."""

    LEASE_EXPIRED = "lease_expired", "No sign of life for longer than the lease."
    DISAGREED = "disagreed", "The answer differs from those of the other owners."
    WRONG = "wrong", "The answer differs from what the referee computed."
    OVERTURNED = "overturned", "The answer was accepted first and found wrong later."
    GOLD_FAILED = "gold_failed", "A picture whose answer is known was answered wrongly."
    INVALID_ANSWER = "invalid_answer", "The answer breaks the rules for answers."
    JOB_CANCELLED = "job_cancelled", "The client cancelled; the work is paid."
    NOT_NEEDED = "not_needed", "Others decided first; the work is paid."
    NODE_REMOVED = "node_removed", "The node was retired, suspended or quarantined."
    HANDED_BACK = "handed_back", "The node gave it back."
    APPEAL_UPHELD = "appeal_upheld", "Refused first; the appeal was upheld."
    NODE_ERROR = "node_error", "The node could not compute it."


class NodeReason(TextChoices):
    """Why a node does not work; nodes report these words."""

    NO_WORK = "no_work", "Ready; no work at the moment."
    NO_WORK_FOR_CLASS = "no_work_for_class", "Ready; what waits is bound to other processors."
    NO_MATCH = "no_match", "Ready; what waits needs another owner or network."
    OWN_WORK = "own_work", "Ready; what waits is your own, which others compute."
    QUOTA_LOW = "quota_low", "It may hold no more until more of its work has succeeded."
    QUARANTINED = "quarantined", "No work for now: it was caught again, or staff look into it."
    BANNED = "banned", "No work until staff decide: it was caught a third time."
    PAUSED_LOCALLY = "paused_locally", "Paused on the machine itself."
    PAUSED_ON_PAGE = "paused_on_page", "Paused on its page."
    MODEL_DOWNLOADING = "model_downloading", "Fetching a model."
    OFFLINE = "offline", "No sign of life."
    SCHEDULE = "schedule", "Outside the hours it may work."
    BATTERY = "battery", "The computer runs on battery."
    TOO_HOT = "too_hot", "The computer is too hot."
    METERED = "metered", "The network is metered."
    EXCLUSIVE_PROGRAM = "exclusive_program", "A program runs that wants the computer for itself."
    USER_ACTIVE = "user_active", "Somebody uses the computer."
    MEMORY_LOW = "memory_low", "Too little memory is free."
    DISK_FULL = "disk_full", "The disk is nearly full."
    BAD_LIMITS = "bad_limits", "Its limits.toml cannot be understood."
    KINDS_EXCLUDED = "kinds_excluded", "Its limits leave out the kinds of work there are."
    CATEGORIES_EXCLUDED = "categories_excluded", "Its limits leave out the clients who have work."
    CLOCK_SKEW = "clock_skew", "The computer's clock is wrong."
    SUSPENDED = "suspended", "Stopped by staff."
    FLOODING = "flooding", "Stopped: it sent far more messages than work explains."
    DRAINED = "drained", "Staff give it no new work; what it has it finishes."
    RETIRED = "retired", "Left for good."


class EventCode(TextChoices):
    """What happened to a job."""

    SUBMITTED = "submitted", "Submitted; the price is held."
    ANNOUNCED = "announced", "Announced to the nodes."
    STARTED = "started", "The first assignment went out."
    WAITING = "waiting", "The job waits."
    PAUSED = "paused", "Paused."
    RESUMED = "resumed", "Resumed."
    CANCELLED = "cancelled", "Cancelled; the rest of the money is back."
    LEASE_LOST = "lease_lost", "A node went silent; its work goes to another."
    DISAGREEMENT = "disagreement", "Answers differed; another opinion was asked."
    CHUNK_FAILED = "chunk_failed", "Some pictures could not be computed reliably."
    RECHECKING = "rechecking", "A result is called into question and computed again."
    RESULT_CORRECTED = "result_corrected", "A provisional result was wrong and is corrected."
    RESULT_WITHDRAWN = "result_withdrawn", "A provisional result could not be confirmed."
    SETTLED = "settled", "All results are final."
    SMOKE_PASSED = (
        "smoke_passed",
        "The first pictures agreed with the referee; the rest is released.",
    )
    SMOKE_FAILED = "smoke_failed", "The first pictures could not be computed; the money is back."
    APP_ERRORS = "app_errors", "Stopped: nodes fail in the same way."
    FINISHED = "finished", "Finished; the rest of the money is back."


def text(choices: type[JobReason | ReplicaReason | NodeReason], code: str) -> str:
    """Return what a code means; an unknown one is its own text."""
    return str(choices(code).label) if code in choices.values else code
