"""A certificate authority of the test's own, and what it signs."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Authority:
    """A name and a key that vouch for others."""

    name: str
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, name: str) -> Authority:
        return cls(name, ec.generate_private_key(ec.SECP256R1()))

    def sign(self, name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
        """Return a certificate for host `name` and 127.0.0.1, PEM; its own when `key` is its."""
        now = datetime.now(UTC)
        hosts = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        is_own = key is self.key
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_own, path_length=None), critical=True)
        )
        if not is_own:
            certificate = certificate.add_extension(
                x509.SubjectAlternativeName(hosts), critical=False
            )
        signed = certificate.sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


def write(folder: Path) -> None:
    """Write ca.pem, cert.pem and key.pem for localhost, and stranger.pem of another authority."""
    ours, stranger = Authority.make("ours"), Authority.make("stranger")
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "ca.pem").write_bytes(ours.sign("ours", ours.key))
    (folder / "stranger.pem").write_bytes(stranger.sign("stranger", stranger.key))
    (folder / "cert.pem").write_bytes(ours.sign("localhost", key))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
