"""What the platform says is checked before it is believed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.platform_double import (
    make_announcement,
    make_assignment,
    make_input,
    make_reference,
)
from workers import events, inbox
from workers.protocol import limits, messages, routes, signatures

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = signatures.public_text(KEY)
ANNOUNCEMENT = make_announcement("a" * 64)
ASSIGNMENT = make_assignment(
    model=make_reference(b"m", "http://x/m"), inputs=[make_input(b"p", "http://x/p")]
)
TOGETHER = messages.Assignments(
    sent_at=ASSIGNMENT.sent_at, node=ASSIGNMENT.node, assignments=[ASSIGNMENT, ASSIGNMENT]
)
WITHDRAWAL = messages.Withdrawal(sent_at=datetime.now(UTC), node="n_1", assignments=["1"])


def sign(text: str) -> str:
    return signatures.sign(text.encode(), key=KEY)


@pytest.mark.parametrize(
    ("task", "message", "event"),
    [
        (routes.TASK_ANNOUNCE, ANNOUNCEMENT, events.Announced(ANNOUNCEMENT)),
        (routes.TASK_ASSIGN, ASSIGNMENT, events.Assigned((ASSIGNMENT,))),
        (routes.TASK_ASSIGN, TOGETHER, events.Assigned((ASSIGNMENT, ASSIGNMENT))),
        (routes.TASK_WITHDRAW, WITHDRAWAL, events.Withdrawn(WITHDRAWAL)),
    ],
)
def test_signed_messages_become_events(task, message, event):
    text = message.model_dump_json()

    assert inbox.read(task, text, sign(text), platform_key=PUBLIC) == event


@pytest.mark.parametrize(
    ("text", "signature", "reason"),
    [
        (None, "", "malformed"),
        (b"{}", "", "malformed"),
        ({"a": 1}, "", "malformed"),
        ("\ud800", "", "malformed"),
        ("x" * (limits.MESSAGE_BYTES_MAX + 1), "", "too_large"),
        ("{}", None, "bad_signature"),
        ("{}", "A" * 88, "bad_signature"),
        ("{}", sign("{} "), "bad_signature"),
        ("{}", sign("{}"), "malformed"),
        ("", sign(""), "malformed"),
    ],
)
def test_everything_else_is_refused(text, signature, reason):
    with pytest.raises(inbox.Refused, match=f"^{reason}$"):
        inbox.read(routes.TASK_ASSIGN, text, signature, platform_key=PUBLIC)


@pytest.mark.parametrize("task", [routes.TASK_ASSIGN, routes.TASK_WITHDRAW])
def test_a_signed_announcement_is_nothing_else(task):
    text = ANNOUNCEMENT.model_dump_json()

    with pytest.raises(inbox.Refused, match="malformed"):
        inbox.read(task, text, sign(text), platform_key=PUBLIC)


@given(st.text(), st.one_of(st.none(), st.text(), st.integers(), st.lists(st.integers())))
def test_rubbish_never_gets_further_than_the_signature(text, signature):
    with pytest.raises(inbox.Refused):
        inbox.read(routes.TASK_ASSIGN, text, signature, platform_key=PUBLIC)
