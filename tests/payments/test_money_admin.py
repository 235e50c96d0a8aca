"""Staff may look at the ledger and change nothing."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import RequestFactory

from payments.models import LedgerAccount, Transfer, TransferIntent


@pytest.fixture
def request_of_staff(db):
    users = get_user_model()
    request = RequestFactory().get("/")
    request.user = users.objects.create(
        **{users.USERNAME_FIELD: "staff@example.org"}, is_staff=True, is_superuser=True
    )
    return request


@pytest.mark.parametrize("model", [LedgerAccount, Transfer, TransferIntent])
def test_even_a_superuser_may_only_look(request_of_staff, model):
    page = admin.site.get_model_admin(model)

    assert page.has_view_permission(request_of_staff) is True
    assert page.has_add_permission(request_of_staff) is False
    assert page.has_change_permission(request_of_staff) is False
    assert page.has_delete_permission(request_of_staff) is False


def test_lists_show_amounts_with_decimals(held_job):
    account = LedgerAccount.objects.get(code="job:7:escrow")
    transfer = Transfer.objects.get(kind="hold")

    assert admin.site.get_model_admin(LedgerAccount).balance(account) == "0.0001000"
    assert admin.site.get_model_admin(Transfer).amount(transfer) == "0.0001000"


@pytest.mark.parametrize("model", [LedgerAccount, Transfer, TransferIntent])
def test_the_list_of_each_model_is_answered(request_of_staff, held_job, record, model):
    record("r1")

    changelist = admin.site.get_model_admin(model).get_changelist_instance(request_of_staff)

    assert changelist.result_count == model.objects.count()
