"""`manage.py demo`: what it prints and writes, and that nothing of it stays behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import pytest

from portal.demo import stack

pytestmark = pytest.mark.slow


def start_demo(data_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a demo of two nodes on a free port."""
    argv = [sys.executable, "manage.py", "demo", "--data", str(data_dir), "--nodes", "2"]
    return subprocess.Popen(
        [*argv, "--port", str(stack.free_port()), *arguments],
        cwd=stack.BASE_DIR,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def processes_of(data_dir: Path) -> dict[int, str]:
    """Return pid -> command line of every process whose environment names the folder."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"NODEFOLK_DATA={data_dir}".encode() in environment:
            found[int(folder.name)] = command
    return found


def is_gone(data_dir: Path) -> bool:
    return processes_of(data_dir) == {}


def read_report(demo: subprocess.Popen[str]) -> dict[str, object]:
    assert demo.stdout is not None
    return json.loads(demo.stdout.readline())


@pytest.mark.timeout(240)
def test_two_demos_side_by_side_then_a_crash_then_ctrl_c(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    demos = [start_demo(folder) for folder in folders]
    try:
        reports = [read_report(demo) for demo in demos]
        assert [(report["ok"], report["acks"]) for report in reports] == [(True, 2)] * 2
        documents = [json.loads((folder / "demo.json").read_text()) for folder in folders]
        assert documents[0]["url"] != documents[1]["url"]
        for document in documents:
            assert set(document["users"]) == {"client", "operator", "annotator", "staff"}
            key = document["users"]["client"]["api_key"]
            headers = {"Authorization": f"Bearer {key}"}
            me = httpx.get(f"{document['url']}/api/v1/me/", headers=headers).json()
            assert me["email"] == document["users"]["client"]["email"]

        (ingest,) = [pid for pid, line in processes_of(folders[0]).items() if "ingest" in line]
        os.kill(ingest, signal.SIGKILL)
        stack.wait_until(
            lambda: any(
                "ingest" in line and pid != ingest for pid, line in processes_of(folders[0]).items()
            ),
            seconds=20,
            what="the ingest's restart",
        )
    finally:
        for demo in demos:
            demo.send_signal(signal.SIGINT)
        codes = [demo.wait(timeout=60) for demo in demos]

    for demo in demos:
        demo.stdout.close()
    assert codes == [0, 0]
    for folder in folders:
        stack.wait_until(partial(is_gone, folder), seconds=10, what="the last process")


@pytest.mark.timeout(240)
def test_a_demo_that_is_killed_outright_takes_its_processes_along(tmp_path):
    demo = start_demo(tmp_path)
    read_report(demo)

    demo.kill()
    demo.wait()
    demo.stdout.close()

    stack.wait_until(partial(is_gone, tmp_path), seconds=30, what="the last process")


def test_a_taken_port_is_said_before_anything_starts(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        argv = [sys.executable, "manage.py", "demo", "--data", str(tmp_path / "x")]
        done = subprocess.run(
            [*argv, "--port", str(listener.getsockname()[1])],
            cwd=stack.BASE_DIR,
            check=False,
            capture_output=True,
            text=True,
        )

    assert done.returncode == 1
    assert "is in use; choose another with --port" in done.stderr
    assert not (tmp_path / "x").exists()
