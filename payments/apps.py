"""The Django app that keeps the money."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models import Field, ForeignObject

from payments import arrays


class PaymentsConfig(AppConfig):
    """Ledger, prices and wallets; knows nothing of jobs or nodes."""

    name = "payments"
    label = "payments"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Let all queries ask for many values at once (`any_of`)."""
        for kind in (Field, ForeignObject):  # the latter has lookups of its own
            kind.register_lookup(arrays.AnyOf)
