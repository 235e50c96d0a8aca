"""The platform's Celery app: background work that the platform itself wrote.

It never reads what a node wrote (see `tasks.ingest` for that): Celery obeys the envelope
before anybody can check who sent it.
"""

from __future__ import annotations

import os

from celery import Celery
from celery.worker.consumer import Consumer
from django.conf import settings

from tasks import queues
from workers.protocol import alarms, filebroker, tls

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

#: Seconds between two sweeps; a lost message is rebuilt within about this time.
SWEEP_SECONDS = 2.0
#: Seconds between two looks for late work: each adds to how long its result takes.
HEDGE_SECONDS = 1.0
#: Seconds between two runs of the ledger's poster.
POST_SECONDS = 0.5
MATURE_SECONDS = 30.0
#: Seconds between two looks at the stock of gold pictures.
GOLD_SECONDS = 15.0


class PlatformConsumer(Consumer):
    """Celery's consumer without delayed delivery.

    With quorum queues that step declares 28 queues and needs the right to; our far times
    live in the database.
    """

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc,valid-type]  # a class attribute of theirs
        default_steps = [
            step
            for step in Consumer.Blueprint.default_steps
            if not str(step).endswith(":DelayedDelivery")
        ]


app = Celery("nodefolk_platform")
app.conf.update(
    broker_url=settings.BROKER_URL,
    broker_heartbeat=30,
    broker_use_ssl=tls.options(settings.BROKER_URL),
    broker_connection_retry_on_startup=True,
    broker_transport_options=(
        filebroker.transport_options(settings.BROKER_URL)
        if settings.BROKER_URL.startswith("filebroker:")
        else {"confirm_publish": True, "on_blocked": alarms.refuse}
    ),
    task_queues=queues.WORKER_QUEUES,
    task_default_queue=queues.WORK.name,
    task_default_exchange=queues.INTERNAL.name,
    task_default_routing_key=queues.WORK.routing_key,
    task_create_missing_queues=False,
    task_ignore_result=True,
    result_backend=None,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=4,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    worker_consumer=PlatformConsumer,
    worker_soft_shutdown_timeout=5,
    task_time_limit=120,
    task_soft_time_limit=100,
    accept_content=["json"],
    task_serializer="json",
    timezone="UTC",
    beat_schedule_filename=str(settings.DATA_DIR / "beat-schedule"),
    beat_schedule={
        "sweep": {"task": "tasks.sweep", "schedule": SWEEP_SECONDS, "options": {"expires": 10}},
        "hedge": {"task": "tasks.hedge", "schedule": HEDGE_SECONDS, "options": {"expires": 2}},
        "gold": {
            "task": "tasks.make_gold",
            "schedule": GOLD_SECONDS,
            "options": {"expires": 10, "queue": queues.worker_queue("tasks.make_gold").name},
        },
        "post": {
            "task": "payments.post_intents",
            "schedule": POST_SECONDS,
            "options": {"expires": 10},
        },
        "mature": {
            "task": "payments.mature",
            "schedule": MATURE_SECONDS,
            "options": {"expires": 60},
        },
    },
)
app.autodiscover_tasks(["tasks", "payments"], related_name="background")
