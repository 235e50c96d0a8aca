"""Several test processes at once: each has a virtual host and a data folder of its own.

Loaded by `-p tests.lanes`, before Django reads its settings. The database's name is taken
care of by pytest-django.
"""

from __future__ import annotations

import os

from tests import servers

_lane = os.environ.get("PYTEST_XDIST_WORKER")
if _lane:
    os.environ["NODEFOLK_DATA"] = os.path.join(os.environ["NODEFOLK_DATA"], _lane)  # noqa: PTH118
    if os.environ.get("BROKER_MANAGEMENT_URL"):
        os.environ.update(servers.own_broker())
