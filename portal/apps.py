"""The Django app of the site: people, keys, pages and the API."""

from __future__ import annotations

from django.apps import AppConfig


class PortalConfig(AppConfig):
    """Users, API keys, KYC, pages and the public API."""

    name = "portal"
    verbose_name = "People"
