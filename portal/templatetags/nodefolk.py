"""What the templates need to show money, times, icons, states and form fields."""

from __future__ import annotations

import math
import zlib
from datetime import UTC, datetime
from typing import Any

from django import forms, template
from django.forms.boundfield import BoundField
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from payments import money
from tasks.models import Job

register = template.Library()

#: Number of box colours in app.css (`.c0` ...).
COLOURS = 8
FREQUENT = ("cat", "dog", "bicycle", "person", "cup", "bus", "chair", "car")

#: State -> tone of its badge; the word always stands beside the colour.
TONES = {
    "queued": "wait",
    "running": "work",
    "paused": "wait",
    "finished": "good",
    "cancelled": "ended",
    "failed": "bad",
    "online": "good",
    "offline": "ended",
    "drained": "wait",
    "suspended": "bad",
    "retired": "ended",
    "leased": "work",
    "reported": "wait",
    "accepted": "good",
    "rejected": "bad",
    "lost": "bad",
    "waiting": "wait",
    "provisional": "work",
    "final": "good",
    "pending": "wait",
    "available": "good",
    "approved": "good",
    "none": "ended",
    "revoked": "ended",
    "expired": "ended",
    "active": "good",
    "referee": "work",
    "staff": "wait",
    "upheld": "good",
    "denied": "bad",
    "probation": "wait",
    "trusted": "good",
    "watched": "wait",
    "quarantined": "bad",
    "banned": "bad",
}

#: Words for states that would not speak for themselves.
WORDS = {
    "leased": "computing",
    "reported": "checking",
    "lost": "gone silent",
    "pending": "in check",
    "none": "not started",
    "rejected": "refused",
    "referee": "the referee looks",
    "staff": "staff will decide",
    "probation": "new",
}

#: Kind of transfer -> what it means to the owner of the wallet.
MOVEMENTS = {
    "deposit": "Money in",
    "hold": "Held for a job",
    "release": "Returned from a job",
    "reward": "Reward for work, in check",
    "mature": "Reward became available",
    "void": "Reward taken back: the work was wrong",
}


@register.filter
def amount(minor: int) -> str:
    """Write money for people: two to seven decimals and thousands apart, `1,284.20`."""
    units, _, decimals = money.format_amount(minor).partition(".")
    whole = f"{int(units):,}" if units not in {"-0", "0"} else units
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


@register.filter
def seconds(milliseconds: float | None) -> str:
    """Write a duration in the unit that people read: `48 ms`, `0.31 s`, `2 min 5 s`."""
    if milliseconds is None:
        return "-"
    if milliseconds < 100:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 10_000:
        return f"{milliseconds / 1000:.2f}".rstrip("0").rstrip(".") + " s"
    minutes, rest = divmod(round(milliseconds / 1000), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


@register.filter
def size(count_bytes: int) -> str:
    """Write a number of bytes in the largest fitting binary unit, such as `16 GB`."""
    value = float(count_bytes)
    for unit in ("bytes", "KB", "MB", "GB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TB"


@register.filter
def share(rate: float) -> str:
    """Write a rate 0..1 in per cent with the digits that matter: `0.1 %`, `0.012 %`."""
    if rate == 0:
        return "0 %"
    digits = max(0, 1 - math.floor(math.log10(rate * 100)))
    text = f"{rate * 100:.{min(digits, 6)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"


@register.filter
def movement(kind: str) -> str:
    """Say what a transfer means to the owner of the wallet."""
    return MOVEMENTS.get(kind, kind)


@register.filter
def words(name: str) -> str:
    """Write a technical name as words: `memory_bytes` is `Memory`."""
    return name.removesuffix("_bytes").replace("_", " ").capitalize()


@register.simple_tag
def when(moment: datetime | None) -> SafeString | str:
    """Show a time in UTC; time.js rewrites it in the reader's own zone."""
    if moment is None:
        return "-"
    utc = moment.astimezone(UTC)
    return format_html(
        '<time datetime="{}" data-local>{}</time>',
        utc.isoformat(timespec="milliseconds"),
        utc.strftime("%d %b %Y, %H:%M UTC"),
    )


@register.simple_tag
def age(moment: datetime | None, now: datetime) -> str:
    """Say how long ago it was, `2 min 5 s`; `-` for never."""
    if moment is None:
        return "-"
    days = (now - moment).days
    if days >= 2:
        return f"{days} days"
    passed = max(0, round((now - moment).total_seconds()))
    return seconds(passed * 1000) if passed else "0 s"


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """Draw an icon of the sprite; it is decoration, so the words stand beside it."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        css,
        static("vendor/icons.svg"),
        name,
    )


@register.simple_tag
def badge(state: str, word: str = "") -> SafeString:
    """Show a state as a dot and a word."""
    return format_html(
        '<span class="state tone-{}"><span class="dot" aria-hidden="true"></span>{}</span>',
        TONES.get(state, "ended"),
        word or WORDS.get(state, state.replace("_", " ")),
    )


@register.filter
def colour(label: str) -> str:
    """Name the colour class of a label; the same label has the same colour everywhere.

    The most frequent labels differ from each other; others fall where their name puts them.
    """
    if label in FREQUENT:
        return f"c{FREQUENT.index(label)}"
    return f"c{zlib.crc32(label.encode()) % COLOURS}"


@register.filter
def score(value: float) -> str:
    """Write a score of 0..1 with two digits."""
    return f"{value:.2f}"


@register.filter
def control(field: BoundField) -> SafeString:
    """Render a form field's input with the classes of the style sheet."""
    widget = field.field.widget
    css = "form-control"
    if isinstance(widget, forms.CheckboxInput):
        css = "form-check-input"
    elif isinstance(widget, forms.Select):
        css = "form-select"
    attributes: dict[str, Any] = {"class": f"{css} is-invalid" if field.errors else css}
    if "placeholder" in widget.attrs:
        attributes["placeholder"] = ""  # the label says it already
    if field.errors:
        attributes["aria-describedby"] = f"{field.id_for_label}_error"
    return field.as_widget(attrs=attributes)


@register.filter
def items_done(job: Job) -> int:
    """Count the pictures of a job that have an answer or never will."""
    return job.items_provisional + job.items_final + job.items_failed


@register.filter
def is_checkbox(field: BoundField) -> bool:
    """Tell whether the label stands behind the input."""
    return isinstance(field.field.widget, forms.CheckboxInput)
