"""Installs the built wheel into a clean environment without any network.

The wheel goes in by uv; of this environment only those distributions become visible that
the wheel's own metadata asks for, followed to the end. What it forgot to ask for is missing.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build_wheel(folder: Path) -> Path:
    """Build the project's wheel with hatchling, as a release does."""
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    (wheel,) = folder.glob("*.whl")
    return wheel


def make_environment(folder: Path) -> Path:
    """Make an empty virtual environment; return its bin folder."""
    _run(sys.executable, "-m", "uv", "venv", "--offline", "--quiet", str(folder))
    return folder / "bin"


def install(wheel: Path, bin_folder: Path, *, extra: str) -> list[str]:
    """Install the wheel with an extra; return the names of what it needs."""
    python = str(bin_folder / "python")
    _run(
        sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps", "--quiet",
        "--python", python, str(wheel),
    )  # fmt: skip
    site = Path(
        _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    (own,) = site.glob("nodefolk-*.dist-info")
    names = _closure(metadata.PathDistribution(own), extra)
    for name in names:
        _link(metadata.distribution(name), site)
    return sorted(names)


def _closure(start: metadata.Distribution, extra: str) -> set[str]:
    """Follow Requires-Dist; markers of this Python and platform are left to be generous."""
    found: set[str] = set()
    waiting = _needs(start, extra)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform or an older Python
        found.add(name)
        waiting |= _needs(distribution, "")
    return found


def _needs(distribution: metadata.Distribution, extra: str) -> set[str]:
    names = set()
    for text in distribution.requires or []:
        requirement, _, marker = text.partition(";")
        wanted = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        if wanted is None or wanted[1] == extra:
            found = re.match(r"[A-Za-z0-9._-]+", requirement)
            assert found
            names.add(found[0].lower().replace("_", "-"))
    return names


def _link(distribution: metadata.Distribution, site: Path) -> None:
    tops = {Path(str(file)).parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
    for top in tops:
        source, target = Path(str(distribution.locate_file(top))), site / top
        if source.exists() and not target.exists():
            target.symlink_to(source)


def _run(*arguments: str) -> str:
    done = subprocess.run(
        arguments, cwd=ROOT, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
