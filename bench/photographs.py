"""As many different photographs as a bench wants, cut from the few that come with us.

Crops enlarged to the size clients send, each with bytes of its own: no cache and no digest
makes two of them one. The same numbers give the same crops on every machine; the bytes also
depend on Pillow's JPEG encoder.
"""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image

SOURCES = Path(__file__).parents[1] / "portal" / "photos"
#: Longer side, pixels, and JPEG quality: 130 to 260 kB, as telephones and cameras send.
SIDE = 1280
QUALITY = 88
#: A crop holds this part of a photograph's sides.
CROP_MIN, CROP_MAX = 0.6, 1.0


def make(folder: Path, *, count: int) -> list[Path]:
    """Write `count` photographs into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [Image.open(path).convert("RGB") for path in sorted(SOURCES.glob("*.png"))]
    chance = random.Random(20261125)
    paths = []
    for number in range(count):
        crop = _crop(sources[number % len(sources)], chance)
        path = folder / f"photo-{number:04}.jpg"
        crop.save(path, "JPEG", quality=QUALITY)
        paths.append(path)
    return paths


def _crop(source: Image.Image, chance: random.Random) -> Image.Image:
    part = chance.uniform(CROP_MIN, CROP_MAX)
    width, height = (round(side * part) for side in source.size)
    left = chance.randint(0, source.width - width)
    top = chance.randint(0, source.height - height)
    scale = SIDE / max(width, height)
    return source.resize(
        (round(width * scale), round(height * scale)),
        Image.Resampling.BICUBIC,
        box=(left, top, left + width, top + height),
    )
