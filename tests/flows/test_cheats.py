"""Two cheats among honest nodes, over the real broker, to the refused reward and the evidence.

Three real node processes compute; one stranger disputes what they see, another fails a picture
whose answer is known. The referee really computes, with the real model.
"""

from __future__ import annotations

import io
import re
from contextlib import ExitStack

import httpx
import pytest
from PIL import Image

from portal.demo import sample, stack
from tests.flows import real_node
from workers.protocol import messages

#: Three nodes start, gold is made, the referee loads a model twice.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

PHOTOS = stack.BASE_DIR / "portal" / "photos"
#: Of the operators 1 to 5: who runs an honest node, who disputes, who fails gold.
HONEST, DISPUTER, IGNORANT = (1, 2, 3), 4, 5


@pytest.fixture(scope="module")
def nodes(platform):
    """Three real nodes of three owners, ready and asleep."""
    with ExitStack() as started:
        running = [
            started.enter_context(real_node.running(platform, 70 + number, role=_role(number)))
            for number in HONEST
        ]
        for node in running:
            node.freeze()
        yield running
        for node in running:
            node.thaw()


@pytest.fixture
def make_gold(platform):
    """Return a function that makes gold of what was accepted, as beat does; none is left after."""

    def make() -> int:
        return platform.python(
            "from datetime import UTC, datetime\n"
            "from tasks.verification import gold\n"
            "print(json.dumps(gold.make(now=datetime.now(UTC))))",
            NODEFOLK_GOLD_STOCK="1",
        )

    yield make
    platform.python(
        "from tasks.models import GoldItem\n"
        "print(json.dumps(GoldItem.objects.update(uses=GoldItem.USES_MAX)))"
    )


@pytest.fixture
def photo(tmp_path):
    """A picture that shows four objects, so that it can become gold."""
    with Image.open(PHOTOS / "chelsea.png") as cat:
        small = cat.convert("RGB").resize((400, 400))
    four = Image.new("RGB", (800, 800))
    for place in [(0, 0), (400, 0), (0, 400), (400, 400)]:
        four.paste(small, place)
    path = tmp_path / "four.png"
    four.save(path)
    return path


def test_cheats_are_caught_refused_and_shown_why(platform, nodes, photo, make_gold):
    disputed = _buy(platform, photo)
    disputer = platform.puppet(DISPUTER)
    wrong = _answer_wrongly(disputer, disputed)
    _wake(nodes)
    first = platform.finish(disputed, seconds=120)
    _wait_for_word_on(platform, wrong)
    assert make_gold() >= 1
    _sleep(nodes)

    checked = _buy(platform, photo)
    ignorant = platform.puppet(IGNORANT)
    failed = _answer_wrongly(ignorant, checked)
    _wait_for_word_on(platform, failed)
    _wake(nodes)
    second = platform.finish(checked, seconds=120)
    _sleep(nodes)

    # What the client got is what honest nodes saw, both times.
    for outcome in (first, second):
        assert outcome.job["state"] == "finished"
        assert [found["label"] for found in outcome.lines[0]["detections"]] == ["cat"] * 4
    assert _caught(platform, [wrong, failed]) == {
        wrong: ["rejected", "wrong", "referee", True, "watched", 0],
        failed: ["rejected", "gold_failed", "gold", True, "watched", 0],
    }
    assert _jobs(platform, [disputed, checked]) == {disputed: [1, 0], checked: [0, 3]}
    assert _struck_among(platform, [node.node_id for node in nodes]) == 0
    platform.assert_sound()

    page = _evidence(platform, DISPUTER, wrong)
    assert "Answers differed, so the platform computed the pictures on its own machine." in page
    assert 'class="said-by-own"' in page
    assert 'class="said-by-right"' in page
    page = _evidence(platform, IGNORANT, failed)
    assert "One of the pictures was one whose answer the platform had computed before" in page
    # Which one it was stays unsaid while its chunk is not settled.
    assert 'class="said-by-right"' not in page


