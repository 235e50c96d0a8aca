"""Which key the node believes the platform to sign with."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from workers import trust
from workers.protocol import messages, signatures

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def keys(count: int) -> list[Ed25519PrivateKey]:
    return [Ed25519PrivateKey.generate() for _ in range(count)]


def name(key: Ed25519PrivateKey) -> str:
    return signatures.public_text(key)


def statement(old, new, *, signer=None) -> trust.Statement:
    body = messages.KeySuccession(
        sent_at=NOW, old_key=name(old), new_key=name(new)
    ).model_dump_json()
    return trust.Statement(body=body, signature=signatures.sign(body.encode(), key=signer or old))


def test_a_chain_is_followed_from_the_pinned_key():
    first, second, third = keys(3)
    chain = [statement(first, second), statement(second, third)]

    assert trust.follow(name(first), chain) == name(third)
    assert trust.follow(name(second), chain) == name(third)
    assert trust.follow(name(third), chain) == name(third)


def test_a_key_that_nobody_vouched_for_is_not_believed():
    pinned, new, thief = keys(3)

    for lie in (
        statement(pinned, new, signer=thief),
        statement(pinned, new, signer=new),
        statement(thief, new),
        statement(thief, new, signer=pinned),
    ):
        assert trust.follow(name(pinned), [lie]) == name(pinned)


def test_what_is_no_statement_is_passed_over():
    pinned, new = keys(2)
    noise = "{}"
    signed = trust.Statement(body=noise, signature=signatures.sign(noise.encode(), key=pinned))

    assert trust.follow(name(pinned), [signed, statement(pinned, new)]) == name(new)
