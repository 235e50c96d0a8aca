"""What the pages accept; the domain checks again and has the last word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from portal import countries, keys
from tasks import appeals, requests, uploads
from tasks.errors import Refused
from tasks.models import CatalogModel, Job
from workers.protocol import limits
from workers.protocol.allowance import UNDECLARED, WINDOWS_MAX, Allowance, is_window

#: Target error -> name, promise, and what it costs in nodes.
QUALITIES = {
    "1e-2": ("Economy", "Aims at 1 wrong picture in 100."),
    "1e-3": ("Standard", "Aims at 1 wrong picture in 1,000."),
    "1e-4": ("Assured", "Aims at 1 wrong picture in 10,000."),
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
        min_value=requests.SCORE_THRESHOLD_MIN,
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

    def job_request(self) -> requests.JobRequest:
        """Return what was asked for; the form must be valid."""
        return requests.JobRequest(
            kind=self._kinds[self.cleaned_data["model"]],
            dataset_id=self.cleaned_data["dataset"],
            model_id=self.cleaned_data["model"],
            target_error=self.cleaned_data["target_error"],
            score_threshold=self.cleaned_data["score_threshold"],
            max_price_minor=self.cleaned_data.get("max_price"),
        )


class CategoryForm(forms.Form):
    """What the client's account is for."""

    client_category = forms.ChoiceField(
        label="What is this account for?",
        choices=Job.ClientCategory.choices,
        help_text="Owners of nodes may choose whom they work for. They learn this word, and "
        "nothing else of you.",
    )


class LimitsForm(forms.Form):
    """Limits of a node as its operator wishes them; empty fields limit nothing."""

    cores = forms.IntegerField(
        label="Pieces of work at one time", min_value=1, max_value=limits.SLOTS_MAX, required=False
    )
    memory_mib = forms.IntegerField(
        label="Memory it may hold, MiB", min_value=256, max_value=2**20, required=False
    )
    memory_free_mib = forms.IntegerField(
        label="Memory to leave free, MiB", min_value=1, max_value=2**20, required=False
    )
    cache_mib = forms.IntegerField(
        label="Disk for models, MiB", min_value=64, max_value=2**20, required=False
    )
    bandwidth_kib = forms.IntegerField(
        label="Download speed, KiB per second", min_value=16, max_value=2**20, required=False
    )
    celsius = forms.IntegerField(
        label="Rest while hotter than, °C", min_value=30, max_value=110, required=False
    )
    only_when_idle = forms.BooleanField(label="Only while nobody uses it", required=False)
    no_battery = forms.BooleanField(label="Not on battery", required=False)
    no_metered = forms.BooleanField(label="Not on a metered network", required=False)
    schedule = forms.CharField(
        label="Hours, one span on each line",
        help_text="Local time of the machine, for example <code>mon-fri 18:00-07:00</code>. "
        "Empty: always.",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    kinds = forms.MultipleChoiceField(
        label="Only this work",
        choices=[("detect", "Detection"), ("classify", "Classification")],
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    client_categories = forms.MultipleChoiceField(
        label="Only for these clients",
        choices=[each for each in Job.ClientCategory.choices if each[0] != UNDECLARED],
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    exclusive_programs = forms.CharField(
        label="Rest while one of these programs runs",
        help_text="Names with commas between, for example <code>steam, blender</code>.",
        required=False,
        max_length=500,
    )

    @classmethod
    def of(cls, wishes: Mapping[str, Any]) -> LimitsForm:
        """Return the form filled with what is wished now."""
        known = Allowance(**wishes)
        return cls(
            initial={
                **known.model_dump(),
                "no_battery": not known.battery,
                "no_metered": not known.metered,
                "schedule": "\n".join(known.schedule),
                "exclusive_programs": ", ".join(known.exclusive_programs),
            }
        )

    def clean_schedule(self) -> list[str]:
        spans = [line.strip().lower() for line in self.cleaned_data["schedule"].splitlines()]
        spans = [span for span in spans if span]
        for span in spans:
            if not is_window(span):
                raise forms.ValidationError(f"“{span}” is no span such as mon-fri 18:00-07:00.")
        if len(spans) > WINDOWS_MAX:
            raise forms.ValidationError(f"At most {WINDOWS_MAX} spans.")
        return spans

    def clean_exclusive_programs(self) -> list[str]:
        names = [name.strip() for name in self.cleaned_data["exclusive_programs"].split(",")]
        names = [name for name in names if name]
        try:
            return Allowance(exclusive_programs=names).exclusive_programs
        except ValueError as exc:
            raise forms.ValidationError(
                "Names of at most 15 letters, digits and . _ + : -"
            ) from exc

    def wishes(self) -> Allowance:
        """Return what was asked for; the form must be valid."""
        asked = self.cleaned_data
        numbers = (
            "cores",
            "memory_mib",
            "memory_free_mib",
            "cache_mib",
            "bandwidth_kib",
            "celsius",
        )
        return Allowance(
            **{name: asked[name] for name in numbers},
            only_when_idle=asked["only_when_idle"],
            battery=not asked["no_battery"],
            metered=not asked["no_metered"],
            schedule=asked["schedule"],
            kinds=asked["kinds"],
            client_categories=asked["client_categories"],
            exclusive_programs=asked["exclusive_programs"],
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


class AppealForm(forms.Form):
    """An operator's word against a refusal."""

    text = forms.CharField(
        label="What we should know",
        max_length=appeals.TEXT_LENGTH_MAX,
        required=False,
        help_text="Not needed: the pictures are looked at in any case.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class DecisionForm(forms.Form):
    """What staff decide about an appeal."""

    decision = forms.ChoiceField(
        choices=[("uphold", "Uphold"), ("deny", "Deny")], widget=forms.HiddenInput
    )
    note = forms.CharField(
        label="What the operator is told",
        max_length=appeals.NOTE_LENGTH_MAX,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


def add_refusal(form: forms.Form, refused: Refused) -> None:
    """Put the domain's refusal beside its field, or above the form."""
    field = refused.field if refused.field in form.fields else None
    form.add_error(field, refused.detail)


def _with_choices(field: forms.Field, choices: Sequence[tuple[str, str]]) -> forms.Field:
    assert isinstance(field, forms.ChoiceField)
    field.choices = choices
    return field
