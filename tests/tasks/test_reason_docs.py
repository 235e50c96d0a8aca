"""Every word that pages, API and terminal use stands in docs/reasons.md."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from django.db.models import TextChoices

from tasks import reasons
from tasks.models import Chunk, Credibility, Item, Job, Node, Replica, Strike

DOC = (Path(reasons.__file__).parents[1] / "docs" / "reasons.md").read_text()
CODES = [
    choices
    for _, choices in inspect.getmembers(reasons, inspect.isclass)
    if issubclass(choices, TextChoices) and choices is not TextChoices
]
STATES = [
    *(model.State for model in (Job, Chunk, Item, Replica, Node, Credibility)),
    Strike.Cause,
]


@pytest.mark.parametrize("choices", CODES, ids=lambda choices: choices.__name__)
def test_every_code_is_explained_in_its_own_words(choices):
    assert [
        f"| `{code}` | {text} |"
        for code, text in choices.choices
        if f"| `{code}` | {text} |" not in DOC
    ] == []


@pytest.mark.parametrize("choices", STATES, ids=lambda choices: choices.__qualname__)
def test_every_state_is_explained(choices):
    assert [value for value in choices.values if f"`{value}`" not in DOC] == []
