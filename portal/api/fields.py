"""Serializers and fields that take only what they say: shape and type, nothing converted.

DRF's own fields turn 0 into "0" and "true" into True; here each of those is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from payments import money
from portal.api import limits

#: Amounts as clients write them; at most nine digits before the point.
AMOUNT_PATTERN = r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,7})?$"


class Input(serializers.Serializer[Any]):
    """A body: an object with these fields and no others."""

    default_error_messages = {"unknown_field": "There is no such field."}

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = [name for name in data if name not in self.fields]
            if unknown:
                raise serializers.ValidationError(
                    {name: [self.error_messages["unknown_field"]] for name in sorted(unknown)},
                    code="unknown_field",
                )
        return super().to_internal_value(data)


class Nothing(Input):
    """No fields: the call says it all."""


class Text(serializers.CharField):
    """A string; a number or a boolean is none."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Choice(serializers.ChoiceField):
    """One of a few strings."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid_choice", input=type(data).__name__)
        return str(super().to_internal_value(data))


class Number(serializers.FloatField):
    """A finite JSON number; text that looks like one is none."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        try:
            number = float(data)
        except OverflowError:
            self.fail("invalid")
        if not math.isfinite(number):
            self.fail("invalid")
        return number


class Whole(serializers.IntegerField):
    """A JSON integer."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return data


class Moment(serializers.DateTimeField):
    """A point in time as ISO 8601 text with its offset."""

    default_error_messages = {"naive": "Give the offset from UTC, for example Z."}

    def to_internal_value(self, value: Any) -> Any:
        if not isinstance(value, str):
            self.fail("invalid", format="ISO 8601")
        return super().to_internal_value(value)

    def enforce_timezone(self, value: Any) -> Any:
        if value.tzinfo is None:
            self.fail("naive")
        return super().enforce_timezone(value)


@extend_schema_field({"type": "object", "additionalProperties": True})
class Notes(serializers.JSONField):
    """An object of the sender's own making, small enough to be kept beside a row."""

    default_error_messages = {
        "not_an_object": "Expected an object.",
        "too_large": f"At most {limits.NOTES_BYTES_MAX} bytes as JSON.",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("not_an_object")
        if len(json.dumps(data).encode()) > limits.NOTES_BYTES_MAX:
            self.fail("too_large")
        return data


@extend_schema_field({"type": "string", "pattern": AMOUNT_PATTERN, "example": "1.2500000"})
class AmountIn(serializers.Field[int, Any, Any, Any]):
    """Money as a string, read into minor units."""

    default_error_messages = {"invalid_amount": "An amount is text like 12.34, not a number."}

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, str):
            self.fail("invalid_amount")
        try:
            return money.parse_amount(data)
        except money.InvalidAmount:
            self.fail("invalid_amount")


@extend_schema_field({"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{7}$", "example": "1.2500000"})
class AmountOut(serializers.Field[int, Any, str, Any]):
    """Minor units, written with seven decimals."""

    def to_representation(self, value: int) -> str:
        return money.format_amount(value)


@extend_schema_field(OpenApiTypes.STR)
class Asset(serializers.Field[Any, Any, str, Any]):
    """The one asset all amounts are in."""

    def __init__(self) -> None:
        super().__init__(source="*", read_only=True)

    def to_representation(self, _value: Any) -> str:
        return money.ASSET


class Query(Input):
    """Query parameters, all text on the wire; numbers are read from it by DRF's own fields."""
