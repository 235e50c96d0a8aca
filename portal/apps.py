"""The Django app of the site: people, keys, pages and the API."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register

from portal import checks


class PortalConfig(AppConfig):
    """Users, API keys, KYC, pages and the public API."""

    name = "portal"
    verbose_name = "People"

    def ready(self) -> None:
        """Register the system checks."""
        register(checks.check_embedded_parts, Tags.security, deploy=True)
        register(checks.check_transport, Tags.security, deploy=True)
