"""Certificates for tests, made here: an authority, and what it signs."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from libs.tls import TlsFiles

_DAY = dt.timedelta(days=1)


def spiffe(name: str) -> str:
    """Return the SPIFFE id of a service."""
    return f"spiffe://hasten.test/ns/hasten/sa/{name}"


@dataclass(frozen=True)
class Authority:
    """Signs certificates."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls) -> Authority:
        """Return an authority that nobody knows yet."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        made = _builder(name, name, key, expired=False).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return cls(key, made.sign(key, hashes.SHA256()))

    def write(self, folder: Path, name: str, *, expired: bool = False) -> TlsFiles:
        """Write a certificate of a service, its key and this authority; return where they are."""
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName(
            [
                x509.UniformResourceIdentifier(spiffe(name)),
                x509.DNSName("localhost"),
                x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            ]
        )
        builder = _builder(subject, self.certificate.subject, key, expired=expired)
        certificate = builder.add_extension(names, critical=False).sign(self.key, hashes.SHA256())
        files = TlsFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        # The key first: in between, the two do not belong together.
        files.key.write_bytes(secret)
        files.certificate.write_bytes(_pem(certificate))
        files.authorities.write_bytes(_pem(self.certificate))
        return files


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, expired: bool
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    end = now - _DAY if expired else now + _DAY
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _DAY)
        .not_valid_after(end)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
