"""Downloads against a real HTTP server that lies in every way we know."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator

import httpx
import pytest

from tests.workers.platform_double import Served
from workers import transfer
from workers.protocol import digests

BODY = bytes(range(256)) * 1000


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with transfer.make_client() as made:
        yield made


def get(url: str, client: httpx.Client, *, body: bytes = BODY) -> bytes:
    """Fetch, expecting `body`, without pauses between attempts."""
    sink = io.BytesIO()
    transfer.fetch_into(
        sink,
        url,
        digest=digests.digest(body),
        size_bytes=len(body),
        client=client,
        sleep=lambda _: None,
    )
    return sink.getvalue()


def test_the_promised_bytes_are_fetched(server, client):
    url = server.serve("/a", Served(BODY))

    assert (
        transfer.fetch(url, digest=digests.digest(BODY), size_bytes=len(BODY), client=client)
        == BODY
    )


@pytest.mark.parametrize(
    ("served", "error"),
    [
        (Served(BODY + b"x"), transfer.WrongSize),
        (Served(BODY[:-1]), transfer.WrongSize),
        (Served(b"x" * len(BODY)), transfer.WrongDigest),
        (Served(status=404), transfer.TransferFailed),
        (Served(status=403), transfer.TransferFailed),
        (Served(status=204), transfer.TransferFailed),
    ],
)
def test_anything_else_is_refused_after_one_attempt(server, client, served, error):
    url = server.serve("/a", served)

    with pytest.raises(error) as caught:
        get(url, client)

    assert type(caught.value) is error
    assert server.requested == ["/a"]


def test_more_than_promised_without_a_length_stops_early(server, client):
    """A server that closes instead of giving a length cannot send without end."""
    url = server.serve("/a", Served(BODY * 50, has_length=False))

    with pytest.raises(transfer.WrongSize):
        get(url, client)


def test_packed_bytes_are_not_unpacked(server, client):
    bomb = gzip.compress(bytes(len(BODY)))
    url = server.serve("/a", Served(bomb, headers={"Content-Encoding": "gzip"}))

    with pytest.raises(transfer.WrongSize):
        get(url, client, body=bytes(len(BODY)))


def test_a_servers_trouble_is_tried_again(server, client):
    url = server.serve("/a", Served(status=503), Served(BODY, cut_at=1000), Served(BODY))

    assert get(url, client) == BODY
    assert server.requested == ["/a"] * 3


def test_lasting_trouble_is_given_up(server, client):
    url = server.serve("/a", Served(status=500))

    with pytest.raises(transfer.TransferFailed, match="HTTP 500"):
        get(url, client)

    assert server.requested == ["/a"] * transfer.ATTEMPTS_MAX


def test_a_closed_port_is_a_failed_download(client):
    with pytest.raises(transfer.TransferFailed):
        get("http://127.0.0.1:9/a", client)


@pytest.mark.parametrize("url", ["http://[", "http:///a", "ftp://127.0.0.1/a"])
def test_a_bad_address_is_a_failed_download(url, client):
    with pytest.raises(transfer.TransferFailed):
        get(url, client)


def test_a_redirect_on_the_same_host_is_followed(server, client):
    server.serve("/b", Served(BODY))
    url = server.serve("/a", Served(status=302, headers={"Location": "/b"}))

    assert get(url, client) == BODY


@pytest.mark.parametrize(
    "target", ["http://localhost:{port}/b", "http://127.0.0.1:9/b", "https://127.0.0.1:{port}/b"]
)
def test_a_redirect_to_another_host_is_refused(server, client, target):
    port = server.url.rpartition(":")[2]
    server.serve("/b", Served(BODY))
    url = server.serve("/a", Served(status=302, headers={"Location": target.format(port=port)}))

    with pytest.raises(transfer.TransferFailed, match="another host"):
        get(url, client)

    assert server.requested == ["/a"]


def test_redirects_in_a_circle_are_refused(server, client):
    url = server.serve("/a", Served(status=302, headers={"Location": "/a"}))

    with pytest.raises(transfer.TransferFailed, match="redirects"):
        get(url, client)

    assert len(server.requested) == transfer.REDIRECTS_MAX + 1
