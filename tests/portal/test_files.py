"""Blobs over HTTP."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from django.test import RequestFactory
from PIL import Image as Pillow

from portal import files
from tasks import blobs
from tests import factories

PICTURE = factories.picture(size=(600, 300))


@pytest.fixture
def blob(db):
    return blobs.put(PICTURE, media_type="image/png")


@pytest.fixture
def link():
    """Return the path and query of a link, as nodes ask for it."""

    def make(digest: str, *, seconds: int = 60) -> str:
        expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
        url = blobs.sign_url(digest=digest, audience="node_1", expires_at=expires_at)
        return url[url.index("/blobs/") :]

    return make


def refused(response, status: int, code: str) -> None:
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    assert (response.json()["code"], response.json()["status"]) == (code, status)
    assert PICTURE not in response.content


def test_a_good_link_gives_the_bytes_to_anyone(client, blob, link):
    response = client.get(link(blob.digest))

    assert response.status_code == 200
    assert response.getvalue() == PICTURE
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Length"] == str(len(PICTURE))
    assert response["Content-Disposition"] == f'attachment; filename="{blob.digest}"'
    assert response["Cache-Control"] == "private, immutable"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert not response.cookies


def test_only_the_head_can_be_asked_for(client, blob, link):
    path = link(blob.digest)
    whole = client.get(path)
    assert whole.getvalue() == PICTURE

    head = client.head(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == whole.headers


def test_a_changed_link_is_refused(client, blob, link):
    path = link(blob.digest)
    for changed in (
        path.replace("node_1", "node_2"),
        path[:-1] + ("A" if path[-1] != "A" else "B"),
        path.partition("?")[0],
        path + "&audience=node_2",
    ):
        refused(client.get(changed), 403, "url_altered")


def test_a_link_opens_one_digest_only(client, blob, link):
    other = blobs.put(b"other bytes", media_type="text/plain")
    query = link(other.digest).partition("?")[2]

    refused(client.get(f"/blobs/{blob.digest}?{query}"), 403, "url_altered")
    refused(client.get(f"/blobs/{'0' * 64}?{query}"), 403, "url_altered")
    refused(client.get(f"/blobs/..%5Csecret_key?{query}"), 403, "url_altered")


def test_a_link_whose_time_is_over_is_gone(client, blob, link):
    refused(client.get(link(blob.digest, seconds=-1)), 410, "url_expired")


def test_a_good_link_to_nothing_is_not_found(client, db, link):
    refused(client.get(link("0" * 64)), 404, "not_found")


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_a_link_is_only_for_reading(client, blob, link, method):
    response = getattr(client, method)(link(blob.digest))

    assert response.status_code == 405
    assert blobs.read(blob.digest) == PICTURE


def test_a_signed_in_user_needs_a_link_too(client, blob, client_user):
    client.force_login(client_user)

    refused(client.get(f"/blobs/{blob.digest}"), 403, "url_altered")


def ask(blob, side=None, **headers):
    return files.picture_response(RequestFactory().get("/", headers=headers), blob, side)


def test_a_picture_is_sent_whole(blob):
    response = ask(blob)

    assert response.status_code == 200
    with response.file_to_stream as file:
        assert file.read() == PICTURE
    assert response["Content-Type"] == "image/png"
    assert response["Content-Length"] == str(len(PICTURE))
    assert response["ETag"] == f'"{blob.digest}"'
    assert response["Cache-Control"] == "private, max-age=3600"
    assert response["X-Content-Type-Options"] == "nosniff"


def test_a_picture_is_sent_small(blob):
    response = ask(blob, 240)

    assert response["Content-Type"] == "image/webp"
    assert Pillow.open(io.BytesIO(response.content)).size == (240, 120)
    assert response["ETag"] == f'"{blob.digest}-240"'
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("side", [None, 240])
def test_a_picture_that_the_browser_has_is_not_sent_again(blob, side):
    first = ask(blob, side, if_none_match='"older"')
    assert first.status_code == 200
    if side is None:
        first.file_to_stream.close()

    again = ask(blob, side, if_none_match=first["ETag"])

    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == first["ETag"]
    assert again["Cache-Control"] == first["Cache-Control"]


def test_another_size_is_another_picture(blob):
    response = ask(blob, 240, if_none_match=f'"{blob.digest}"')

    assert response.status_code == 200


def test_other_sides_are_not_made(blob):
    with pytest.raises(ValueError, match="241"):
        ask(blob, 241)
