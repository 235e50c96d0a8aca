"""Limits of nodes in the API: one schema and one check for page, API, file and wire.

The rules are `workers.protocol.allowance.Allowance`; here its errors get the API's codes.
"""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from pydantic import BaseModel
from pydantic import ValidationError as Invalid
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

from portal.api import fields
from workers.protocol.allowance import Allowance, Effective

#: What pydantic calls an error -> what this API calls it; all others are "invalid".
CODES: Final = {
    "extra_forbidden": "unknown_field",
    "greater_than_equal": "min_value",
    "less_than_equal": "max_value",
    "literal_error": "invalid_choice",
    "string_too_long": "max_length",
    "too_long": "max_length",
}


def _schema(model: type[BaseModel], *, is_change: bool = False) -> dict[str, Any]:
    """Return the model's schema as OpenAPI 3.0 writes it: null is a property of a type."""
    described = model.model_json_schema(mode="validation" if is_change else "serialization")
    properties = {}
    for name, found in described["properties"].items():
        kinds = [each for each in found.get("anyOf", [found]) if each.get("type") != "null"]
        is_nullable = is_change or len(kinds) < len(found.get("anyOf", [found]))
        named = {key: value for key, value in kinds[0].items() if key not in {"title", "default"}}
        properties[name] = {**named, **({"nullable": True} if is_nullable else {})}
    return {"type": "object", "properties": properties, "additionalProperties": False}


@extend_schema_field(_schema(Allowance))
class AllowanceOut(serializers.Field[Allowance, Any, dict[str, Any], Any]):
    """Limits of one source; what it does not limit stands there as such."""

    def to_representation(self, value: Allowance) -> dict[str, Any]:
        return value.model_dump(mode="json")


@extend_schema_field(_schema(Effective))
class EffectiveOut(serializers.Field[Effective, Any, dict[str, Any], Any]):
    """The stricter of all sources."""

    def to_representation(self, value: Effective) -> dict[str, Any]:
        return value.model_dump(mode="json")


class LimitsOutput(serializers.Serializer[Any]):
    """What a node may do, and who says so."""

    effective = EffectiveOut(help_text="What holds: the stricter of file and page.")
    file = AllowanceOut(help_text="What the machine's own file allows, as the node last said.")
    page = AllowanceOut(help_text="What is asked for here; it can only make it stricter.")
    is_told = serializers.BooleanField(help_text="Whether the node has what is asked for here.")


@extend_schema_field(_schema(Allowance, is_change=True))
class LimitsChange(serializers.Field[dict[str, Any], Any, Any, Any]):
    """The limits to change and no others; null takes one away."""

    default_error_messages = {"not_an_object": "Expected an object."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("not_an_object")
        try:
            asked = Allowance.model_validate(
                {name: value for name, value in data.items() if value is not None}
            )
        except Invalid as exc:
            raise serializers.ValidationError(_errors(exc)) from exc
        unknown = sorted(data.keys() - Allowance.model_fields.keys())
        if unknown:  # null for what there is not
            said = ErrorDetail("There is no such field.", code="unknown_field")
            raise serializers.ValidationError({name: [said] for name in unknown})
        return {
            **dict.fromkeys(data),
            **asked.model_dump(mode="json", exclude_unset=True),
        }


class NodeChange(fields.Input):
    """What an operator may change of a node here."""

    limits = LimitsChange()


def _errors(invalid: Invalid) -> dict[str, Any]:
    """Return the errors by field, those of a list's entries by their place in it."""
    found: dict[str, Any] = {}
    for error in invalid.errors(include_url=False, include_input=False):
        name, *place = (str(part) for part in error["loc"])
        detail = ErrorDetail(error["msg"], code=CODES.get(error["type"], "invalid"))
        if place and isinstance(found.setdefault(name, {}), dict):
            found[name].setdefault(place[0], []).append(detail)
        elif not place:
            found[name] = [detail]
    return found
