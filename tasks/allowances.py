"""What operators let their nodes do: the page's wishes and the machine's file together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from tasks.models import Node
from workers.protocol import allowance
from workers.protocol.allowance import Allowance, Effective

_CATEGORIES = "client_categories"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a node may do: by its own file, by its page, and what holds of both."""

    file: Allowance
    page: Allowance
    effective: Effective
    #: Whether the node has what its page asks for.
    is_told: bool


def limits_of(node: Node) -> Limits:
    """Return the node's limits; its file as it last said."""
    file = Allowance(**node.profile.get("allowance", {}))
    page = Allowance(**node.wishes)
    return Limits(
        file=file,
        page=page,
        effective=allowance.combine(file, page),
        is_told=node.settings_seen >= node.settings_revision,
    )


def client_categories(
    wishes: Mapping[str, Any], profile: Mapping[str, Any]
) -> frozenset[str] | None:
    """Return the categories of clients a node works for; None: all.

    The same as `limits_of(...).effective.client_categories`, from the stored JSON as it is:
    the scheduler asks it of hundreds of nodes at a time.
    """
    file: Mapping[str, Any] = profile.get("allowance", {})
    found = allowance.common([wishes.get(_CATEGORIES, []), file.get(_CATEGORIES, [])])
    return None if found is None else frozenset(found)


def serving(nodes: QuerySet[Node], *, client_category: str) -> QuerySet[Node]:
    """Return those of the nodes that work for clients of this category.

    The same as `client_categories`, by the database: a fleet is too large to read its JSON.
    """
    return nodes.filter(
        _names(f"wishes__{_CATEGORIES}", client_category),
        _names(f"profile__allowance__{_CATEGORIES}", client_category),
    )


def _names(path: str, word: str) -> Q:
    """Match a list in JSON that holds the word, or is empty or missing.

    By its text, because SQLite has no containment; the words are ours and hold no quotes.
    """
    is_open = Q(**{f"{path}__isnull": True}) | Q(**{path: []})
    return is_open | Q(**{f"{path}__icontains": f'"{word}"'})
