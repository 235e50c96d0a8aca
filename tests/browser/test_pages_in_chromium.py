"""Pages as a real browser has them: no complaint, no sideways scrolling, live parts alive."""

from __future__ import annotations

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from tasks.models import Job
from tests import factories
from tests.browser.conftest import DESKTOP, PHONE
from tests.portal.web import scenes

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SCREENS = [
    pytest.param(DESKTOP, "light", id="desktop"),
    pytest.param(PHONE, "dark", id="phone in the dark"),
]


@pytest.fixture
def job(transactional_db, client_user, operator) -> Job:
    numeric = "ort-1.32.0/cpu/all/x64precision/x86_64-amx_int8"
    nodes = [factories.make_node(operator, last_seen_at=timezone.now(), numeric_class=numeric)]
    nodes += factories.make_fleet(2, last_seen_at=timezone.now())
    return scenes.finished_job(client_user, nodes, images=2, now=timezone.now())


@pytest.mark.parametrize(("screen", "theme"), SCREENS)
def test_a_clients_pages_load_without_complaint_and_fit(sign_in, client_user, job, screen, theme):
    item = job.items.order_by("pk").first()
    visit = sign_in(client_user, screen=screen, theme=theme)
    paths = ["/", "/jobs/", "/jobs/new/", f"/jobs/{job.pk}/", f"/jobs/{job.pk}/pictures/{item.pk}/"]
    paths += ["/datasets/", f"/datasets/{job.dataset_id}/", "/wallet/", "/keys/", "/account/"]

    for path in paths:
        visit.open(path)
        assert (path, visit.overflow()) == (path, 0)

    assert visit.complaints == []
    assert visit.page.get_attribute("html", "data-bs-theme") == theme


@pytest.mark.parametrize(("screen", "theme"), SCREENS)
def test_an_operators_pages_load_without_complaint_and_fit(sign_in, operator, job, screen, theme):
    replica = job.replicas.filter(operator=operator).first()
    visit = sign_in(operator, screen=screen, theme=theme)
    paths = ["/", "/nodes/", "/nodes/new/", f"/nodes/{replica.node_id}/", f"/work/{replica.pk}/"]

    for path in [*paths, "/wallet/", "/identity/"]:
        visit.open(path)
        assert (path, visit.overflow()) == (path, 0)

    assert visit.complaints == []


def test_the_desk_of_staff_keeps_to_the_content_policy(sign_in, staff, job):
    visit = sign_in(staff, screen=DESKTOP)

    for path in ("/admin/", "/admin/portal/kyccase/", "/admin/tasks/node/"):
        visit.open(path)

    assert visit.complaints == []


def test_the_price_follows_the_choices(sign_in, client_user):
    factories.fund(client_user)
    factories.make_dataset(client_user, images=4)
    factories.make_model()
    visit = sign_in(client_user, screen=DESKTOP)
    visit.open("/jobs/new/")
    assert visit.page.inner_text("#quote .total") == "0.066"

    with visit.page.expect_response("**/jobs/quote/"):
        visit.page.check("[name=target_error][value='1e-4']")

    expect(visit.page.locator("#quote .total")).to_have_text("0.088")
    assert visit.page.input_value("[name=max_price]") == "880000"
    assert visit.complaints == []


def test_pictures_dropped_on_the_new_job_become_its_data_set(sign_in, client_user, tmp_path):
    factories.make_model()
    good, bad = tmp_path / "good.png", tmp_path / "bad.jpg"
    good.write_bytes(factories.picture())
    bad.write_bytes(b"no picture")
    visit = sign_in(client_user, screen=PHONE)
    visit.open("/jobs/new/")

    visit.page.set_input_files("input[type=file]", [good, bad])

    expect(visit.page.locator("#quote .total")).to_have_text("0.0165")
    assert visit.page.inner_text("[data-upload-summary]") == (
        "2 of 2 files sent · 1 picture added · 1 refused"
    )
    assert "bad.jpg" in visit.page.inner_text("[data-upload-rejected]")
    assert visit.page.input_value("#id_dataset") == client_user.datasets.get().pk
    assert visit.complaints == []


def test_the_slider_hides_boxes_below_it(sign_in, client_user, job):
    visit = sign_in(client_user, screen=DESKTOP)
    visit.open(f"/jobs/{job.pk}/")
    shown = visit.page.locator("#gallery rect:not([hidden])")
    assert shown.count() == 4

    visit.page.locator("[data-score-slider]").fill("0.5")

    assert shown.count() == 2
    assert visit.page.inner_text("[data-box-count] >> nth=0") == "1 box"
    assert visit.page.inner_text("[data-score-output]") == "0.50"


def test_the_live_page_shows_a_change_and_keeps_the_pictures_it_has(sign_in, client_user, job):
    Job.objects.filter(pk=job.pk).update(state=Job.State.RUNNING, finished_at=None)
    visit = sign_in(client_user, screen=DESKTOP)
    visit.open(f"/jobs/{job.pk}/")
    visit.page.evaluate("document.querySelector('#gallery li').dataset.mark = 'kept'")

    with visit.page.expect_response(lambda answer: "/live/" in answer.url and answer.status == 200):
        Job.objects.filter(pk=job.pk).update(reason="verifying", version=1000)

    visit.page.wait_for_selector("text=a second opinion is being computed")
    assert visit.page.get_attribute("#gallery li", "data-mark") == "kept"
    assert visit.complaints == []


def test_cancelling_asks_in_a_dialog(sign_in, client_user):
    job = factories.make_job(client_user)
    visit = sign_in(client_user, screen=PHONE)
    visit.open(f"/jobs/{job.pk}/")

    visit.page.click("#job-cancel")
    visit.page.wait_for_selector("dialog[open]")
    visit.page.click("text=Keep it running")
    assert visit.page.locator("dialog[open]").count() == 0
    visit.page.click("#job-cancel")
    visit.page.click("dialog[open] button:has-text('Cancel job')")
    visit.page.wait_for_selector("#job-state:has-text('cancelled')")

    assert Job.objects.get().state == Job.State.CANCELLED
    assert visit.complaints == []


def test_the_theme_is_kept_from_page_to_page(sign_in, client_user):
    visit = sign_in(client_user, screen=DESKTOP)

    visit.page.click("[data-theme-toggle]")
    visit.open("/jobs/")

    assert visit.page.get_attribute("html", "data-bs-theme") == "dark"
    assert visit.complaints == []


def test_the_menu_opens_below_the_bar_on_a_phone(sign_in, client_user):
    visit = sign_in(client_user, screen=PHONE)
    assert not visit.page.is_visible("#side")

    visit.page.click("[data-menu]")

    assert visit.page.is_visible("#side")
    assert visit.page.get_attribute("[data-menu]", "aria-expanded") == "true"
    assert visit.page.locator("#side").bounding_box()["y"] > 0


def test_a_poll_after_the_session_has_ended_leads_to_signing_in(sign_in, client_user, job):
    Job.objects.filter(pk=job.pk).update(state=Job.State.RUNNING, finished_at=None)
    visit = sign_in(client_user, screen=DESKTOP)
    visit.open(f"/jobs/{job.pk}/")

    visit.page.context.clear_cookies()

    visit.page.wait_for_url("**/accounts/login/?next=/jobs/**")
    assert visit.page.is_visible("[name=login]")
