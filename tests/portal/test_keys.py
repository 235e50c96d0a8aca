"""`portal.keys`."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from portal import keys
from portal.models import ApiKey


@pytest.fixture
def created(client_user, now) -> keys.CreatedKey:
    return keys.create(user=client_user, name="laptop", scopes=["jobs", "read"], now=now)


def test_a_key_has_its_form_and_only_its_hash_is_kept(created):
    assert re.fullmatch(r"nf_[0-9a-z]{10}_[A-Za-z0-9_-]{43}", created.secret)
    kept = str(ApiKey.objects.values().get())
    assert created.secret not in kept
    assert created.secret[14:] not in kept
    assert created.key.prefix == created.secret[:13]
    assert created.key.scopes == ["read", "jobs"]


def test_a_key_is_found_by_its_text_and_by_no_other(created, now):
    other = created.secret[:-1] + ("A" if created.secret[-1] != "A" else "B")

    assert keys.find(created.secret, now) == created.key
    assert keys.find(other, now) is None
    assert keys.find("", now) is None
    assert keys.find(created.secret + "\n", now) is None


def test_the_last_use_is_written_at_most_once_a_minute(created, now):
    for seconds in (0, 59, 61):
        keys.find(created.secret, now + timedelta(seconds=seconds))

    assert ApiKey.objects.get().last_used_at == now + timedelta(seconds=61)
    keys.find(created.secret, now + timedelta(seconds=100))
    assert ApiKey.objects.get().last_used_at == now + timedelta(seconds=61)


def test_an_expired_key_is_not_found(client_user, now):
    made = keys.create(
        user=client_user, name="x", scopes=["read"], expires_at=now + timedelta(hours=1), now=now
    )

    assert keys.find(made.secret, now) == made.key
    assert keys.find(made.secret, now + timedelta(hours=1)) is None


def test_a_revoked_key_is_not_found_and_not_revoked_twice(created, client_user, now):
    revoked = keys.revoke(key_id=created.key.pk, user=client_user, now=now)

    assert revoked.revoked_at == now
    assert keys.find(created.secret, now) is None
    with pytest.raises(keys.UnknownKey):
        keys.revoke(key_id=created.key.pk, user=client_user, now=now + timedelta(1))
    assert ApiKey.objects.get().revoked_at == now


def test_a_stranger_revokes_nothing(created, stranger, now):
    with pytest.raises(keys.UnknownKey):
        keys.revoke(key_id=created.key.pk, user=stranger, now=now)
    assert ApiKey.objects.get().revoked_at is None


def test_the_key_of_a_suspended_user_is_not_found(created, client_user, now):
    client_user.is_active = False
    client_user.save()

    assert keys.find(created.secret, now) is None
    assert ApiKey.objects.get().last_used_at is None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"scopes": []}, keys.UnknownScope),
        ({"scopes": ["read", "root"]}, keys.UnknownScope),
        ({"name": ""}, keys.BadName),
        ({"name": "x" * 81}, keys.BadName),
    ],
)
def test_what_makes_no_key_leaves_none(client_user, now, change, error):
    wish = {"user": client_user, "name": "x", "scopes": ["read"], "now": now, **change}

    with pytest.raises(error):
        keys.create(**wish)
    assert ApiKey.objects.count() == 0


def test_an_expiry_that_has_passed_makes_no_key(client_user, now):
    with pytest.raises(keys.BadExpiry):
        keys.create(user=client_user, name="x", scopes=["read"], expires_at=now, now=now)
    assert ApiKey.objects.count() == 0


def test_there_are_at_most_so_many_keys(client_user, now, monkeypatch):
    monkeypatch.setattr(keys, "KEYS_MAX", 2)
    for _ in range(2):
        keys.create(user=client_user, name="x", scopes=["read"], now=now)

    with pytest.raises(keys.TooManyKeys):
        keys.create(user=client_user, name="x", scopes=["read"], now=now)
    assert ApiKey.objects.count() == 2
