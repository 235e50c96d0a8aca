"""The key on disk, and enrolment at a portal that may be anything."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.workers.platform_double import NODE_ID, Served
from workers import config, identity
from workers.protocol import limits, routes, signatures


def enroll(home, url: str):
    return identity.enroll(home=home, portal_url=url, token="secret", name="desk", slots=2)


def test_the_key_is_made_once_and_kept_closed(home):
    first = identity.load_or_create_key(home.key_file)
    second = identity.load_or_create_key(home.key_file)

    assert signatures.public_text(first) == signatures.public_text(second)
    assert home.key_file.stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_can_read_is_refused(home):
    identity.load_or_create_key(home.key_file)
    home.key_file.chmod(0o644)

    with pytest.raises(identity.BadKeyFile, match="chmod 600"):
        identity.load_key(home.key_file)


def test_what_is_no_ed25519_key_is_refused(home):
    other = generate_private_key(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    for content in (b"", b"rubbish", other):
        config.write_atomically(home.key_file, content)
        with pytest.raises(identity.BadKeyFile):
            identity.load_key(home.key_file)


def test_a_missing_key_is_refused(home):
    with pytest.raises(identity.BadKeyFile):
        identity.load_key(home.key_file)


def test_enrolment_sends_the_public_key_and_stores_the_answer(home, platform, server):
    model = {"digest": "a" * 64, "size_bytes": 5, "url": "http://x/m", "kind": "detect"}
    answer = platform.enrollment(NODE_ID, models=[model], added_later=1)
    server.serve(routes.ENROLL_PATH, Served(answer, 201))

    enrolled = enroll(home, f"{server.url}/")

    assert config.read(home) == enrolled
    assert (enrolled.node_id, enrolled.name, enrolled.slots) == (NODE_ID, "desk", 2)
    assert [each.digest for each in enrolled.models] == ["a" * 64]
    key = identity.load_key(home.key_file)
    (sent,) = server.posted
    assert sent.keys() == {"token", "name", "public_key", "hardware"}
    assert (sent["token"], sent["public_key"]) == ("secret", signatures.public_text(key))
    assert sent["hardware"]["cores"] >= 1


def test_an_enrolled_home_is_not_enrolled_again(home, platform, server):
    server.serve(routes.ENROLL_PATH, Served(platform.enrollment(NODE_ID), 201))
    enroll(home, server.url)

    with pytest.raises(identity.AlreadyEnrolled):
        enroll(home, server.url)

    assert len(server.posted) == 1


@pytest.mark.parametrize(
    ("served", "sentence"),
    [
        (Served(json.dumps({"code": "token_invalid", "detail": "x"}).encode(), 403), "make a new"),
        (Served(json.dumps({"code": "key_taken"}).encode(), 409), "remove key.pem"),
        (Served(b'{"code": "other", "detail": "Too busy."}', 503), "Too busy."),
        (Served(b"<html>", 404), "HTTP 404"),
        (Served(b"<html>", 201), "not understood"),
        (Served(b"{}", 201), "not understood"),
        (Served(b"x" * (limits.MIB + 1), 201), "too long"),
    ],
)
def test_a_refusal_is_one_sentence_and_stores_nothing(home, server, served, sentence):
    server.serve(routes.ENROLL_PATH, served)

    with pytest.raises(identity.EnrollmentFailed, match=sentence):
        enroll(home, server.url)

    assert [path.name for path in home.root.iterdir()] == ["key.pem"]


@pytest.mark.parametrize(
    "changes",
    [
        {"platform_key": "short"},
        {"broker": {"url": "redis://x", "queue": f"node.{NODE_ID}"}},
        {"broker": {"url": "amqp://x", "queue": "node.n_other"}},
        {"id": "../../etc"},
    ],
)
def test_an_answer_that_cannot_be_right_is_refused(home, platform, server, changes):
    server.serve(routes.ENROLL_PATH, Served(platform.enrollment(NODE_ID, **changes), 201))

    with pytest.raises(identity.EnrollmentFailed):
        enroll(home, server.url)

    assert not home.config_file.exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", "http://["])
def test_a_portal_that_is_not_there_is_one_sentence(home, url):
    with pytest.raises(identity.EnrollmentFailed, match="cannot be reached"):
        enroll(home, url)
