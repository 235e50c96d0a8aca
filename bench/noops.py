"""Plain Celery: two solo workers, RabbitMQ, no result backend, tasks that only count."""

from __future__ import annotations

import mmap
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from celery import Celery

from portal.demo import stack

#: Its virtual host and user.
NAME = "noops"
TASKS = 2000
WORKERS = 2
SECONDS_MAX = 60
#: Each worker counts in a file of its own, eight bytes that the others may read.
COUNT_BYTES = 8
BROKER_VARIABLE, COUNT_VARIABLE = "BENCH_BROKER_URL", "BENCH_COUNT_FILE"

app = Celery("noops", broker=os.environ.get(BROKER_VARIABLE, "memory://"))
app.conf.update(
    task_ignore_result=True,
    result_backend=None,
    worker_prefetch_multiplier=64,
    task_default_queue="bench.noops",
    broker_connection_retry_on_startup=True,
    worker_enable_remote_control=False,
)
_counter: list[mmap.mmap] = []


@app.task
def noop() -> None:
    """Count that it ran."""
    if not _counter:
        with Path(os.environ[COUNT_VARIABLE]).open("r+b") as file:
            _counter.append(mmap.mmap(file.fileno(), COUNT_BYTES))
    count = int.from_bytes(_counter[0][:], "little") + 1
    _counter[0][:] = count.to_bytes(COUNT_BYTES, "little")


class Plain:
    """The running workers."""

    def __init__(self, counters: list[Path], url: str) -> None:
        self._counters = counters
        self._app = Celery("noops-client", broker=url)
        self._app.conf.update(app.conf.changes)
        self._app.conf.broker_url = url

    def done(self) -> int:
        """Return how many tasks ran so far."""
        return sum(int.from_bytes(path.read_bytes(), "little") for path in self._counters)

    def measure(self) -> float:
        """Publish TASKS tasks; return how many a second ran, from the first publish on."""
        before = self.done()
        started = time.monotonic()
        with self._app.producer_or_acquire() as producer:
            for _ in range(TASKS):
                self._app.send_task("bench.noops.noop", producer=producer, ignore_result=True)
        while self.done() - before < TASKS:
            if time.monotonic() - started > SECONDS_MAX:
                raise RuntimeError("the plain workers do not come to an end")
            time.sleep(0.005)
        return TASKS / (time.monotonic() - started)


@contextmanager
def workers(running: stack.Stack) -> Iterator[Plain]:
    """Start the workers on the platform's RabbitMQ, and stop them at the end."""
    url = _own_broker(running)
    counters, processes = [], []
    for number in range(WORKERS):
        path = running.data_dir / f"noops-{number}"
        path.write_bytes(bytes(COUNT_BYTES))
        counters.append(path)
        processes.append(
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "bench.noops", "worker"),
                    *("--pool", "solo", "--loglevel", "ERROR", "-n", f"noops-{number}@%h"),
                    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
                ],
                env={
                    **running.environment,
                    BROKER_VARIABLE: url,
                    COUNT_VARIABLE: str(path),
                    # Celery would take it over the address given above.
                    "BROKER_URL": url,
                },
                stdout=subprocess.DEVNULL,
                stderr=sys.stderr,
            )
        )
    plain = Plain(counters, url)
    try:
        yield plain
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=20)


def _own_broker(running: stack.Stack) -> str:
    """Make a virtual host with a user of its own: the platform's may declare nothing."""
    address = urlsplit(running.environment["BROKER_URL"]).netloc.rpartition("@")[2]
    management = httpx.URL(running.environment["BROKER_MANAGEMENT_URL"])
    password = secrets.token_hex(12)
    with httpx.Client(
        base_url=management.copy_with(username=None, password=None),
        auth=(management.username, management.password),
    ) as api:
        api.put(f"/api/vhosts/{NAME}").raise_for_status()
        api.put(f"/api/users/{NAME}", json={"password": password, "tags": ""}).raise_for_status()
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        api.put(f"/api/permissions/{NAME}/{NAME}", json=rights).raise_for_status()
    return f"amqp://{NAME}:{password}@{address}/{NAME}"
