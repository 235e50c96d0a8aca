"""Every reason for refusing a model is explained to clients."""

from __future__ import annotations

from django.conf import settings

from workers.protocol.modelcheck.refusals import CODES

GUIDE = settings.BASE_DIR / "docs" / "howto" / "bring-your-own-model.md"
LATER = {
    "output_too_large", "output_not_finite", "output_out_of_range", "trial_failed",
    "trial_memory", "trial_timeout", "trial_crashed", "trial_unavailable", "too_slow", "invalid_manifest",
    "too_many_models", "busy",
}  # fmt: skip


def test_every_code_stands_in_the_guide():
    guide = GUIDE.read_text()

    assert [code for code in sorted(set(CODES) | LATER) if f"`{code}`" not in guide] == []
