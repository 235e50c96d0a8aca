"""For `celery -A workers.app worker`: the app of the node in NODEFOLK_HOME."""

from __future__ import annotations

from workers.config import Home
from workers.worker import make_app

app = make_app(Home.from_environment())
