"""`wallet/`: balance, movements, statements."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from payments import money, queries
from portal.api import base, fields, pagination
from portal.api.authentication import signed_in

YEAR_MIN, YEAR_MAX = 2000, 2100
STATEMENT_COLUMNS = (
    "at", "kind", "from", "to", "amount", "change", "asset", "ref_type", "ref_id", "key",
)  # fmt: skip


class Wallet(base.Endpoint):
    """The caller's money."""

    scope = "wallet"

    class Output(serializers.Serializer[Any]):
        """What the caller has."""

        asset = serializers.CharField()
        available = fields.AmountOut(source="available_minor")
        pending = fields.AmountOut(
            source="pending_minor", help_text="Earned, still in its hold window."
        )
        frozen = fields.AmountOut(
            source="frozen_minor", help_text="Of pending: kept back while work is looked at again."
        )
        held = fields.AmountOut(source="held_minor", help_text="Set aside for running jobs.")
        paid = fields.AmountOut(source="paid_minor")

    @extend_schema(operation_id="wallet_get", responses=Output)
    def get(self, request: Request) -> Response:
        """Show my balance."""
        return Response(self.Output(queries.wallet(signed_in(request).pk)).data)


class WalletTransfers(base.Endpoint):
    """The movements of the caller's money."""

    scope = "wallet"

    class Output(serializers.Serializer[Any]):
        """One movement; `change` is what it does to available plus pending."""

        id = serializers.CharField()
        kind = serializers.CharField()
        source = serializers.CharField()  # type: ignore[assignment]  # DRF takes fields off the class
        destination = serializers.CharField()
        amount = fields.AmountOut(source="amount_minor")
        change = fields.AmountOut(source="signed_minor")
        asset = fields.Asset()
        ref_type = serializers.CharField()
        ref_id = serializers.CharField()
        created_at = serializers.DateTimeField()

    @pagination.listing("wallet_transfers", Output)
    def get(self, request: Request) -> Response:
        """List movements, newest first."""
        page = pagination.paginate(request, queries.transfers(signed_in(request).pk))
        return Response(page.answer(self.Output(page.rows, many=True).data))


class WalletStatement(base.Endpoint):
    """A year of the caller's money as a file."""

    scope = "wallet"
    content_negotiation_class = base.AnyAccept

    class Query(fields.Query):
        year = serializers.IntegerField(
            min_value=YEAR_MIN, max_value=YEAR_MAX, required=False, help_text="UTC; this year."
        )
        format = serializers.ChoiceField(["csv"], default="csv")

    @extend_schema(
        operation_id="wallet_statement",
        parameters=[Query],
        responses={(200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """Download a calendar year, oldest first."""
        query = base.read_query(self.Query, request)
        year = query.get("year", timezone.now().year)
        return StreamingHttpResponse(
            _csv(queries.statement(signed_in(request).pk, year)),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="statement-{year}.csv"'},
        )


def _csv(rows: Iterator[queries.StatementRow]) -> Iterator[str]:
    yield _line(STATEMENT_COLUMNS)
    for row in rows:
        yield _line(
            (
                row.at.isoformat(), row.kind, row.source, row.destination,
                money.format_amount(row.amount_minor), money.format_amount(row.signed_minor),
                money.ASSET, row.ref_type, row.ref_id, row.key,
            )
        )  # fmt: skip


def _line(cells: tuple[str, ...]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()
