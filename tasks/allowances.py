"""What operators let their nodes do: the page's wishes and the machine's file together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.models import Node
from workers.protocol import allowance
from workers.protocol.allowance import Allowance, Effective

_CATEGORIES = "client_categories"


def file_of(node: Node) -> Allowance:
    """Return what the file on the machine allows, as the node last said."""
    return Allowance(**node.profile.get("allowance", {}))


def wishes_of(node: Node) -> Allowance:
    """Return what the node's page asks for."""
    return Allowance(**node.wishes)


def of_node(node: Node) -> Effective:
    """Return what holds: the stricter of both."""
    return allowance.combine(file_of(node), wishes_of(node))


def client_categories(
    wishes: Mapping[str, Any], profile: Mapping[str, Any]
) -> frozenset[str] | None:
    """Return the categories of clients a node works for; None: all.

    The same as `of_node(...).client_categories`, from the stored JSON as it is: the scheduler
    asks it of hundreds of nodes at a time.
    """
    file: Mapping[str, Any] = profile.get("allowance", {})
    found = allowance.common([wishes.get(_CATEGORIES, []), file.get(_CATEGORIES, [])])
    return None if found is None else frozenset(found)
