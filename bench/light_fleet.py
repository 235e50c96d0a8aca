"""A light model, pictures for chunks of one, and enrolled nodes with a long record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench import platform
from portal.demo import stack

#: Width and height of every picture, pixels.
SIDE = 48

_PREPARE = """
import io
from dataclasses import asdict
from datetime import UTC, datetime
from PIL import Image as Pillow
from portal.demo import cast
from portal.models import User
from tasks import blobs, identity, nodes
from tasks.models import CatalogModel, Credibility, Dataset, Image
now = datetime.now(UTC)
client = cast.prepare(nodes=1, now=now)["client"]
built_in = CatalogModel.objects.get(slug="ssd-mobilenet-v2")
# As slow a model as chunks of one picture want.
model = CatalogModel.objects.create(
    kind="detect", slug="light", name="Light", version="1", blob=built_in.blob,
    labels=built_in.labels, licence="-", source="bench", image_ms=10_000,
    tensor_contract=built_in.tensor_contract)
dataset = Dataset.objects.create(owner_id=client.user_id, name="light")
pictures = []
for number in range({chunks}):
    file = io.BytesIO()
    Pillow.new("RGB", ({side}, {side}), (number % 256, number // 256, 7)).save(file, "PNG")
    blob = blobs.put(file.getvalue(), media_type="image/png")
    pictures.append(
        Image(dataset=dataset, blob=blob, name=f"{{number}}.png", width={side}, height={side}))
Image.objects.bulk_create(pictures)
fleet = []
for number, public in enumerate({publics!r}):
    owner, _ = User.objects.get_or_create(email=f"bench-{{number}}@nodefolk.example")
    enrolled = nodes.enroll(
        token=nodes.issue_token(owner_id=owner.pk, now=now).token,
        name=f"light {{number}}", public_key=public, hardware={{}}, now=now)
    Credibility.objects.create(
        node=enrolled.node, model=model, checks_tenths=20_000, state="trusted")
    fleet.append({{"id": enrolled.node.pk, "login": asdict(enrolled.broker)}})
print(json.dumps({{"client": client.api_key, "fleet": fleet, "model": model.pk,
    "dataset": dataset.pk, "platform_key": identity.platform_public_key()}}))
"""


def prepare(running: stack.Stack, *, chunks: int, publics: Sequence[str]) -> dict[str, Any]:
    """Make everything; `publics`: each node's public key. The nodes are believed alone.

    Returns the client's API key, model, data set and platform key, and of each node its id
    and login.
    """
    code = _PREPARE.format(chunks=chunks, side=SIDE, publics=list(publics))
    made: dict[str, Any] = platform.python(running, code)
    return made
