"""A certificate authority for tests."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path


class Pair(NamedTuple):
    """A certificate and its private key, as PEM."""

    certificate: str
    key: str


class Authority:
    """Issues client certificates; its own is at `path`."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "posture tests")])
        own = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        self.path = folder / "authority.crt"
        self.path.write_text(_pem(own.sign(self._key, hashes.SHA256())))

    def client(self, user: str, *groups: str, password: bytes = b"", seconds: int = 86400) -> Pair:
        """A certificate that Kubernetes takes for this user in these groups; with a password, its key is encrypted.

        It expires after so many seconds.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names = [(NameOID.COMMON_NAME, user), *((NameOID.ORGANIZATION_NAME, group) for group in groups)]
        subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in names])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        signed = self._builder(subject, key, seconds).add_extension(usage, False).sign(self._key, hashes.SHA256())
        return Pair(_pem(signed), _key_pem(key, password))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, seconds: int = 86400
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(seconds=seconds))
        )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey, password: bytes) -> str:
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption_algorithm=locked
    ).decode()
