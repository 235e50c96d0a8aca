"""The authority over HTTP: a yes, a no, or no answer at all; and nothing in a log."""

from __future__ import annotations

import io
import logging
from urllib.parse import urlencode

import pytest

from portal import authority
from tasks import broker, passwords
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "a long and random password"


def ask(path, fields, *, address="127.0.0.1", method="POST", length=None):
    body = urlencode(fields).encode() if isinstance(fields, dict) else fields
    answered = []
    environ = {
        "PATH_INFO": path,
        "REQUEST_METHOD": method,
        "REMOTE_ADDR": address,
        "CONTENT_LENGTH": str(len(body)) if length is None else length,
        "wsgi.input": io.BytesIO(body),
    }
    answer = b"".join(authority.application(environ, lambda status, _: answered.append(status)))
    return answered[0].partition(" ")[0], answer.decode()


@pytest.fixture
def login(operator):
    node = factories.make_node(operator, broker_password_hash=passwords.hashed(PASSWORD))
    return {"username": f"node-{node.pk}", "password": PASSWORD, "vhost": broker.vhost()}


def test_it_says_allow_and_deny(login):
    assert ask("/user", login) == ("200", "allow")
    assert ask("/user", {**login, "password": "guess"}) == ("200", "deny")
    assert ask("/vhost", login) == ("200", "allow")
    assert ask("/resource", login) == ("200", "deny")


@pytest.mark.parametrize("address", ["10.0.0.9", "::ffff:10.0.0.9", "", "localhost"])
def test_it_answers_the_broker_only(login, address):
    assert ask("/user", login, address=address) == ("403", "")


def test_other_networks_can_be_named(login, settings):
    settings.BROKER_AUTHORITY_CALLERS = ["172.16.0.0/12"]

    assert ask("/user", login, address="172.18.0.5") == ("200", "allow")
    assert ask("/user", login) == ("403", "")


def test_what_is_no_question_gets_no_answer(login):
    assert ask("/users", login) == ("404", "")
    assert ask("/user", login, method="GET") == ("405", "")
    assert ask("/user", b"\xff\xfe") == ("400", "")
    assert ask("/user", b"x", length="99999999") == ("400", "")
    assert ask("/user", b"x", length="many") == ("400", "")
    assert ask("/user", "&".join(f"a{n}=1" for n in range(40)).encode()) == ("400", "")


def test_no_question_is_logged(login, caplog):
    with caplog.at_level(logging.DEBUG):
        ask("/user", login)
        ask("/user", {**login, "password": "another secret"})

    assert PASSWORD not in caplog.text
    assert "another secret" not in caplog.text
