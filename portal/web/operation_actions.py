"""What staff can do, with the words of the question; each is one call of a service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from portal.web import operation_forms as forms
from tasks.operations import draining, quarantines, replays, reverification
from tasks.operations.reverification import By


@dataclass(frozen=True, kw_only=True)
class Action:
    """What is asked before it is done, how, and what is said afterwards."""

    title: str
    text: str
    #: On the button that does it.
    button: str
    form: type[forms.ActionForm]
    #: Key, form, staff's id, now -> what is said.
    do: Callable[[str, Any, int, datetime], str]
    is_harmless: bool = False


def _drain(key: str, form: forms.NoteForm, staff_id: int, now: datetime) -> str:
    draining.drain(node_id=key, staff_id=staff_id, note=form.cleaned_data["note"], now=now)
    return "It is given no new work; what it has it finishes."


def _undrain(key: str, _form: forms.ActionForm, staff_id: int, now: datetime) -> str:
    draining.undrain(node_id=key, staff_id=staff_id, now=now)
    return "It is given work again."


def _quarantine(key: str, form: forms.QuarantineForm, staff_id: int, now: datetime) -> str:
    doubted = quarantines.impose(
        node_id=key,
        model_id=form.model_id,
        staff_id=staff_id,
        note=form.cleaned_data["note"],
        now=now,
    )
    return f"Quarantined; answers doubted: {doubted}."


def _lift(key: str, form: forms.ModelForm, staff_id: int, now: datetime) -> str:
    believed = quarantines.lift(node_id=key, model_id=form.model_id, staff_id=staff_id, now=now)
    return f"Lifted; answers believed again: {believed}."


def _replay_node(key: str, _form: forms.ActionForm, staff_id: int, now: datetime) -> str:
    return _sent(replays.replay_node(node_id=key, staff_id=staff_id, now=now))


def _replay_job(key: str, _form: forms.ActionForm, staff_id: int, now: datetime) -> str:
    return _sent(replays.replay_job(job_id=key, staff_id=staff_id, now=now))


def _sent(replayed: replays.Replayed) -> str:
    return (
        f"Sent again: {replayed.announcements} announcements, {replayed.assignments} assignments,"
        f" {replayed.withdrawals} withdrawals, {replayed.settings} settings."
    )


def _reverify(key: str, form: forms.ReverifyForm, staff_id: int, now: datetime) -> str:
    by: By = "referee" if form.cleaned_data["by"] == "referee" else "owner"
    asked = reverification.reverify(
        job_id=key,
        chunk_index=form.cleaned_data["chunk"],
        by=by,
        staff_id=staff_id,
        note=form.cleaned_data["note"],
        now=now,
    )
    more = " There are more; ask again." if asked.is_more_left else ""
    return f"Chunks computed again: {asked.chunks}.{more}"


def _retake(key: str, _form: forms.ActionForm, staff_id: int, now: datetime) -> str:
    changed = replays.retake(message_id=int(key), staff_id=staff_id, now=now)
    return f"Taken in again; chunks that changed: {changed}."


def _drain_platform(_key: str, form: forms.NoteForm, staff_id: int, now: datetime) -> str:
    draining.drain_platform(staff_id=staff_id, note=form.cleaned_data["note"], now=now)
    return "No new work is given out; what runs is finished."


def _resume_platform(_key: str, _form: forms.ActionForm, staff_id: int, now: datetime) -> str:
    draining.resume_platform(staff_id=staff_id, now=now)
    return "Work is given out again."


PLATFORM: Final[Mapping[str, Action]] = {
    "drain": Action(
        title="Drain",
        text="No new work is given out to any node, and waiting jobs say so. What runs is "
        "finished, reported and paid; reports, verdicts and rewards go on.",
        button="Give out no new work",
        form=forms.PlatformForm,
        do=_drain_platform,
    ),
    "resume": Action(
        title="Resume",
        text="Waiting work is given out again at once.",
        button="Give out work again",
        form=forms.ActionForm,
        do=_resume_platform,
        is_harmless=True,
    ),
}
NODE: Final[Mapping[str, Action]] = {
    "drain": Action(
        title="Drain",
        text="It is given no new work. What it has it finishes and is paid for; its operator "
        "reads why.",
        button="Give it no new work",
        form=forms.NoteForm,
        do=_drain,
    ),
    "undrain": Action(
        title="End the drain of",
        text="It is given work again.",
        button="Give it work again",
        form=forms.ActionForm,
        do=_undrain,
        is_harmless=True,
    ),
    "quarantine": Action(
        title="Quarantine",
        text="Its work is taken back and it is given none. What it answered and is not final "
        "counts only if others confirm it, and is computed again while its rewards wait. It is "
        "no strike; its record stays.",
        button="Believe it no longer",
        form=forms.QuarantineForm,
        do=_quarantine,
    ),
    "lift": Action(
        title="Lift the quarantine of",
        text="It is given work again, and its answers are believed as before, unless a strike "
        "speaks against them.",
        button="Believe it again",
        form=forms.ModelForm,
        do=_lift,
        is_harmless=True,
    ),
    "replay": Action(
        title="Replay",
        text="Its settings, open jobs it has not acknowledged, what it holds and what it holds no "
        "longer are sent again. What it has heard before changes nothing.",
        button="Send it all again",
        form=forms.ActionForm,
        do=_replay_node,
        is_harmless=True,
    ),
}
JOB: Final[Mapping[str, Action]] = {
    "reverify": Action(
        title="Verify again",
        text="Accepted results that are not final are computed again; the client keeps them "
        "meanwhile, and the platform pays.",
        button="Compute again",
        form=forms.ReverifyForm,
        do=_reverify,
    ),
    "replay": Action(
        title="Replay",
        text="Its announcement, its assignments and its withdrawals are sent again. What nodes "
        "have heard before changes nothing.",
        button="Send it all again",
        form=forms.ActionForm,
        do=_replay_job,
        is_harmless=True,
    ),
}
MESSAGE: Final[Mapping[str, Action]] = {
    "retake": Action(
        title="Take in again",
        text="The message goes through the intake once more. What was taken before changes nothing.",
        button="Take it in again",
        form=forms.ActionForm,
        do=_retake,
        is_harmless=True,
    ),
}
