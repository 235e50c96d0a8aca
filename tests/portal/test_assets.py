"""The vendor folder: what is copied, what is missing, what templates ask for."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from portal import assets

TEMPLATES = assets.ROOT / "templates"


@pytest.fixture
def node_modules(tmp_path) -> Path:
    """Return a folder with every file that is copied, as the packages lay them out."""
    folder = tmp_path / "node_modules"
    for name in assets.FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"body{}\n/*# sourceMappingURL=x.css.map */\n")
    for name in assets.PACKAGES:
        described = {"version": "1.2.3", "license": "MIT"}
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "package.json").write_text(json.dumps(described))
    outline = folder / "@tabler/icons/icons/outline"
    outline.mkdir(parents=True)
    for name in assets.ICONS:
        frame = '<path stroke="none" d="M0 0h24v24H0z" fill="none" />'
        (outline / f"{name}.svg").write_text(
            f'<svg\n class="x">\n{frame}\n<path d="M1 1" />\n</svg>'
        )
    return folder


def test_the_folder_holds_every_file_with_its_digest(node_modules, tmp_path):
    out = tmp_path / "vendor"

    manifest = assets.build(node_modules=node_modules, out=out)

    assert set(manifest["sha256"]) == {*assets.FILES.values(), assets.SPRITE}
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert json.loads((out / assets.MANIFEST).read_text()) == manifest
    assert manifest["packages"]["@tabler/core"] == {"version": "1.2.3", "licence": "MIT"}


def test_a_map_that_is_not_shipped_is_not_named(node_modules, tmp_path):
    assets.build(node_modules=node_modules, out=tmp_path / "vendor")

    assert (tmp_path / "vendor/tabler.min.css").read_bytes() == b"body{}\n"


def test_the_sprite_has_each_icon_without_its_frame(node_modules):
    sprite = assets.sprite(node_modules / "@tabler/icons/icons/outline")

    assert re.findall(r'symbol id="([^"]+)"', sprite) == list(assets.ICONS)
    assert "M0 0h24v24H0z" not in sprite
    assert sprite.count('<path d="M1 1" />') == len(assets.ICONS)


@pytest.mark.parametrize(
    "missing",
    [
        "@tabler/core/dist/css/tabler.min.css",
        "@tabler/icons/icons/outline/x.svg",
        "@tabler/icons/package.json",
    ],
)
def test_a_missing_file_is_named_and_the_old_folder_stays(node_modules, tmp_path, missing):
    out = tmp_path / "vendor"
    assets.build(node_modules=node_modules, out=out)
    (node_modules / missing).unlink()

    with pytest.raises(assets.MissingAsset, match=re.escape(missing)):
        assets.build(node_modules=node_modules, out=out)

    assert (out / assets.MANIFEST).is_file()
    assert not (tmp_path / "vendor.new").exists()


def test_the_list_of_icons_is_what_templates_show():
    text = "".join(path.read_text() for path in TEMPLATES.rglob("*.html"))
    code = (assets.ROOT / "portal/web/context.py").read_text()
    code += (assets.ROOT / "portal/web/overview.py").read_text()
    named = set(re.findall(r'{% icon "([^"]+)"', text))
    named |= {name for name in assets.ICONS if f'"{name}"' in code}

    assert named == set(assets.ICONS)


def test_the_lock_names_no_registry():
    lock = json.loads((assets.ROOT / "package-lock.json").read_text())
    packages = {name: row for name, row in lock["packages"].items() if name}

    assert set(assets.PACKAGES) <= {name.removeprefix("node_modules/") for name in packages}
    assert [name for name, row in packages.items() if "resolved" in row] == []
    assert all(row["integrity"].startswith("sha512-") for row in packages.values())
