"""The user's money: balances, movements, the year as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from payments import money, queries
from portal.web import paging
from portal.web.requests import PageRequest

COLUMNS = ("at", "kind", "from", "to", "amount", "change", "asset", "ref_type", "ref", "key")
FIRST_YEAR = 2020


@require_GET
def show(request: PageRequest) -> HttpResponse:
    """Show balances and movements, newest first."""
    now = timezone.now()
    context = {
        "wallet": queries.wallet(request.user.pk),
        "page": paging.read(queries.transfers(request.user.pk), request),
        "year": now.year,
    }
    return render(request, "wallet/show.html", context)


@require_GET
def statement(request: PageRequest) -> HttpResponseBase:
    """Stream a calendar year (UTC) as CSV, oldest first."""
    this_year = timezone.now().year
    text = request.GET.get("year", "")
    year = int(text) if text.isascii() and text.isdigit() and len(text) == 4 else this_year
    if not FIRST_YEAR <= year <= this_year:
        return HttpResponse("No such year.\n", status=404, content_type="text/plain")
    return StreamingHttpResponse(
        _lines(queries.statement(request.user.pk, year)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="nodefolk-{year}.csv"'},
    )


def _lines(rows: Iterator[queries.StatementRow]) -> Iterator[str]:
    yield _line(COLUMNS)
    for row in rows:
        yield _line(
            (
                row.at.isoformat(),
                row.kind,
                row.source,
                row.destination,
                money.format_amount(row.amount_minor),
                money.format_amount(row.signed_minor),
                money.ASSET,
                row.ref_type,
                row.ref_id,
                row.key,
            )
        )


def _line(cells: tuple[str, ...]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()
