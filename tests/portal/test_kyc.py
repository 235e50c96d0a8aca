"""Who is a known person, and who decides it."""

from __future__ import annotations

import pytest

from portal import kyc
from portal.models import KycCase
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def pending(client_user, now) -> KycCase:
    return kyc.submit(user=client_user, full_name="Mira Kay", country="DE", now=now)


def test_a_new_user_is_nobody_yet(client_user):
    assert not kyc.is_person(client_user)
    assert kyc.status(client_user).status == KycCase.Status.NONE
    assert KycCase.objects.count() == 0


def test_submitting_stores_a_tidy_name_and_waits(client_user, now):
    case = kyc.submit(user=client_user, full_name="  Mira   Kay ", country="DE", now=now)

    assert (case.status, case.full_name, case.country) == ("pending", "Mira Kay", "DE")
    assert (case.level, case.submitted_at) == (0, now)
    assert not kyc.is_person(client_user)


@pytest.mark.parametrize("name", ["", "  ", "ab", "x" * 201, "Mira\x00Kay", "Mira\u202eKay"])
def test_a_name_that_is_none_is_refused(client_user, now, name):
    with pytest.raises(kyc.BadName):
        kyc.submit(user=client_user, full_name=name, country="DE", now=now)

    assert KycCase.objects.count() == 0


@pytest.mark.parametrize("country", ["", "de", "XX", "DEU"])
def test_a_country_outside_the_list_is_refused(client_user, now, country):
    with pytest.raises(kyc.UnknownCountry):
        kyc.submit(user=client_user, full_name="Mira Kay", country=country, now=now)

    assert KycCase.objects.count() == 0


def test_a_pending_case_is_not_overwritten(client_user, pending, now):
    with pytest.raises(kyc.AlreadySubmitted):
        kyc.submit(user=client_user, full_name="Other Name", country="FR", now=now)

    assert KycCase.objects.get().full_name == "Mira Kay"


def test_staff_approves(client_user, pending, staff, now):
    case = kyc.approve(user_id=client_user.pk, staff=staff, now=now)

    assert (case.status, case.level, case.decided_by, case.decided_at) == (
        "approved", 1, staff, now,
    )  # fmt: skip
    assert kyc.is_person(client_user)


def test_a_rejected_user_may_try_again(client_user, pending, staff, now):
    rejected = kyc.reject(user_id=client_user.pk, staff=staff, note="Unreadable.", now=now)
    again = kyc.submit(user=client_user, full_name="Mira Kay", country="DE", now=now)

    assert (rejected.status, rejected.level, rejected.note) == ("rejected", 0, "Unreadable.")
    assert (again.status, again.note, again.decided_by) == ("pending", "", None)


@pytest.mark.parametrize("decide", [kyc.approve, kyc.reject])
def test_what_does_not_wait_is_not_decided(client_user, staff, now, decide):
    with pytest.raises(kyc.NotPending):
        decide(user_id=client_user.pk, staff=staff, now=now)

    assert KycCase.objects.count() == 0


def test_of_two_decisions_the_second_is_refused(client_user, pending, staff, now):
    kyc.approve(user_id=client_user.pk, staff=staff, now=now)

    with pytest.raises(kyc.NotPending):
        kyc.reject(user_id=client_user.pk, staff=staff, now=now)
    assert kyc.is_person(client_user)


def test_nobody_decides_about_themselves(staff, now):
    kyc.submit(user=staff, full_name="Staff Member", country="DE", now=now)

    with pytest.raises(kyc.OwnCase):
        kyc.approve(user_id=staff.pk, staff=staff, now=now)
    assert not kyc.is_person(staff)


def test_an_approval_of_one_says_nothing_of_another(client_user, pending, staff, now):
    kyc.approve(user_id=client_user.pk, staff=staff, now=now)

    assert not kyc.is_person(factories.make_user("operator"))
