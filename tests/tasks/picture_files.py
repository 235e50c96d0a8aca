"""Make the bytes of pictures, good and bad."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain(kind: str = "PNG", *, mode="RGB", size=(64, 48), color=(200, 30, 30), **options) -> bytes:
    return encode(Image.new(mode, size, color), kind, **options)


def noise(kind: str = "JPEG", *, size=(64, 48)) -> bytes:
    return encode(Image.effect_noise(size, 80).convert("RGB"), kind)


def turned(*, size=(64, 48), orientation: int = 6) -> bytes:
    """A JPEG of `size` stored pixels whose EXIF data says how to turn it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return plain("JPEG", size=size, exif=exif)


def animated(kind: str, *, size=(64, 48)) -> bytes:
    """Three frames: red, green, blue."""
    frames = [Image.new("RGB", size, color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def png_claiming(width: int, height: int) -> bytes:
    """A small PNG whose header declares `width` x `height` and whose data end early."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
