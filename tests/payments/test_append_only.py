"""Transfers cannot be changed or deleted, not even by SQL."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction

from payments.models import Transfer


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payments_transfer SET amount_minor = amount_minor + 1",
        "UPDATE payments_transfer SET ref_id = 'x' WHERE kind = 'hold'",
        "DELETE FROM payments_transfer",
        "DELETE FROM payments_transfer WHERE kind = 'deposit'",
    ],
)
def test_a_transfer_is_never_changed_or_deleted(held_job, everything, statement):
    before = everything()

    with (
        pytest.raises(IntegrityError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)

    assert everything() == before


def test_saving_and_deleting_through_the_model_is_refused_too(held_job, everything):
    before = everything()
    transfer = Transfer.objects.get(kind="hold")

    transfer.amount_minor = 1
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        transfer.save()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        transfer.delete()

    assert everything() == before


@pytest.mark.parametrize("amount", [0, -1])
def test_a_transfer_of_nothing_or_less_is_refused(held_job, everything, amount):
    before = everything()
    hold = Transfer.objects.get(kind="hold")

    with pytest.raises(IntegrityError, match="transfer_amount_positive"), transaction.atomic():
        Transfer.objects.create(
            key="x",
            kind="hold",
            debit_id=hold.debit_id,
            credit_id=hold.credit_id,
            amount_minor=amount,
            created_at=hold.created_at,
        )

    assert everything() == before


def test_a_transfer_from_an_account_to_itself_is_refused(held_job, everything):
    before = everything()
    hold = Transfer.objects.get(kind="hold")

    with pytest.raises(IntegrityError, match="transfer_between_two_accounts"), transaction.atomic():
        Transfer.objects.create(
            key="x",
            kind="hold",
            debit_id=hold.debit_id,
            credit_id=hold.debit_id,
            amount_minor=1,
            created_at=hold.created_at,
        )

    assert everything() == before
