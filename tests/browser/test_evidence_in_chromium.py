"""Refused work in a real browser: both answers drawn where they are, the appeal, the desk."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tasks.models import Appeal, Credibility, Replica
from tests import factories
from tests.browser.conftest import DESKTOP, PHONE
from tests.tasks import refusals

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SCREENS = [
    pytest.param(DESKTOP, "light", id="desktop"),
    pytest.param(PHONE, "dark", id="phone in the dark"),
]


@pytest.fixture
def refused(transactional_db, client_user, operator) -> Replica:
    nodes = [factories.make_node(operator), *factories.make_fleet(2)]
    return refusals.refused(client_user, nodes)


@pytest.mark.parametrize(("screen", "theme"), SCREENS)
def test_both_answers_are_drawn_where_they_are(sign_in, operator, refused, screen, theme):
    visit = sign_in(operator, screen=screen, theme=theme)

    visit.open(f"/work/{refused.pk}/")

    visit.page.locator(".canvas").scroll_into_view_if_needed()  # it is fetched when it is seen
    expect(visit.page.locator(".canvas img")).not_to_have_js_property("naturalWidth", 0)
    picture = visit.page.locator(".canvas img").bounding_box()
    scale = picture["width"] / 64
    for name, left in (("own", 30), ("right", 10)):
        drawn = visit.page.locator(f".boxes .said-by-{name} rect").bounding_box()
        assert drawn["x"] - picture["x"] == pytest.approx(left * scale, abs=2)
        assert drawn["width"] == pytest.approx(20 * scale, abs=4)
    assert visit.overflow() == 0
    assert visit.complaints == []


@pytest.mark.parametrize(("screen", "theme"), SCREENS)
def test_a_near_miss_is_told_calmly_on_both_pages(
    sign_in, operator, transactional_db, client_user, screen, theme
):
    node = factories.make_node(operator, profile={"images_per_second": 12.5})
    missed = refusals.nearly(client_user, [node, *factories.make_fleet(4)], checks=50)
    Credibility.objects.filter(node=node).update(image_ms=123.4)
    visit = sign_in(operator, screen=screen, theme=theme)

    visit.open(f"/nodes/{node.pk}/")
    expect(visit.page.locator("#warnings")).to_contain_text("It is a warning and no strike.")
    expect(visit.page.locator("main")).to_contain_text("81 in 10 s")
    assert visit.overflow() == 0
    visit.page.click("#warnings >> text=Look at the work")
    expect(visit.page.locator("main")).to_contain_text("was nearly right")
    assert visit.page.url.endswith(f"/work/{missed.pk}/")
    assert visit.overflow() == 0
    assert visit.complaints == []


@pytest.mark.parametrize(("screen", "theme"), SCREENS)
def test_an_operator_appeals_and_staff_decide(sign_in, operator, staff, refused, screen, theme):
    visit = sign_in(operator, screen=screen, theme=theme)
    visit.open(f"/nodes/{refused.node_id}/")
    assert visit.overflow() == 0
    visit.page.click("text=Look and appeal")
    visit.page.fill("[name=text]", "There is a person.")
    visit.page.click("#appeal button[type=submit]")
    expect(visit.page.locator("#appeal")).to_contain_text("a person looks at it")

    appeal = Appeal.objects.get()
    desk = sign_in(staff, screen=screen, theme=theme)
    desk.open(f"/appeals/{appeal.pk}/")
    expect(desk.page.locator("main")).to_contain_text("There is a person.")
    assert desk.overflow() == 0
    desk.page.fill("[name=note]", "We see it too.")
    desk.page.click("text=Uphold: pay and restore")
    expect(desk.page.locator("main")).to_contain_text("We see it too.")

    visit.open(f"/work/{refused.pk}/")
    expect(visit.page.locator("#appeal")).to_contain_text("You were right. We see it too.")
    assert Replica.objects.get(pk=refused.pk).state == "accepted"
    assert visit.complaints == desk.complaints == []
