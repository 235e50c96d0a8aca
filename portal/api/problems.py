"""Errors as `application/problem+json` (RFC 9457), from every place that can fail.

Each problem has `type`, `title`, `status`, `code`, `detail` and `errors`, a list of
`{field, code, detail}` that names the input at fault; `field` is a path such as
`review.below`, and null when the whole body is meant.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.template import TemplateDoesNotExist, loader
from rest_framework.exceptions import APIException, Throttled, ValidationError

from payments.ledger import InsufficientFunds
from portal.api.authentication import Forbidden
from tasks.broker import BrokerUnavailable
from tasks.errors import Refused

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
API_PREFIX = "/api/"


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """What is wrong with one input."""

    field: str | None
    code: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One refusal."""

    status: int
    code: str
    detail: str
    errors: tuple[FieldError, ...] = ()


class ProblemResponse(JsonResponse):
    """A problem on the wire; not a DRF response, so no negotiation can hide it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(
            {
                "type": f"{settings.PUBLIC_URL}/docs/errors/{problem.code}",
                "title": problem.code.replace("_", " ").capitalize(),
                **asdict(problem),
            },
            status=problem.status,
            content_type=MEDIA_TYPE,
        )


NOT_FOUND = Problem(status=404, code="not_found", detail="There is no such thing here.")
SERVER_ERROR = Problem(
    status=500, code="server_error", detail="Something broke on our side; it was recorded."
)
INSUFFICIENT_FUNDS = Problem(
    status=402, code="insufficient_funds", detail="Your balance is too small for this."
)
BROKER_UNAVAILABLE = Problem(
    status=503, code="broker_unavailable", detail="Nothing was changed; try again soon."
)
TOO_LARGE = Problem(status=413, code="too_large", detail="The body is too large.")
MALFORMED = Problem(status=400, code="malformed", detail="The request cannot be read.")


def handle(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """Answer any error of an API view; called by DRF.

    What nobody foresaw is logged with its traceback and, through Django's signal, reaches
    error reporting and the test client as if it had not been caught.
    """
    problem = describe(error)
    if problem is None:
        request = context["request"]
        logger.error("API view failed", exc_info=error, extra={"path": request.path})
        got_request_exception.send(sender=handle, request=request)
        return ProblemResponse(SERVER_ERROR)
    response = ProblemResponse(problem)
    if auth_header := getattr(error, "auth_header", None):
        response["WWW-Authenticate"] = auth_header
    if isinstance(error, Throttled):
        response["Retry-After"] = str(max(1, round(getattr(error, "wait", None) or 1)))
    return response


def describe(error: Exception) -> Problem | None:
    """Return the problem an anticipated error stands for, None for any other."""
    problem: Problem | None
    match error:
        case ValidationError():
            problem = _invalid(error)
        case Refused():
            problem = _refusal(error)
        case APIException():
            problem = _api_problem(error)
        case Http404():
            problem = NOT_FOUND
        case InsufficientFunds():
            problem = INSUFFICIENT_FUNDS
        case BrokerUnavailable():
            problem = BROKER_UNAVAILABLE
        case RequestDataTooBig():
            problem = TOO_LARGE
        case SuspiciousOperation() | UnreadablePostError():
            problem = MALFORMED
        case _:
            problem = None
    return problem


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001
    """Answer an address that nothing stands behind."""
    if request.path.startswith(API_PREFIX):
        return ProblemResponse(NOT_FOUND)
    return _page("404.html", status=404, request=request)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer when a view broke; draws its page without the request, which may be at fault."""
    if request.path.startswith(API_PREFIX):
        return ProblemResponse(SERVER_ERROR)
    return _page("500.html", status=500, request=None)


def _page(template: str, *, status: int, request: HttpRequest | None) -> HttpResponse:
    try:
        text = loader.render_to_string(template, request=request)
    except TemplateDoesNotExist:
        return HttpResponse(
            HTTPStatus(status).phrase, status=status, content_type="text/plain; charset=utf-8"
        )
    return HttpResponse(text, status=status)


def _invalid(error: ValidationError) -> Problem:
    errors = tuple(_flatten(error.get_full_details()))
    return Problem(status=400, code="invalid_input", detail=_summary(errors), errors=errors)


def _refusal(error: Refused) -> Problem:
    problem = Problem(status=error.status, code=error.code, detail=error.detail)
    if error.field is None:
        return problem
    at_fault = FieldError(field=error.field, code=error.code, detail=error.detail)
    return replace(problem, errors=(at_fault,))


def _api_problem(error: APIException) -> Problem:
    # DRF's words for its own errors differ from ours in a few places.
    renamed = {"parse_error": "malformed", "permission_denied": "forbidden"}
    code = getattr(error.detail, "code", None) or error.default_code
    detail = str(error.detail)
    if not isinstance(error, Forbidden) and detail.startswith("CSRF Failed"):
        code = "csrf_failed"
    return Problem(status=error.status_code, code=renamed.get(str(code), str(code)), detail=detail)


def _summary(errors: tuple[FieldError, ...]) -> str:
    first = errors[0]
    return f"{first.field}: {first.detail}" if first.field else first.detail


def _flatten(details: Any, path: str = "") -> Iterator[FieldError]:
    """Turn DRF's nested errors into a list, depth first."""
    if isinstance(details, list):
        for index, entry in enumerate(details):
            # Errors of one field come as a list; those of a list's entries as dicts by index.
            is_error = isinstance(entry, dict) and entry.keys() == {"message", "code"}
            yield from _flatten(entry, path if is_error else _join(path, str(index)))
    elif details.keys() == {"message", "code"} and isinstance(details["code"], str):
        yield FieldError(field=path or None, code=details["code"], detail=str(details["message"]))
    else:
        for name, entry in details.items():
            own = name == "non_field_errors"
            yield from _flatten(entry, path if own else _join(path, str(name)))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
