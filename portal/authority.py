"""The authority as a WSGI application: RabbitMQ posts a question, the body says yes or no.

A process of its own (`manage.py authority`), beside the site: no session, no CSRF, no
middleware, nothing but four addresses, answered only to the broker's own address. No
request is logged: a question about a login carries the password.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl

import django
from django.conf import settings
from django.db import close_old_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup(set_prefix=False)

# Models can be imported only now.
from tasks import authority  # noqa: E402

logger = logging.getLogger(__name__)

#: A question is a few hundred bytes; a routing key has at most 255.
BODY_BYTES_MAX = 16 * 1024
FIELDS_MAX = 32
QUESTIONS = {f"/{name}": name for name in ("user", "vhost", "resource", "topic")}

Start = Callable[[str, list[tuple[str, str]]], object]


def application(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    """Answer one question with `allow` or `deny`; 4xx and 5xx count as no answer."""
    question = QUESTIONS.get(environ.get("PATH_INFO", ""))
    if not is_broker(str(environ.get("REMOTE_ADDR", ""))):
        return _answer(start, "403 Forbidden", b"")
    if question is None:
        return _answer(start, "404 Not Found", b"")
    if environ.get("REQUEST_METHOD") != "POST":
        return _answer(start, "405 Method Not Allowed", b"")
    close_old_connections()
    try:
        is_allowed = authority.allows(question, _fields(environ))
    except ValueError:  # not a form
        return _answer(start, "400 Bad Request", b"")
    except Exception as exc:  # noqa: BLE001  # an entry point; the traceback would show the fields
        logger.error("no answer for the broker: %s", type(exc).__name__)  # noqa: TRY400
        return _answer(start, "503 Service Unavailable", b"")
    finally:
        close_old_connections()
    return _answer(start, "200 OK", b"allow" if is_allowed else b"deny")


def is_broker(address: str) -> bool:
    """Say whether the caller's address is one of `settings.BROKER_AUTHORITY_CALLERS`."""
    try:
        caller = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(caller in ipaddress.ip_network(each) for each in settings.BROKER_AUTHORITY_CALLERS)


def _fields(environ: dict[str, Any]) -> dict[str, str]:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if not 0 <= length <= BODY_BYTES_MAX:
        raise ValueError("too long")
    body = environ["wsgi.input"].read(length).decode()
    return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=FIELDS_MAX))


def _answer(start: Start, status: str, body: bytes) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
