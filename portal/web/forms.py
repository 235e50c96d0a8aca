"""What the pages accept; the domain checks again and has the last word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from portal import countries, keys
from tasks import jobs, uploads
from tasks.errors import Refused
from tasks.models import CatalogModel

#: Target error -> name, promise, and what it costs in nodes.
QUALITIES = {
    "1e-2": ("Economy", "At most about 1 wrong picture in 100."),
    "1e-3": ("Standard", "At most about 1 wrong picture in 1,000."),
    "1e-4": ("Assured", "At most about 1 wrong picture in 10,000."),
}

# The order's fields stand in several cards; this ties them to the one form.
_ORDER = {"form": "order"}


class DatasetForm(forms.Form):
    """A new data set."""

    name = forms.CharField(max_length=200, widget=forms.TextInput(attrs={"autocomplete": "off"}))


class OrderForm(forms.Form):
    """A new job."""

    dataset = forms.ChoiceField(
        label="Data set",
        widget=forms.Select(attrs=_ORDER),
        error_messages={"required": "Choose a data set or upload pictures."},
    )
    model = forms.ChoiceField(widget=forms.RadioSelect(attrs=_ORDER))
    target_error = forms.ChoiceField(
        label="Quality", choices=[(key, key) for key in QUALITIES], initial="1e-3"
    )
    score_threshold = forms.FloatField(
        label="Leave out what has a score below",
        min_value=jobs.SCORE_THRESHOLD_MIN,
        max_value=1,
        initial=0.3,
        widget=forms.NumberInput(attrs={**_ORDER, "step": "0.05", "data-mirror": "threshold"}),
    )
    #: The price that was on the page, in minor units: what the client agreed to.
    max_price = forms.IntegerField(min_value=1, required=False, widget=forms.HiddenInput)

    def __init__(
        self,
        *args: Any,
        datasets: Sequence[tuple[str, str]],
        models: Sequence[CatalogModel],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._kinds = {model.pk: model.kind for model in models}
        self.fields["dataset"] = _with_choices(self.fields["dataset"], datasets)
        self.fields["model"] = _with_choices(
            self.fields["model"], [(model.pk, model.name) for model in models]
        )

    def job_request(self) -> jobs.JobRequest:
        """Return what was asked for; the form must be valid."""
        return jobs.JobRequest(
            kind=self._kinds[self.cleaned_data["model"]],
            dataset_id=self.cleaned_data["dataset"],
            model_id=self.cleaned_data["model"],
            target_error=self.cleaned_data["target_error"],
            score_threshold=self.cleaned_data["score_threshold"],
            max_price_minor=self.cleaned_data.get("max_price"),
        )


class ModelForm(forms.Form):
    """A client's own model."""

    file = forms.FileField(label="Model", help_text="An ONNX file of at most 512 MiB.")
    manifest = forms.CharField(
        max_length=uploads.MANIFEST_BYTES_MAX,
        help_text="What it takes and what it says, as JSON. The examples below are complete.",
        widget=forms.Textarea(attrs={"rows": 16, "spellcheck": "false", "class": "code"}),
    )


class KeyForm(forms.Form):
    """A new API key."""

    name = forms.CharField(
        max_length=keys.NAME_LENGTH_MAX,
        help_text="Where it will be used, so that you know it again.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(
        label="It may",
        choices=list(keys.SCOPES.items()),
        widget=forms.CheckboxSelectMultiple,
        initial=["read", "jobs"],
    )
    days = forms.TypedChoiceField(
        label="Ends after",
        choices=[(30, "30 days"), (90, "90 days"), (365, "1 year"), (0, "never")],
        coerce=int,
        initial=90,
    )


class IdentityForm(forms.Form):
    """What a person hands in to be checked."""

    full_name = forms.CharField(
        max_length=200,
        help_text="As it stands in your passport or identity card.",
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    country = forms.ChoiceField(
        choices=[("", "Choose…"), *countries.NAMES.items()],
        widget=forms.Select(attrs={"autocomplete": "country"}),
    )


def add_refusal(form: forms.Form, refused: Refused) -> None:
    """Put the domain's refusal beside its field, or above the form."""
    field = refused.field if refused.field in form.fields else None
    form.add_error(field, refused.detail)


def _with_choices(field: forms.Field, choices: Sequence[tuple[str, str]]) -> forms.Field:
    assert isinstance(field, forms.ChoiceField)
    field.choices = choices
    return field
