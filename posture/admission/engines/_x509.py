"""When the certificates of a PEM bundle are valid. Nothing else of them is read, and no signature is checked.

Source: RFC 5280 §4.1 (Certificate, Validity), X.690 §8 and §10 (DER); what of a bundle is passed over: Go's
x509.CertPool.AppendCertsFromPEM.
"""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----")
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_VALIDITY = 3
"""Its place in a TBSCertificate without the version: behind serialNumber, signature and issuer."""


class Validity(NamedTuple):
    """The first and the last moment at which a certificate counts."""

    since: datetime
    until: datetime


@lru_cache(maxsize=256)
def validities(bundle: str) -> tuple[Validity, ...]:
    """Of each certificate that can be read in a base64 text of PEM; none where nothing can be verified with it."""
    found = []
    try:
        blocks = _PEM.findall(b64decode(bundle))
    except ValueError:
        return ()
    for block in blocks:
        try:
            found.append(_validity(b64decode(block)))
        except (ValueError, IndexError):  # the server passes over it too
            continue
    return tuple(found)


def _validity(certificate: bytes) -> Validity:
    """Raises ValueError or IndexError for what is no certificate."""
    (_, signed), *_ = _elements(_only(_elements(certificate)[0]))
    fields = [one for one in _elements(signed) if one[0] != _VERSION]
    since, until = _elements(_only(fields[_VALIDITY]))
    return Validity(_time(*since), _time(*until))


def _only(element: tuple[int, bytes]) -> bytes:
    """What a SEQUENCE holds."""
    tag, body = element
    if tag != _SEQUENCE:
        raise ValueError("no sequence")
    return body


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """The tags and bodies of elements that follow each other."""
    found, at = [], 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:  # the long form: so many bytes hold the size
            count = size & 0x7F
            size = int.from_bytes(data[at : at + count])
            at += count
        if at + size > len(data):
            raise ValueError("cut off")
        found.append((tag, data[at : at + size]))
        at += size
    return found


def _time(tag: int, body: bytes) -> datetime:
    text = body.decode("ascii")
    if tag == _UTC_TIME:  # two digits of a year from 1950 to 2049
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
