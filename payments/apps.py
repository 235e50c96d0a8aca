"""The Django app that keeps the money."""

from __future__ import annotations

from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    """Ledger, prices and wallets; knows nothing of jobs or nodes."""

    name = "payments"
    label = "payments"
    default_auto_field = "django.db.models.BigAutoField"
