"""A broker that speaks TLS only: plain connections and other people's certificates fail."""

from __future__ import annotations

import subprocess
import sys

import pytest
from kombu import Connection

from portal.demo.stack import BASE_DIR
from tests.hostile import certificates
from workers.protocol import tls

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq]

SERVICES = str(BASE_DIR / "bin" / "services")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("certificates")
    certificates.write(made)
    return made


@pytest.fixture(scope="module")
def broker_url(folder, tmp_path_factory):
    """Start a private RabbitMQ with a TLS listener only; return its URL with a login."""
    home = str(tmp_path_factory.mktemp("tls"))
    started = [SERVICES, "start", home, "--tls", str(folder)]
    subprocess.run(started, check=True, stdout=sys.__stderr__)
    told = subprocess.run([SERVICES, "env", home], check=True, capture_output=True, text=True)
    lines = told.stdout.splitlines()
    yield next(line.partition("=")[2] for line in lines if " BROKER_URL=" in line)
    subprocess.run([SERVICES, "stop", home], check=True)


def connect(url: str, **changes) -> None:
    options = tls.options(url)
    with Connection(
        url, ssl={**options, **changes} if options else False, connect_timeout=5
    ) as connection:
        connection.connect()


def test_our_authoritys_certificate_is_accepted(broker_url, folder, monkeypatch):
    monkeypatch.setenv(tls.CA_VARIABLE, str(folder / "ca.pem"))

    assert broker_url.startswith("amqps://")
    connect(broker_url)


def test_a_plain_connection_is_refused(broker_url):
    with pytest.raises(OSError):  # noqa: PT011  # the broker hangs up, in one of several ways
        connect(broker_url.replace("amqps:", "amqp:"))


def test_an_unknown_authoritys_certificate_is_refused(broker_url, folder, monkeypatch):
    monkeypatch.setenv(tls.CA_VARIABLE, str(folder / "stranger.pem"))

    with pytest.raises(OSError, match="certificate verify failed"):
        connect(broker_url)


def test_a_certificate_for_another_host_is_refused(broker_url, folder, monkeypatch):
    monkeypatch.setenv(tls.CA_VARIABLE, str(folder / "ca.pem"))

    with pytest.raises(OSError, match="certificate verify failed"):
        connect(broker_url, server_hostname="broker.example")


def test_other_addresses_ask_for_no_tls():
    assert tls.options("amqp://broker.example") is False
    assert tls.options("filebroker:///x") is False
