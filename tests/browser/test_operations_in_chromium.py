"""Staff's pages in a real browser: nothing is cut off, an act asks first and is done."""

from __future__ import annotations

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from tasks.models import Credibility, Job, Node
from tasks.operations import draining, platform
from tests import factories
from tests.browser.conftest import DESKTOP, PHONE
from tests.portal.web import scenes
from tests.tasks import work

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SCREENS = [
    pytest.param(DESKTOP, "light", id="desktop"),
    pytest.param(PHONE, "dark", id="phone in the dark"),
]


@pytest.fixture
def busy(transactional_db, client_user, operator, staff) -> Node:
    """A platform with a bit of everything; return a node that did work."""
    now = timezone.now()
    node = factories.make_node(operator, last_seen_at=now, name="attic")
    fleet = factories.make_fleet(3, slots=1)
    job = scenes.finished_job(client_user, [node, fleet[0]], images=1, now=now)
    running = work.start(client_user, fleet[:2], images=3)
    factories.announce(running, nodes=fleet[2:])
    factories.make_job(factories.make_user(), now=now)
    Credibility.objects.filter(model=job.model_id).update(state=Credibility.State.TRUSTED)
    Node.objects.update(last_seen_at=now)
    drained = factories.make_node(operator, last_seen_at=now, name="cellar")
    draining.drain(
        node_id=drained.pk, staff_id=staff.pk, note="A new disk comes on Monday.", now=now
    )
    platform.note_sweep({"resent": 2, "expired": 0}, now=now)
    return node


@pytest.mark.parametrize(("screen", "theme"), SCREENS)
def test_staff_see_the_platform_and_drain_a_node(sign_in, staff, busy, screen, theme):
    visit = sign_in(staff, screen=screen, theme=theme)

    visit.open("/operations/")
    expect(visit.page.locator("main")).to_contain_text("platform.reports")
    expect(visit.page.locator("main")).to_contain_text("cellar")
    assert visit.overflow() == 0
    visit.page.fill("[name=id]", busy.pk)
    visit.page.click("main form button:has-text('Find')")
    expect(visit.page.locator("h1")).to_contain_text("attic")
    assert visit.overflow() == 0
    visit.page.click(".actions >> text=Drain")
    visit.page.fill("[name=note]", "It moves.")
    assert visit.overflow() == 0
    visit.page.click("text=Give it no new work")
    expect(visit.page.locator("main")).to_contain_text("It moves.")
    assert Node.objects.get(pk=busy.pk).drained_at is not None
    assert visit.overflow() == 0
    assert visit.complaints == []


@pytest.mark.parametrize(("screen", "theme"), SCREENS)
def test_staff_verify_a_job_again_and_drain_everything(sign_in, staff, busy, screen, theme):
    job = Job.objects.get(state=Job.State.FINISHED)
    visit = sign_in(staff, screen=screen, theme=theme)

    visit.open(f"/operations/jobs/{job.pk}/")
    assert visit.overflow() == 0
    visit.page.click("text=Verify again")
    expect(visit.page.locator("[name=by]")).to_be_visible()
    assert visit.overflow() == 0
    visit.page.click("text=Compute again")
    expect(visit.page.locator("main")).to_contain_text("Chunks computed again: 1.")
    visit.open("/operations/platform/drain/")
    visit.page.fill("[name=note]", "Moving house.")
    visit.page.click("text=Give out no new work")
    expect(visit.page.locator("main")).to_contain_text("Moving house.")
    assert platform.is_drained()
    assert visit.overflow() == 0
    assert visit.complaints == []
