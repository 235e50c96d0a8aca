"""A reader is woken by what is renamed into its folder."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from workers.protocol import filewatch
from workers.protocol.filewatch import Watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")

#: Longer than any test may take: a wait that ends was woken.
FOREVER = 60.0


@pytest.fixture
def watch() -> Iterator[Watch]:
    made = Watch()
    yield made
    made.close()


def rename_into(folder, name: str = "one.msg") -> None:
    draft = folder / f".{name}.tmp"
    draft.write_text("x")
    draft.replace(folder / name)


def test_a_renamed_file_ends_the_wait(watch, tmp_path):
    watch.add(tmp_path)
    threading.Timer(0.05, rename_into, [tmp_path]).start()

    watch.wait(FOREVER)

    assert (tmp_path / "one.msg").exists()


def test_what_came_between_two_waits_is_noticed(watch, tmp_path):
    watch.add(tmp_path)
    rename_into(tmp_path)
    rename_into(tmp_path, "two.msg")

    watch.wait(FOREVER)
    started = time.monotonic()
    watch.wait(0.1)

    assert time.monotonic() - started >= 0.09


def test_one_watch_looks_at_many_folders(watch, tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        watch.add(folder)

    for folder in folders:
        rename_into(folder)
        watch.wait(FOREVER)

    assert watch.is_complete


def test_a_removed_folder_is_known_to_be_gone(watch, tmp_path):
    (tmp_path / "queue").mkdir()
    watch.add(tmp_path / "queue")

    (tmp_path / "queue").rmdir()
    watch.wait(FOREVER)

    assert not watch.is_complete


def test_a_folder_that_is_not_there_cannot_be_watched(watch, tmp_path):
    with pytest.raises(filewatch.Unwatchable, match="No such file"):
        watch.add(tmp_path / "none")


def test_other_systems_say_so(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")

    with pytest.raises(filewatch.Unwatchable):
        Watch()
