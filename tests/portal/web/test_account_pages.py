"""Signing up, in and out, and the pages for what goes wrong."""

from __future__ import annotations

import pytest
from django.core import mail
from django.test import Client

from portal.models import User
from tests import factories

pytestmark = pytest.mark.django_db

NEW = {
    "email": "new@example.com",
    "password1": "a fine long secret",
    "password2": "a fine long secret",
}


def test_who_signs_up_is_a_client_and_sees_the_overview(client):
    answer = client.post("/accounts/signup/", NEW, follow=True)

    user = User.objects.get(email="new@example.com")
    assert user.roles == ["client"]
    assert answer.redirect_chain[-1][0] == "/"
    assert b"Get started" in answer.content


def test_a_weak_password_is_told_beside_its_field(client):
    answer = client.post("/accounts/signup/", {**NEW, "password1": "1234", "password2": "1234"})

    assert b'id="id_password1_error"' in answer.content
    assert User.objects.count() == 0


def test_signing_in_leads_back_to_the_page_asked_for(client, client_user):
    form = {"login": client_user.email, "password": factories.PASSWORD, "next": "/wallet/"}

    answer = client.post("/accounts/login/", form)

    assert (answer.status_code, answer["Location"]) == (302, "/wallet/")


def test_a_wrong_password_says_no_more_than_needed(client, client_user):
    answer = client.post("/accounts/login/", {"login": client_user.email, "password": "wrong"})

    assert b"not correct" in answer.content
    assert client.get("/")["Location"].startswith("/accounts/login/")


def test_signing_out_ends_the_session(as_client):
    as_client.post("/accounts/logout/")

    assert as_client.get("/").status_code == 302


def test_a_reset_link_is_sent(client, client_user):
    answer = client.post("/accounts/password/reset/", {"email": client_user.email}, follow=True)

    assert b"Look into your mail" in answer.content
    assert [message.to for message in mail.outbox] == [[client_user.email]]


@pytest.mark.parametrize(
    "path",
    ["/accounts/email/", "/accounts/password/change/", "/accounts/logout/", "/account/"],
)
def test_the_pages_of_the_account_stand_in_the_frame(as_client, path):
    page = as_client.get(path).content.decode()

    assert 'class="frame"' in page
    assert page.count("<h1") == 1


@pytest.mark.parametrize(
    "path", ["/accounts/login/", "/accounts/signup/", "/accounts/password/reset/"]
)
def test_the_pages_before_signing_in_have_no_inline_script_or_style(path):
    page = Client().get(path).content.decode()

    assert "<script>" not in page
    assert " style=" not in page
    assert "<style" not in page
    assert " onclick=" not in page


def test_an_unknown_address_has_a_page(as_client, settings):
    answer = as_client.get("/nowhere/")

    assert answer.status_code == 404
    assert b"There is nothing here, or it is not yours." in answer.content


def test_a_forged_form_has_a_page(client_user):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(client_user)

    answer = browser.post("/datasets/new/", {"name": "forged"})

    assert answer.status_code == 403
    assert b"did not accept the request" in answer.content
    assert client_user.datasets.count() == 0


def test_a_client_says_what_the_account_is_for(as_client, client_user):
    answer = as_client.post("/account/category/", {"client_category": "education"}, follow=True)

    client_user.refresh_from_db()
    assert client_user.client_category == "education"
    assert b'<option value="education" selected>' in answer.content


def test_a_word_that_is_none_comes_back_with_the_form(as_client, client_user):
    answer = as_client.post("/account/category/", {"client_category": "mining"})

    assert answer.status_code == 422
    assert b"field-error" in answer.content
    client_user.refresh_from_db()
    assert client_user.client_category == "undeclared"


def test_what_staff_have_settled_is_shown_and_stays(client):
    user = factories.make_user("client", client_category="commercial", is_category_fixed=True)
    client.force_login(user)

    assert b"settled by staff" in client.get("/account/").content
    answer = client.post("/account/category/", {"client_category": "nonprofit"}, follow=True)

    assert b"write to them" in answer.content
    user.refresh_from_db()
    assert user.client_category == "commercial"
