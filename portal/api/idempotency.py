"""`Idempotency-Key`: the same request sent twice is done once and answered alike.

    first               same key, same body             same key, another body
    done                the first answer again          409 idempotency_key_reused
    still running       409 idempotency_in_progress     409 idempotency_key_reused
    died (60 s)         done now                        409 idempotency_key_reused
    failed on our side  done now                        done now

A body is what was parsed: another order of names or other spaces make no difference, and
files count by their SHA-256. Answers are kept a day, encrypted, because some hold a secret
that is shown once. The answer is stored after the work's own transaction, so a process that
dies between the two does the work again when the key is taken over.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.exceptions import ParseError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from portal.api import problems
from portal.api.authentication import signed_in
from portal.models import IdempotencyRecord
from tasks.errors import Refused

HEADER = "Idempotency-Key"
#: Set on handlers that honour the header, for the OpenAPI document.
MARK = "takes_idempotency_key"
#: A request that has not answered for this long is taken for dead.
TAKE_OVER_AFTER = timedelta(seconds=60)
KEPT = timedelta(hours=24)

_KEY = re.compile(r"[\x21-\x7e]{1,200}")

Handler = Callable[..., HttpResponseBase]


class KeyReused(Refused):
    """The key came before with another request."""

    code, status = "idempotency_key_reused", 409


class InProgress(Refused):
    """The first request with this key has not ended yet."""

    code, status = "idempotency_in_progress", 409


def once(handler: Handler) -> Handler:
    """Make a view's `post` honour the header; without it nothing changes."""

    @functools.wraps(handler)
    def post(view: Any, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        key = request.headers.get(HEADER)
        if key is None:
            return handler(view, request, *args, **kwargs)
        if _KEY.fullmatch(key) is None:
            raise ParseError(
                f"{HEADER} is 1 to 200 visible ASCII characters.", code="idempotency_key_invalid"
            )
        now = timezone.now()
        record, is_mine = _claim(signed_in(request).pk, key, _fingerprint(request), now)
        if not is_mine:
            return _replay(record)
        return _run(record, lambda: handler(view, request, *args, **kwargs), view)

    setattr(post, MARK, True)
    return post


def _claim(
    user_id: int, key: str, fingerprint: str, now: datetime
) -> tuple[IdempotencyRecord, bool]:
    """Return the record of this key, and whether this request is the one to do the work.

    Raises:
        KeyReused: it stands for another request.
        InProgress: the first one runs.
    """
    own = IdempotencyRecord.objects.filter(user_id=user_id)
    own.filter(created_at__lte=now - KEPT).delete()
    try:
        with transaction.atomic():  # idempotency_key_once
            return own.create(
                user_id=user_id, key=key, fingerprint=fingerprint, created_at=now
            ), True
    except IntegrityError:
        record = own.filter(key=key).first()
    if record is None:  # the first failed on our side just now, and gave the key back
        raise InProgress("The first request with this key is ending; try again.")
    if record.fingerprint != fingerprint:
        raise KeyReused("This key was used with another request.")
    if record.status is not None:
        return record, False
    taken = own.filter(pk=record.pk, status=None, created_at__lte=now - TAKE_OVER_AFTER).update(
        created_at=now
    )
    if taken == 0:
        raise InProgress("The first request with this key has not ended yet.")
    record.created_at = now
    return record, True


def _run(
    record: IdempotencyRecord, work: Callable[[], HttpResponseBase], view: Any
) -> HttpResponseBase:
    """Do the work and keep its answer, unless it failed on our side."""
    try:
        response = work()
    except Exception as error:  # noqa: BLE001  # the view's own handler answers it
        response = view.handle_exception(error)
    # Only this claim: after a take-over the row belongs to the request that took it.
    claim = IdempotencyRecord.objects.filter(pk=record.pk, created_at=record.created_at)
    if response.status_code >= 500:
        claim.delete()
    else:
        claim.update(status=response.status_code, body=_seal(_text(response)))
    return response


def _replay(record: IdempotencyRecord) -> HttpResponse:
    assert record.status is not None
    assert record.body is not None
    media_type = problems.MEDIA_TYPE if record.status >= 400 else "application/json"
    return HttpResponse(
        _unseal(record.body),
        status=record.status,
        content_type=media_type,
        headers={"Idempotent-Replayed": "true"},
    )


def _text(response: HttpResponseBase) -> bytes:
    if isinstance(response, Response):
        return JSONRenderer().render(response.data)
    assert isinstance(response, HttpResponse)
    return response.content


def _fingerprint(request: Request) -> str:
    body = {name: _comparable(value) for name, value in _entries(request.data)}
    parts = [request.method, request.get_full_path(), body]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _entries(body: Any) -> list[tuple[str, Any]]:
    """Return a form's lists of values, an object's fields, or anything else under no name."""
    if hasattr(body, "lists"):
        return list(body.lists())
    return list(body.items()) if isinstance(body, dict) else [("", body)]


def _comparable(value: Any) -> Any:
    if isinstance(value, list):
        return [_comparable(entry) for entry in value]
    if isinstance(value, UploadedFile):
        digest = hashlib.sha256()
        for piece in value.chunks():
            digest.update(piece)
        value.seek(0)
        return [value.name, digest.hexdigest()]
    return value


def _seal(text: bytes) -> str:
    return _cipher().encrypt(text).decode("ascii")


def _unseal(sealed: str) -> bytes:
    return _cipher().decrypt(sealed.encode("ascii"))


def _cipher() -> Fernet:
    secret = hashlib.sha256(b"nodefolk.idempotency:" + settings.SECRET_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(secret))
