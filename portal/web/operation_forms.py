"""What staff fill in before they act."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from tasks.operations import log

ALL_MODELS = ""


class ActionForm(forms.Form):
    """An action without anything to fill in."""


class NoteForm(ActionForm):
    """An action with a word to whom it concerns."""

    note = forms.CharField(
        max_length=log.NOTE_LENGTH_MAX,
        required=False,
        label="Why",
        help_text="Its operator reads it; the log keeps it.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class PlatformForm(NoteForm):
    """The same for everything: only the log and this page have it."""

    note = forms.CharField(
        max_length=log.NOTE_LENGTH_MAX,
        required=False,
        label="Why",
        help_text="For this page and the log.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class ModelForm(ActionForm):
    """An action for one model, or for all."""

    model = forms.ChoiceField(required=False, label="For")

    def __init__(self, *args: Any, models: Sequence[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["model"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = models

    @property
    def model_id(self) -> str | None:
        """The model chosen; None: all."""
        return self.cleaned_data["model"] or None


class QuarantineForm(ModelForm, NoteForm):
    """For which model, and why."""

    field_order = ("model", "note")


class ReverifyForm(PlatformForm):
    """What is computed again, and by whom."""

    by = forms.ChoiceField(
        label="By",
        choices=[("owner", "another owner's node"), ("referee", "the platform's own machine")],
    )
    chunk = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=2**31 - 1,
        label="Only chunk number",
        help_text="Counted from 0; empty: all that is accepted and not final.",
    )
    field_order = ("by", "chunk", "note")