def _role(number: int) -> str:
    return "operator" if number == 1 else f"operator-{number}"


def _buy(platform, photo) -> str:
    with platform.api() as api:
        dataset = sample.upload(api, name="four cats", photos=[photo])
        return str(sample.submit(api, dataset=dataset, target_error="1e-2")["id"])


def _answer_wrongly(puppet, job_id: str) -> int:
    """Take the job's first assignment while honest nodes sleep; tell of a person on each picture."""
    puppet.beat()
    puppet.ack(job_id)
    assignment = puppet.next(messages.Assignment)
    puppet.beat(assignment.assignment)
    answers = [_lie_about(each) for each in assignment.inputs]
    puppet.send("report", puppet.report(assignment, answers=answers))
    return int(assignment.assignment)


def _lie_about(picture: messages.Input) -> messages.Answer:
    """Fetch the picture, as it must be known how large it is, and make something up."""
    data = httpx.get(picture.url, timeout=30).raise_for_status().content
    with Image.open(io.BytesIO(data)) as opened:
        width, height = opened.size
    return messages.Answer(
        position=picture.position,
        width=width,
        height=height,
        detections=[(1, 0.9, 10.0, 5.0, 30.0, 40.0)],
    )


def _wake(nodes) -> None:
    for node in nodes:
        node.thaw()


def _sleep(nodes) -> None:
    for node in nodes:
        node.freeze()


def _wait_for_word_on(platform, replica_id: int) -> None:
    def is_struck() -> bool:
        return bool(
            platform.python(
                "from tasks.models import Strike\n"
                f"found = Strike.objects.filter(replica={replica_id}, enforced_at__isnull=False)\n"
                "print(json.dumps(found.count()))"
            )
        )

    stack.wait_until(is_struck, seconds=60, what=f"a strike for {replica_id}")


def _caught(platform, replica_ids):
    """Return state, reason, cause, whether it counts, standing and reward of each."""
    rows = platform.python(
        "from payments import queries\n"
        "from tasks.models import Credibility, Replica\n"
        f"rows = Replica.objects.filter(pk__in={replica_ids!r}).select_related('strike', 'job')\n"
        "rewards = queries.rewards([str(row.pk) for row in rows])\n"
        "found = {row.pk: [row.state, row.reason, row.strike.cause, row.strike.is_counted,\n"
        "    Credibility.objects.get(node=row.node_id, model=row.job.model_id).state,\n"
        "    sum(paid.reward_minor for key, paid in rewards.items() if key == str(row.pk))]\n"
        "    for row in rows}\n"
        "print(json.dumps(found))"
    )
    return {int(pk): row for pk, row in rows.items()}


def _jobs(platform, job_ids):
    """Return how often the referee computed for each job, and how many gold answers it had."""
    return platform.python(
        "from tasks.models import Job\n"
        f"jobs = Job.objects.in_bulk({job_ids!r})\n"
        "print(json.dumps({pk: [job.referee_runs, job.gold_checks] for pk, job in jobs.items()}))"
    )


def _struck_among(platform, node_ids) -> int:
    return platform.python(
        "from tasks.models import Strike\n"
        f"print(json.dumps(Strike.objects.filter(node__in={node_ids!r}).count()))"
    )


def _evidence(platform, number: int, replica_id: int) -> str:
    """Sign in as the operator, and read the page of the refused work."""
    login = platform.logins[_role(number)]
    with httpx.Client(base_url=platform.stack.url, follow_redirects=True, timeout=30) as browser:
        form = browser.get("/accounts/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
        assert token, form.text
        signed_in = browser.post(
            str(form.url),
            data={
                "login": login["email"],
                "password": login["password"],
                "csrfmiddlewaretoken": token[1],
            },
            headers={"Referer": str(form.url)},
        )
        assert signed_in.status_code == 200
        answer = browser.get(f"/work/{replica_id}/")
    assert answer.status_code == 200
    return answer.text
