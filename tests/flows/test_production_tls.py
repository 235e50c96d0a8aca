"""A node on another machine, as in production: amqps to the broker, https to the portal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from portal.demo import stack
from tests.flows import platform as platforms
from tests.flows import real_node, tls_front
from tests.hostile import certificates, private_broker
from workers.protocol import tls

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq, pytest.mark.timeout(300)]

PRODUCTION = {
    "NODEFOLK_DEBUG": "false",
    "NODEFOLK_SECRET_KEY": "a-secret-of-this-test-alone-0123456789-0123456789-abcdefgh",
    "NODEFOLK_PROXIES": "1",
    "NODEFOLK_EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made: Path = tmp_path_factory.mktemp("certificates")
    certificates.write(made)
    return made


@pytest.fixture(scope="module")
def platform(folder, tmp_path_factory) -> Iterator[platforms.Platform]:
    """A platform without debug, on a RabbitMQ that speaks TLS only, behind a proxy that does."""
    root, port = tmp_path_factory.mktemp("production"), stack.free_port()
    with (
        private_broker.started(root, certificates=folder) as broker,
        tls_front.before(port, certificates=folder) as url,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv(tls.CA_VARIABLE, str(folder / "ca.pem"))
        servers = {**broker.variables, **PRODUCTION}
        with platforms.running(
            root / "data", servers=servers, port=port, public_url=url
        ) as running:
            yield running


def test_the_deployment_check_has_no_complaint(platform):
    done = platform.manage("check", "--deploy", "--fail-level", "WARNING")

    assert done.returncode == 0, done.stderr


def test_a_plain_request_is_sent_to_https(platform):
    answer = httpx.get(f"http://127.0.0.1:{platform.stack.port}/api/v1/health/live")

    assert answer.status_code == 301
    assert answer.headers["location"].startswith("https://")


def test_a_node_enrols_computes_and_is_paid_over_tls_alone(platform):
    with real_node.running(platform, 61) as node:
        partner = platform.puppet(2)
        partner.beat()
        job_id = platform.submit()
        partner.work(job_id, found=[])  # the small pictures are of one colour

        outcome = platform.finish(job_id)

        assert outcome.job["state"] == "finished"
        assert node.worked(job_id) == ["accepted"]
        assert node.config["portal_url"] == platform.stack.url
        assert node.config["broker"]["url"].startswith("amqps://localhost:")
        assert node.config["models"][0]["url"].startswith(f"{platform.stack.url}/")
        assert rewards(platform, job_id, node.node_id) == 1
    platform.assert_sound()


def test_a_node_that_does_not_trust_the_portals_certificate_does_not_enrol(platform, folder):
    distrustful = replace(
        platform.stack,
        environment={**platform.stack.environment, tls.CA_VARIABLE: str(folder / "stranger.pem")},
    )
    node = real_node.prepare(replace(platform, stack=distrustful), 62)

    done = node.command("enroll", "--portal", platform.stack.url, "--token", "nfe_any")

    assert done.returncode == 1
    assert "certificate verify failed" in done.stderr
    assert not node.home.config_file.exists()


def rewards(platform, job_id: str, node_id: str) -> int:
    return platform.python(
        "from payments.models import TransferIntent\n"
        "from tasks.models import Replica\n"
        f"(pk,) = Replica.objects.filter(job={job_id!r}, node={node_id!r})"
        ".values_list('pk', flat=True)\n"
        "found = TransferIntent.objects.filter(key=f'replica:{pk}:reward')\n"
        "print(json.dumps(found.count()))"
    )
