"""The Django app of the work itself."""

from __future__ import annotations

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """Jobs, nodes, checks: what is computed, by whom, and whether it is right."""

    name = "tasks"
    verbose_name = "Work"
