"""Reading JSON bodies strictly: UTF-8 only, bounded, and free of what no database stores."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

from portal.api import limits


class TooLarge(APIException):
    """The body is larger than is read."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"
    default_detail = "The body is too large."


class StrictJSONParser(BaseParser):
    """Parses `application/json`; everything it refuses is a 400 (413 when too large)."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = stream.read(limits.JSON_BYTES_MAX + 1)
        if len(body) > limits.JSON_BYTES_MAX:
            raise TooLarge(f"A JSON body has at most {limits.JSON_BYTES_MAX} bytes.")
        return parse(body)


def parse(body: bytes) -> Any:
    """Read JSON text.

    Raises:
        ParseError: not UTF-8, not JSON, NaN or infinity, a name given twice, nested too
            deeply, or text with a NUL character or half a surrogate pair.
    """
    try:
        value = json.loads(
            body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_once
        )
    except UnicodeDecodeError as error:
        raise ParseError("The body is not UTF-8.", code="not_utf8") from error
    except RecursionError as error:
        raise ParseError("The body is nested too deeply.", code="too_deep") from error
    except ValueError as error:
        raise ParseError(f"The body is not JSON: {error}.", code="malformed") from error
    _check(value)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return read


def _check(value: Any) -> None:
    """Walk level by level, so that depth costs no stack."""
    level, depth = [value], 0
    while level:
        for entry in level:
            _check_entry(entry, depth=depth)
        level = [child for entry in level for child in _children(entry)]
        depth += 1


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else []


def _check_entry(value: Any, *, depth: int) -> None:
    if depth == limits.JSON_DEPTH_MAX and isinstance(value, dict | list):
        raise ParseError("The body is nested too deeply.", code="too_deep")
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value)):
        raise ParseError("Text holds a character that cannot be kept.", code="bad_character")
    # 1e999 is read as infinity, without passing through `parse_constant`.
    if isinstance(value, float) and math.isinf(value):
        raise ParseError("A number is too large.", code="malformed")
