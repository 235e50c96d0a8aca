"""Fill portal/static/vendor/ from node_modules/: `python -m portal.assets`.

Plain standard library, so it runs before anything is installed. The packages and their
digests stand in package-lock.json, which `npm ci --ignore-scripts` checks; the result is
generated and never committed. Nothing of a package is executed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import TypedDict

ROOT = Path(__file__).resolve().parent.parent

#: Written last, so that a folder with it is complete.
MANIFEST = "manifest.json"

SPRITE = "icons.svg"

#: File in node_modules -> name in portal/static/vendor.
FILES = {
    "@tabler/core/dist/css/tabler.min.css": "tabler.min.css",
    "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2": "inter-latin.woff2",
    "@fontsource-variable/inter/files/inter-latin-ext-wght-normal.woff2": "inter-latin-ext.woff2",
    "@fontsource-variable/inter/files/inter-cyrillic-wght-normal.woff2": "inter-cyrillic.woff2",
    "@fontsource-variable/inter/LICENSE": "licences/inter.txt",
    "@tabler/icons/LICENSE": "licences/tabler-icons.txt",
}

PACKAGES = ("@tabler/core", "@tabler/icons", "@fontsource-variable/inter")

#: Every icon a template may name; a test compares this list with the templates.
ICONS = (
    "alert-triangle",
    "book",
    "chevron-down",
    "chevron-left",
    "chevron-right",
    "circle-check",
    "circle-dashed",
    "clock",
    "coin",
    "copy",
    "cpu",
    "download",
    "focus-2",
    "id-badge-2",
    "key",
    "layout-dashboard",
    "library-photo",
    "logout",
    "menu-2",
    "moon",
    "photo",
    "player-pause",
    "player-play",
    "player-stop",
    "plus",
    "server-2",
    "shield-check",
    "sun",
    "trash",
    "upload",
    "user",
    "wallet",
    "x",
)

# Tabler's icons are `<svg ...>` with paths; the first path is an invisible square.
_SVG = re.compile(r"<svg[^>]*>(?P<shapes>.*)</svg>", re.DOTALL)
_FRAME = re.compile(r'<path stroke="none" d="M0 0h24v24H0z" fill="none"\s*/>')
# A map that is not shipped would stop `collectstatic`.
_SOURCE_MAP = re.compile(rb"/\*# sourceMappingURL=[^*]*\*/\s*$")


class MissingAsset(Exception):
    """A file that the pages need is not in node_modules."""


class Manifest(TypedDict):
    """What the vendor folder holds and where it came from."""

    #: Package -> version and licence.
    packages: dict[str, dict[str, str]]
    #: File -> SHA-256, hex.
    sha256: dict[str, str]


def build(*, node_modules: Path, out: Path) -> Manifest:
    """Write the vendor folder anew and return its manifest.

    Raises:
        MissingAsset: a package, a file or an icon is absent; `out` is then left as it was.
    """
    fresh = out.with_name(f"{out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        for source, name in FILES.items():
            _write(fresh / name, _SOURCE_MAP.sub(b"", _read(node_modules / source)))
        _write(fresh / SPRITE, sprite(node_modules / "@tabler/icons/icons/outline").encode())
        manifest = _manifest(node_modules, fresh)
        _write(fresh / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    except MissingAsset:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    return manifest


def sprite(folder: Path) -> str:
    """Join the icons of `ICONS` into one SVG; a page shows one by `<use href="...#name">`.

    Raises:
        MissingAsset: an icon is not in the folder, or is not drawn as expected.
    """
    symbols = []
    for name in ICONS:
        match = _SVG.search(_read(folder / f"{name}.svg").decode())
        if match is None:
            raise MissingAsset(f"the icon {name} is not an SVG")
        shapes = " ".join(_FRAME.sub("", match["shapes"]).split())
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{shapes}</symbol>')
    return '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise MissingAsset(f"{path} is missing; run `npm ci --ignore-scripts` first")
    return path.read_bytes()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _manifest(node_modules: Path, folder: Path) -> Manifest:
    packages = {}
    for name in PACKAGES:
        described = json.loads(_read(node_modules / name / "package.json"))
        packages[name] = {"version": described["version"], "licence": described["license"]}
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {"packages": packages, "sha256": files}


def main() -> int:
    """Run from the command line; 1 and one line on stderr when something is missing."""
    parser = argparse.ArgumentParser(prog="portal.assets", description=__doc__)
    parser.add_argument("--node-modules", type=Path, default=ROOT / "node_modules")
    parser.add_argument("--out", type=Path, default=ROOT / "portal" / "static" / "vendor")
    options = parser.parse_args()
    try:
        manifest = build(node_modules=options.node_modules, out=options.out)
    except MissingAsset as missing:
        sys.stderr.write(f"assets: {missing}\n")
        return 1
    sys.stdout.write(f"assets: {len(manifest['sha256'])} files in {options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
