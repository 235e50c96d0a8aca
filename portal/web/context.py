"""What the frame around every page shows: navigation and balance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from payments import money, queries
from portal.models import User


@dataclass(frozen=True, kw_only=True)
class Link:
    """One line of the navigation."""

    title: str
    icon: str
    url: str
    is_current: bool


@dataclass(frozen=True, kw_only=True)
class Group:
    """Lines under one heading."""

    title: str
    links: list[Link]


def frame(request: HttpRequest) -> dict[str, Any]:
    """Give the templates the frame; the balance is read only where it is shown."""
    user = getattr(request, "user", None)
    if not isinstance(user, User):
        return {}
    return {
        "asset": money.ASSET,
        "navigation": navigation(user, request.path),
        "balance_minor": _balance(user),
    }


def navigation(user: User, path: str) -> list[Group]:
    """List what the user's roles can use."""
    work = [("Overview", "layout-dashboard", "overview")]
    if user.is_client:
        work += [
            ("Jobs", "photo", "job-list"),
            ("Data sets", "library-photo", "dataset-list"),
            ("Models", "cpu", "model-list"),
        ]
    groups = [("", work)]
    if user.is_operator:
        groups.append(("Earn", [("My nodes", "server-2", "node-list")]))
    groups += [
        ("Money", [("Wallet", "wallet", "wallet")]),
        ("Build", [("API keys", "key", "key-list"), ("API reference", "book", "api-docs")]),
        ("You", [("Identity", "id-badge-2", "identity"), ("Account", "user", "account")]),
    ]
    if user.is_staff:
        groups.append(
            (
                "Staff",
                [("Operations", "focus-2", "operations"), ("Desk", "shield-check", "admin:index")],
            )
        )
    return [
        Group(title=title, links=[_link(path, *line) for line in lines]) for title, lines in groups
    ]


def _link(path: str, title: str, icon: str, name: str) -> Link:
    url = reverse(name)
    is_current = path == url if name == "overview" else path.startswith(url)
    return Link(title=title, icon=icon, url=url, is_current=is_current)


def _balance(user: User) -> Callable[[], int]:
    return lambda: queries.wallet(user.pk).available_minor
