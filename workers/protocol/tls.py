"""TLS to a broker: the certificate must be good, and for the host that was asked for."""

from __future__ import annotations

import os
import ssl
from typing import Any
from urllib.parse import urlsplit

#: Names a file of trusted authorities instead of the system's; HTTPS obeys it as well.
CA_VARIABLE = "SSL_CERT_FILE"


def options(url: str) -> dict[str, Any] | bool:
    """Return kombu's `ssl` for this broker: False unless it is amqps.

    kombu by itself would accept any certificate.
    """
    parts = urlsplit(url)
    if parts.scheme != "amqps":
        return False
    return {
        "cert_reqs": ssl.CERT_REQUIRED,
        "ca_certs": os.environ.get(CA_VARIABLE) or None,
        "server_hostname": parts.hostname,
        "tls_minimum_version": ssl.TLSVersion.TLSv1_2,
    }
