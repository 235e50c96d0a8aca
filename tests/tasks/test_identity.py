"""The platform's key: made once, whoever comes first."""

from __future__ import annotations

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tasks import identity
from workers.protocol import signatures

ROOT = Path(__file__).resolve().parents[2]
PRINT_KEY = """
import pathlib, sys
from django.conf import settings
from tasks import identity
settings.configure(PLATFORM_KEY_PATH=pathlib.Path(sys.argv[1]))
sys.stdin.read()
print(identity.platform_public_key())
"""


@pytest.fixture
def key_path(settings, tmp_path) -> Path:
    settings.PLATFORM_KEY_PATH = tmp_path / "keys" / "platform.key"
    return settings.PLATFORM_KEY_PATH


def test_the_key_is_made_on_first_use_and_kept(key_path):
    first = identity.platform_public_key()

    assert first == identity.platform_public_key()
    assert first == signatures.public_text(identity.platform_key())
    assert len(key_path.read_bytes()) == 32
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    assert list(key_path.parent.iterdir()) == [key_path]


def test_what_it_signs_can_be_checked(key_path):
    signature = signatures.sign(b"hello", key=identity.platform_key())

    signatures.verify(b"hello", signature, public_key=identity.platform_public_key())


@pytest.mark.parametrize("raw", [b"", b"x" * 31, b"x" * 33])
def test_a_file_that_holds_no_key_is_refused_and_left_alone(key_path, raw):
    key_path.parent.mkdir()
    key_path.write_bytes(raw)

    with pytest.raises(identity.PlatformKeyUnreadable):
        identity.platform_key()

    assert key_path.read_bytes() == raw


def test_two_processes_at_once_make_one_key(key_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PRINT_KEY, str(key_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]

    for process in processes:  # let both go
        process.stdin.close()
        process.stdin = None
    said = [process.communicate(timeout=60)[0].strip() for process in processes]

    assert said == [identity.platform_public_key()] * 2


def test_many_threads_at_once_make_one_key(tmp_path):
    for number in range(20):
        path = tmp_path / str(number) / "platform.key"
        start = Barrier(4)

        def make(path=path, start=start):
            start.wait(timeout=10)
            identity._create(path)
            return path.read_bytes()

        with ThreadPoolExecutor(4) as pool:
            made = [future.result() for future in [pool.submit(make) for _ in range(4)]]

        assert made == [path.read_bytes()] * 4
        assert len(made[0]) == 32
        assert list(path.parent.iterdir()) == [path]
