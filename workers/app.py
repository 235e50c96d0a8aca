"""For `celery -A workers.app worker`: the app of the node in NODEFOLK_HOME.

Celery's own command takes a variable BROKER_URL, if there is one, over the node's login;
`nodefolk-node run` does not.
"""

from __future__ import annotations

from workers.config import Home
from workers.worker import make_app

app = make_app(Home.from_environment())
