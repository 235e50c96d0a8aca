"""A client's own model: read, checked, tried, then kept for its owner alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.utils.text import slugify
from pydantic import ValidationError

from tasks import catalog, trials
from tasks.errors import Refused
from tasks.models import CatalogModel
from workers.protocol import digests, messages
from workers.protocol import limits as sizes
from workers.protocol.manifest import Manifest, PictureInput
from workers.protocol.modelcheck import fitting, reading, refusals
from workers.protocol.modelcheck.graphs import Graph
from workers.protocol.modelcheck.shapes import Bounds

#: Models one client keeps, earlier versions included.
MODELS_MAX = 50
MANIFEST_BYTES_MAX = 2 * 1024 * 1024
#: Picture sizes at which a model of open size is bounded; nodes bound each size they meet.
SIZES = ((640, 480), (4000, 3000), (3000, 4000), (8000, 5000), (64, 64))
#: What a model is called by its licence when its owner says nothing.
LICENCE = "not stated"


class BadManifest(Refused):
    """The manifest is not one."""

    code, status, field = "invalid_manifest", 422, "manifest"


class TooManyModels(Refused):
    """The client keeps as many models as are allowed."""

    code, status = "too_many_models", 409


class ModelRefused(Refused):
    """The model did not pass; `code` is one of the check's, the decoders' or the trial's."""

    status, field = 422, "file"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code  # type: ignore[misc]  # narrower than the class's default


def upload(
    *, owner_id: int, data: bytes, manifest_text: str | bytes, now: datetime
) -> CatalogModel:
    """Check, try and keep a model; takes seconds, once a minute or two.

    Raises:
        BadManifest, ModelRefused, TooManyModels, trials.Busy: nothing was kept.
    """
    manifest = read_manifest(manifest_text)
    if CatalogModel.objects.filter(owner_id=owner_id).count() >= MODELS_MAX:
        raise TooManyModels(f"At most {MODELS_MAX} models and versions.")
    try:
        graph, bounds = _check(data, manifest)
        trial = trials.run(data, _reference(data, manifest))
    except (refusals.Refused, trials.TrialFailed) as exc:
        raise ModelRefused(exc.code, str(exc)) from exc
    card = catalog.Card(
        slug=slugify(manifest.name)[:60] or "model",
        name=manifest.name,
        version=manifest.version or f"{now:%Y-%m-%d %H:%M:%S}",
        labels=manifest.labels,
        licence=manifest.licence or LICENCE,
        source="uploaded by its owner",
        contract=manifest.contract,
        image_ms=trial.image_ms,
        is_class_pinned=graph.is_8_bit,
        check_report=_report(graph, bounds, trial),
    )
    return catalog.add(owner_id=owner_id, card=card, data=data, now=now)


def read_manifest(text: str | bytes) -> Manifest:
    """Read the JSON of a manifest.

    Raises:
        BadManifest: with the place and the reason of the first fault.
    """
    if len(text) > MANIFEST_BYTES_MAX:
        raise BadManifest(f"A manifest has at most {MANIFEST_BYTES_MAX} bytes.")
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as exc:
        fault = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(step) for step in fault["loc"]) or "manifest"
        raise BadManifest(f"{place}: {fault['msg']}"[:500]) from exc


def _check(data: bytes, manifest: Manifest) -> tuple[Graph, Bounds]:
    graph = reading.read(data)
    contract = manifest.contract
    found = [
        fitting.check(graph, contract, width=width, height=height)
        for width, height in _sizes(manifest.input)
    ]
    fitting.check_labels(contract, found[0], [int(number) for number in manifest.labels])
    return graph, max(found, key=lambda bounds: bounds.total_bytes)


def _sizes(wanted: PictureInput) -> Iterator[tuple[int, int]]:
    """Yield sizes of pictures to bound the model for: one is enough when it has its own."""
    yield SIZES[0]
    if wanted.width is None:
        yield from SIZES[1:]


def _reference(data: bytes, manifest: Manifest) -> messages.ModelReference:
    return messages.ModelReference(
        digest=digests.digest(data),
        size_bytes=min(len(data), sizes.MODEL_BYTES_MAX),
        url="http://localhost/",
        kind=manifest.kind,
        origin="client",
        contract=manifest.contract,
        class_ids=sorted(int(number) for number in manifest.labels),
    )


def _report(graph: Graph, bounds: Bounds, trial: trials.Trial) -> dict[str, Any]:
    """Return what was found, for the catalog; numbers only."""
    return {
        "operators": len(graph.nodes),
        "opset": graph.opset,
        "quantisation": graph.quantisation,
        "multiplications": bounds.work,
        "largest_tensor_bytes": bounds.largest_bytes,
        "load_ms": trial.load_ms,
        "image_ms": trial.image_ms,
        "memory_bytes": trial.memory_bytes,
        "numeric_class": trial.numeric_class,
    }
