"""Each word for why a node does not work: on its page, in the API and in its terminal."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from portal.models import User
from tasks import nodes, scheduling
from tasks.models import CatalogModel, Job, Node, Strike
from tasks.operations import draining
from tasks.reasons import NodeReason
from tasks.verification import faults, strikes
from tests import factories
from tests.portal.api import calls
from tests.portal.machines import Machine
from tests.tasks import work
from workers import config, events
from workers.protocol.allowance import Allowance

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True)
class Scene:
    """A node that is ready, its operator, and a client with a model to ask for."""

    machine: Machine
    operator: User
    client: User
    model: CatalogModel

    @property
    def node(self) -> Node:
        return self.machine.node

    def job(self, owner: User | None = None, *, others: int = 0, **fields) -> Job:
        """Submit a job that this node and `others` have acknowledged; give its work out."""
        now = timezone.now()
        fellows = factories.make_fleet(others, slots=8, last_seen_at=now)
        job = factories.make_job(owner or self.client, model=self.model.pk, now=now, **fields)
        factories.announce(job, nodes=[self.node, *fellows], now=now)
        return job

    def give_out(self) -> None:
        scheduling.assign_ready(now=timezone.now())

    def catch(self, *days_ago: int) -> None:
        """Let the node be caught so many days ago, for an answer of that day."""
        for days in days_ago:
            at = timezone.now() - timedelta(days=days)
            job = self.job()
            self.give_out()
            replica = job.replicas.get(node=self.node)
            work.take(work.report_of(replica), now=at)
            replica.refresh_from_db()
            cause = Strike.Cause.REFEREE
            with transaction.atomic():
                faults.record(replicas=[replica], model_id=self.model.pk, cause=cause, now=at)
            strikes.enforce(now=at)
            Job.objects.filter(pk=job.pk).update(state=Job.State.CANCELLED)
            self.machine.beat()  # last heard of on that day


@pytest.fixture
def scene(make_machine) -> Scene:
    operator = factories.make_user("operator", is_person=True)
    machine = make_machine(operator, numeric_class="avx2")
    return Scene(machine, operator, factories.make_user("client"), factories.make_model())


def no_work(scene: Scene) -> None:
    scene.machine.look()


def no_work_for_class(scene: Scene) -> None:
    CatalogModel.objects.update(is_class_pinned=True)
    job = scene.job(others=0, images=1)
    other = factories.make_fleet(1, numeric_class="avx512", last_seen_at=timezone.now())
    Node.objects.filter(pk=scene.node.pk).update(slots=0)  # the other one has it first
    factories.announce(job, nodes=other)
    scene.give_out()
    scene.machine.look()
    Node.objects.filter(pk=scene.node.pk).update(slots=4)


def no_match(scene: Scene) -> None:
    sibling = factories.make_node(scene.operator, slots=8, last_seen_at=timezone.now())
    job = factories.make_job(scene.client, model=scene.model.pk)
    factories.announce(job, nodes=[sibling])
    scene.give_out()
    factories.announce(job, nodes=[scene.node])


def own_work(scene: Scene) -> None:
    User.objects.filter(pk=scene.operator.pk).update(is_client=True)
    scene.job(scene.operator)


def quota_low(scene: Scene) -> None:
    for _ in range(3):  # 4 at one time, then 3, 2, 1
        job = scene.job()
        scene.give_out()
        failed = work.report_of(
            job.replicas.get(node=scene.node), status="failed", reason="model_died", answers=[]
        )
        work.take(failed, now=timezone.now())
        Job.objects.filter(pk=job.pk).update(state=Job.State.CANCELLED)
    scene.job(images=8)
    scene.give_out()


def quarantined(scene: Scene) -> None:
    scene.catch(10, 1)


def banned(scene: Scene) -> None:
    scene.catch(25, 15, 1)


def paused_locally(scene: Scene) -> None:
    config.pause(scene.machine.home)
    scene.machine.look()


def paused_on_page(scene: Scene) -> None:
    nodes.pause(node_id=scene.node.pk, now=timezone.now())
    scene.machine.hear_page()


def model_downloading(scene: Scene) -> None:
    scene.machine.restart()


def offline(scene: Scene) -> None:
    scene.machine.fall_silent()


def schedule(scene: Scene) -> None:
    scene.machine.limit(schedule=["sun 03:00-04:00"])


def battery(scene: Scene) -> None:
    scene.machine.limit(battery=False)
    scene.machine.look(is_on_battery=True)


def too_hot(scene: Scene) -> None:
    scene.machine.limit(celsius=80)
    scene.machine.look(celsius=81)


def metered(scene: Scene) -> None:
    scene.machine.limit(metered=False)
    scene.machine.look(is_metered=True)


def exclusive_program(scene: Scene) -> None:
    scene.machine.limit(exclusive_programs=["steam"])
    scene.machine.look(programs=frozenset({"steam"}))


def user_active(scene: Scene) -> None:
    scene.machine.limit(only_when_idle=True)
    scene.machine.look(busy_percent=90.0)


def memory_low(scene: Scene) -> None:
    scene.machine.limit(memory_free_mib=1000)
    scene.machine.look(memory_free_bytes=10 * 2**20)


def disk_full(scene: Scene) -> None:
    scene.machine.look(disk_free_bytes=10 * 2**20)


def bad_limits(scene: Scene) -> None:
    scene.machine.home.limits_file.write_text("cores = 'all'")
    scene.machine.restart()


def kinds_excluded(scene: Scene) -> None:
    nodes.set_wishes(node_id=scene.node.pk, wishes=Allowance(kinds=["detect"]))
    scene.machine.hear_page()
    scene.machine.limit(kinds=["classify"])


def categories_excluded(scene: Scene) -> None:
    nodes.set_wishes(node_id=scene.node.pk, wishes=Allowance(client_categories=["research"]))
    scene.machine.hear_page()
    scene.machine.limit(client_categories=["commercial"])


def clock_skew(scene: Scene) -> None:
    scene.machine.steering.skew_seconds = 400.0
    scene.machine.look()


def suspended(scene: Scene) -> None:
    nodes.suspend(node_id=scene.node.pk, now=timezone.now())
    scene.machine.fall_silent()


def flooding(scene: Scene) -> None:
    nodes.suspend(node_id=scene.node.pk, now=timezone.now(), reason=NodeReason.FLOODING)
    scene.machine.fall_silent()


def drained(scene: Scene) -> None:
    draining.drain(
        node_id=scene.node.pk,
        staff_id=factories.make_user("staff").pk,
        note="a look at it",
        now=timezone.now(),
    )


def retired(scene: Scene) -> None:
    nodes.retire(node_id=scene.node.pk, now=timezone.now())
    scene.machine.fall_silent()


SITUATIONS: dict[NodeReason, Callable[[Scene], None]] = {
    reason: globals()[reason.value] for reason in NodeReason
}


def on_page(scene: Scene) -> tuple[str, str]:
    shown = calls.get(calls.key_client(scene.operator), f"nodes/{scene.node.pk}/").json()
    return shown["reason"], shown["reason_text"]


@pytest.mark.parametrize("reason", NodeReason, ids=str)
def test_page_api_and_terminal_say_the_same_word(scene, client, capsys, reason):
    SITUATIONS[reason](scene)
    client.force_login(scene.operator)

    word, text = on_page(scene)
    page = client.get(f"/nodes/{scene.node.pk}/").content.decode()
    capsys.readouterr()
    scene.machine.status()
    terminal = capsys.readouterr().out
    scene.machine.status("--json")
    in_json = json.loads(capsys.readouterr().out)

    assert (word, text) == (reason.value, reason.label)
    assert html.escape(reason.label) in page
    (line,) = [line for line in terminal.splitlines() if line.startswith("reason ")]
    assert line.split(maxsplit=1)[1].startswith(f"{reason.value}: {reason.label}")
    # What is merely idle has no code of its own while nobody was asked.
    assert (in_json["reason"] or "no_work") == reason.value


@pytest.mark.parametrize("reason", ["suspended", "flooding", "retired"])
def test_a_node_that_was_put_out_says_so_itself(scene, capsys, reason):
    SITUATIONS[NodeReason(reason)](scene)

    assert scene.machine.status("--json") == 1

    shown = json.loads(capsys.readouterr().out)
    assert shown["issues"] == [f"{NodeReason(reason).label} Its queue cannot be read."]


def test_while_the_portal_is_away_the_terminal_says_what_the_machine_knows(scene, capsys):
    nodes.suspend(node_id=scene.node.pk, now=timezone.now())
    scene.machine.fall_silent()
    known = config.read(scene.machine.home)
    nowhere = known.model_copy(update={"portal_url": "http://127.0.0.1:9"})
    config.write(scene.machine.home, nowhere)

    assert scene.machine.status("--json") == 1

    shown = json.loads(capsys.readouterr().out)
    assert shown["reason"] == "offline"
    assert shown["issues"] == ["The node's queue cannot be read: it may be retired or suspended."]


def test_a_node_at_work_has_no_reason_anywhere(scene, capsys):
    job = scene.job()
    scene.give_out()
    held = job.replicas.get(node=scene.node)
    scene.machine.feed(events.Assigned((work.assignment_of(held, now=timezone.now()),)))
    capsys.readouterr()

    assert scene.machine.status() == 0

    assert on_page(scene) == ("", "")
    assert "reason         working" in capsys.readouterr().out


def test_the_machines_own_word_comes_before_the_platforms_idle_ones(scene, capsys):
    no_match(scene)
    battery(scene)
    capsys.readouterr()

    scene.machine.status("--json")

    assert json.loads(capsys.readouterr().out)["reason"] == on_page(scene)[0] == "battery"
