"""Who asks, and whether they may: API keys, their scopes, roles and known persons."""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from portal import keys, kyc
from portal.models import ApiKey, User

_SCHEME = "bearer"
_CHALLENGE = 'Bearer realm="nodefolk"'
#: `request.auth` of who shows the scrape token.
SCRAPE_TOKEN = "scrape token"  # noqa: S105 -- the name of one


class Forbidden(PermissionDenied):
    """The caller is known and may not do this; the code says what is missing."""


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <api key>`; other schemes are left to others."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        secret = _bearer(request)
        if secret is None:
            return None
        key = keys.find(secret, timezone.now())
        if key is None:
            raise AuthenticationFailed("This API key is not valid.", code="key_invalid")
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return _CHALLENGE


class Scraper:
    """Who shows the scrape token: no user, and good for nothing but the metrics."""

    is_authenticated = True
    pk = "scraper"


class ScrapeTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <NODEFOLK_METRICS_TOKEN>`; any other secret is left to others."""

    def authenticate(self, request: Request) -> tuple[Scraper, str] | None:
        secret, token = _bearer(request), settings.METRICS_TOKEN
        if secret is None or not token:
            return None
        is_token = secrets.compare_digest(secret.encode(), token.encode())
        return (Scraper(), SCRAPE_TOKEN) if is_token else None

    def authenticate_header(self, request: Request) -> str:
        return _CHALLENGE


def _bearer(request: Request) -> str | None:
    """Return the secret of the header; None for none, or another scheme."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == _SCHEME else None


class HasScope(BasePermission):
    """A key does only what its scopes say; someone signed in on the site has no such limit.

    The view's `scope` covers all its methods, `scope_to_change` only those that change
    something; `read` covers the safe ones of every view.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        is_safe = request.method in SAFE_METHODS
        scope = view.scope if is_safe else view.scope_to_change or view.scope
        if not isinstance(request.auth, ApiKey) or scope is None:
            return True
        enough = {scope, "read"} if is_safe else {scope}
        if enough.isdisjoint(request.auth.scopes):
            raise Forbidden(f"The key lacks the scope {scope!r}.", code="scope_missing")
        return True


class HasRole(BasePermission):
    """To create something the user needs the view's `role`.

    What exists is guarded by whose it is, so a role taken away later hides nothing.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        if request.method in SAFE_METHODS or view.role in {None, *signed_in(request).roles}:
            return True
        raise Forbidden(f"This needs the role {view.role!r}.", code="role_missing")


class IsPerson(BasePermission):
    """Views that pay a human need to know which one."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not view.needs_person or kyc.is_person(signed_in(request)):
            return True
        raise Forbidden("Your identity has to be confirmed first.", code="kyc_required")


def signed_in(request: Request) -> User:
    """Return the user of a request that passed `IsAuthenticated`."""
    assert isinstance(request.user, User)
    return request.user
