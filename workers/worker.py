"""The node as a Celery worker: reads its own queue, declares nothing, publishes no Celery.

Celery's gossip, mingle, events, heartbeats and remote control each want broker rights that
a node does not have, so the consumer itself is without them; then
`celery -A workers.app worker` needs no flags.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from types import FrameType
from typing import Any

from celery import Celery, bootsteps
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu import Exchange, Queue

from workers import config, identity, inbox, link
from workers.config import Config, Home
from workers.protocol import filebroker, tls
from workers.runtime import Runtime
from workers.sandbox import RoomLimits

logger = logging.getLogger(__name__)

ASSIGN = Exchange("assign", type="direct", no_declare=True)
#: Threads beyond the slots; they only verify and hand over.
SPARE_THREADS = 2
#: Pause before the queue is asked for again after the broker refused it, seconds.
REJOIN_SECONDS = 5.0
REJOIN_SECONDS_MIN = 0.2
QUIET_SECONDS = 60.0
#: A dead connection is noticed after about two and a half of these, within a lease.
BROKER_HEARTBEAT_SECONDS = 15
WAKE_SECONDS = 0.5
WITHOUT_EXTRAS = {
    "without_gossip": True,
    "without_mingle": True,
    "without_heartbeat": True,
    "task_events": False,
}


class NodeApp(Celery):
    """A Celery app that knows its node."""

    runtime: Runtime


class NodeConsumer(Consumer):
    """Celery's consumer without gossip, mingle, events and heartbeat, whatever the flags say.

    Leaving the steps out of the blueprint would not do: others require them.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        options["worker_options"] = (options.get("worker_options") or {}) | WITHOUT_EXTRAS
        super().__init__(*args, **options)
        self._failed_at = -QUIET_SECONDS

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        super().on_connection_error_before_connected(exc)
        self._pause()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        super().on_connection_error_after_connected(exc)
        self._pause()

    def _pause(self) -> None:
        """Wait before asking again: a retired node would otherwise ask many times a second.

        A lost connection after a quiet time is taken up again nearly at once.
        """
        self.app.runtime.listen(is_listening=False)  # type: ignore[attr-defined]  # a NodeApp
        is_first = time.monotonic() - self._failed_at > QUIET_SECONDS
        until = time.monotonic() + (REJOIN_SECONDS_MIN if is_first else REJOIN_SECONDS)
        while time.monotonic() < until and state.should_stop is None:
            time.sleep(0.1)
        self._failed_at = time.monotonic()


class ListeningStep(bootsteps.StartStopStep):
    """Tells the node when its queue is being read and when it no longer is."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        if parent.hub is not None:
            # A signal does not wake Celery's event loop; this lets it look for one.
            parent.hub.call_repeatedly(WAKE_SECONDS, _do_nothing)
        parent.app.runtime.listen(is_listening=True)

    def stop(self, parent: Any) -> None:
        parent.app.runtime.listen(is_listening=False)


class RuntimeStep(bootsteps.StartStopStep):
    """Starts the node before the consumer and stops it after."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        parent.app.runtime.start()

    def stop(self, parent: Any) -> None:
        """Finish what runs; a second signal, caught here, ends the wait."""
        hurry = threading.Event()

        def end_now(_number: int, _frame: FrameType | None) -> None:
            hurry.set()

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, end_now)
            signal.signal(signal.SIGTERM, end_now)
        parent.app.runtime.stop(is_hurried=hurry.is_set)

    def terminate(self, parent: Any) -> None:
        parent.app.runtime.stop(is_hurried=lambda: True)


def _do_nothing() -> None:
    """Serve as something to do."""


def make_app(
    home: Home, *, poll_seconds: float | None = None, room_limits: RoomLimits | None = None
) -> NodeApp:
    """Return the Celery app of the node enrolled in `home`.

    `poll_seconds` is how often a file broker's queue is looked at; its default when None.

    Raises:
        config.NotEnrolled, config.Damaged, identity.BadKeyFile.
    """
    settings = config.read(home)
    key = identity.load_key(home.key_file)
    # No fixups: Celery's Django fixup would import Django when its variable is set.
    app = NodeApp("nodefolk_node", set_as_current=False, fixups=[])
    app.runtime = Runtime(home=home, settings=settings, key=key, room_limits=room_limits)
    _configure(app, settings, poll_seconds)
    app.steps["worker"].add(RuntimeStep)
    app.steps["consumer"].add(ListeningStep)
    for name in inbox.MESSAGES:
        _register(app, name)
    return app


def _register(app: NodeApp, name: str) -> None:
    def receive(text: object, signature: object) -> None:
        app.runtime.receive(name, text, signature)

    app.task(name=name, ignore_result=True)(receive)


def _configure(app: NodeApp, settings: Config, poll_seconds: float | None) -> None:
    name = settings.broker.queue
    options = link.transport_options(settings.broker)
    if poll_seconds is not None and settings.broker.url.startswith(f"{filebroker.SCHEME}:"):
        options["polling_interval"] = poll_seconds
    app.conf.update(
        broker_url=config.broker_url(settings.broker),
        broker_transport_options=options,
        broker_use_ssl=tls.options(settings.broker.url),
        broker_heartbeat=BROKER_HEARTBEAT_SECONDS,
        broker_pool_limit=1,
        broker_login_method="PLAIN",
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        # Must be among task_queues, else Celery looks for a queue that is not there.
        task_default_queue=name,
        task_queues=[Queue(name, ASSIGN, name, no_declare=True)],
        task_create_missing_queues=False,
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=False,
        task_serializer="json",
        accept_content=["json"],
        worker_pool="threads",
        worker_concurrency=settings.slots + SPARE_THREADS,
        worker_prefetch_multiplier=1,
        worker_consumer=f"{__name__}:NodeConsumer",
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_enable_prefetch_count_reduction=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_redirect_stdouts=False,
        # Bounds how long a stop waits for the timer thread, seconds.
        worker_timer_precision=0.5,
        enable_utc=True,
    )
