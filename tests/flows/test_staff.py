"""Staff act through their pages on a running platform; nodes and clients notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.flows.puppet import Puppet
from workers.protocol import messages

pytestmark = [pytest.mark.slow, pytest.mark.embedded]


@pytest.fixture
def desk(platform) -> Iterator[Desk]:
    with httpx.Client(base_url=platform.stack.url, follow_redirects=True, timeout=30) as browser:
        login = platform.logins["staff"]
        desk = Desk(browser)
        desk.post("/accounts/login/", login=login["email"], password=login["password"])
        yield desk


class Desk:
    """A signed-in browser of staff."""

    def __init__(self, browser: httpx.Client) -> None:
        self.browser = browser

    def post(self, path: str, **fields: str) -> str:
        """Open the question, then answer it; return the page that follows."""
        self.browser.get(path).raise_for_status()
        token = self.browser.cookies["csrftoken"]
        answer = self.browser.post(
            path,
            data={**fields, "csrfmiddlewaretoken": token},
            headers={"Referer": f"{self.browser.base_url}{path}"},
        )
        return answer.raise_for_status().text


def puppets(platform, *numbers: int) -> list[Puppet]:
    made = [platform.puppet(number) for number in numbers]
    for puppet in made:
        puppet.beat()
    return made


@contextmanager
def beating(node: Puppet, *running: str) -> Iterator[None]:
    """Let the node say every second that it lives, and what it computes."""
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(1):
            node.beat(*running)

    node.beat(*running)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def job_of(platform, job_id: str) -> dict:
    with platform.api() as api:
        return api.get(f"jobs/{job_id}/").raise_for_status().json()


def wait_for(look, seconds: float = 60):
    """Return what `look` answers once it answers anything."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.2)
    raise AssertionError("it did not come")


def test_a_node_that_lost_its_messages_is_sent_them_again(platform, desk, submit, finish):
    first, second = puppets(platform, 1, 2)
    job_id = submit()
    first.ack(job_id)
    lost = first.next(messages.Assignment)
    # Begun, so no sweep sends it again.
    with beating(first, lost.assignment):
        page = desk.post(f"/operations/nodes/{first.node_id}/replay/")
        assert "1 assignments" in page
        again = first.next(messages.Assignment)
    assert (again.assignment, again.nonce) == (lost.assignment, lost.nonce)
    first.send("report", first.report(again))
    second.work(job_id)
    assert finish(job_id).job["state"] == "finished"
    platform.assert_sound()


def test_a_drained_platform_keeps_its_work_until_it_goes_on(platform, desk, submit, finish):
    nodes = puppets(platform, 1, 2)
    desk.post("/operations/platform/drain/", note="An upgrade.")
    job_id = submit()
    nodes[0].ack(job_id)

    reason = wait_for(lambda: job_of(platform, job_id)["reason"])

    assert reason == "platform_drained"
    desk.post("/operations/platform/resume/")
    for node in nodes:
        node.work(job_id)
    assert finish(job_id).job["state"] == "finished"
    platform.assert_sound()


def test_what_a_quarantined_node_answered_is_computed_again(platform, desk, submit, finish):
    odd, second, third = puppets(platform, 1, 2, 3)
    job_id = submit()
    for node in (odd, second):
        node.work(job_id)
    finish(job_id)

    page = desk.post(f"/operations/nodes/{odd.node_id}/quarantine/", model="", note="Odd.")

    assert "Quarantined; answers doubted: 1." in page
    third.ack(job_id)
    with beating(third):
        assignment = third.next(messages.Assignment)
    third.send("report", third.report(assignment))

    def is_confirmed() -> bool:
        return "0 in question" in desk.browser.get(f"/operations/jobs/{job_id}/").text

    wait_for(is_confirmed)
    page = desk.post(f"/operations/nodes/{odd.node_id}/lift/", model="")
    assert "Lifted; answers believed again: 1." in page
    platform.assert_sound()
