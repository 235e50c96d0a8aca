"""The cache of models on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import pytest

from tests.workers.platform_double import FileServer, Served
from workers import modelstore, transfer
from workers.modelstore import ModelStore
from workers.protocol import digests


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with transfer.make_client() as made:
        yield made


@pytest.fixture
def store(tmp_path) -> ModelStore:
    return ModelStore(tmp_path / "models", bytes_max=250)


def add(store: ModelStore, server: FileServer, client: httpx.Client, content: bytes) -> str:
    digest = digests.digest(content)
    url = server.serve(f"/{digest}", Served(content))
    store.add(digest=digest, size_bytes=len(content), url=url, client=client)
    return digest


def age(store: ModelStore, digest: str, seconds: int) -> None:
    os.utime(store._folder / digest, (seconds, seconds))


def test_a_model_is_fetched_once_and_found(store, server, client):
    digest = add(store, server, client, b"a" * 100)
    again = store.add(digest=digest, size_bytes=100, url="http://127.0.0.1:9/", client=client)

    assert again.read_bytes() == b"a" * 100
    assert store.find(digest) == again
    assert server.requested == [f"/{digest}"]
    assert again.stat().st_mode & 0o777 == 0o600


def test_an_unknown_model_is_not_found(store):
    assert store.find("0" * 64) is None
    assert store.digests() == []


def test_the_least_recently_used_gives_way(store, server, client):
    first = add(store, server, client, b"a" * 100)
    second = add(store, server, client, b"b" * 100)
    age(store, first, 1000)
    age(store, second, 2000)
    store.find(first)

    third = add(store, server, client, b"c" * 100)

    assert store.find(second) is None
    assert set(store.digests()) == {first, third}


def test_digests_are_listed_newest_first(store, server, client):
    first = add(store, server, client, b"a")
    second = add(store, server, client, b"b")
    age(store, first, 2000)
    age(store, second, 1000)

    assert store.digests() == [first, second]


def test_a_model_larger_than_the_cache_is_refused_unfetched(store, server, client):
    kept = add(store, server, client, b"a" * 100)

    with pytest.raises(modelstore.NoSpace):
        add(store, server, client, b"b" * 251)

    assert store.digests() == [kept]
    assert len(server.requested) == 1


def test_a_failed_download_leaves_nothing(store, server, client):
    url = server.serve("/a", Served(b"x" * 10))

    with pytest.raises(transfer.WrongDigest):
        store.add(digest="0" * 64, size_bytes=10, url=url, client=client)

    assert list(store._folder.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / ".half.part").write_bytes(b"x")

    ModelStore(folder, bytes_max=1)

    assert list(folder.iterdir()) == []


def test_a_removed_model_is_gone(store, server, client):
    digest = add(store, server, client, b"a")

    store.remove(digest)

    assert store.find(digest) is None
