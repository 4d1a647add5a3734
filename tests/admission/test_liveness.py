"""Whether something answers where a webhook is asked: the Service, its endpoints, the dates of certificates."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from posture.admission.engines._x509 import validities
from posture.admission.engines.liveness import SERVICES, SLICES, keys, up
from posture.model import Gap, Key, Snapshot
from tests.generator.engines import FUTURE, NOW, PAST, answering, authority, endpoint_slice
from tests.generator.objects import Object, snapshot

VALID, EXPIRED = authority(FUTURE), authority(PAST)
ELSEWHERE = answering("other", "hook")


def client(bundle: str = VALID, **service: Any) -> Object:
    """Where the webhook is asked: pay/hook, unless it says otherwise."""
    return {"service": {"namespace": "pay", "name": "hook", "port": 443, **service}, "caBundle": bundle}


def seen(*objects: Object, gaps: tuple[Gap, ...] = (), now: str = NOW) -> Snapshot:
    """A cluster with another webhook's backend, and these objects."""
    return replace(snapshot([*ELSEWHERE, *objects], gaps), settings={"now": now} if now else {})


def service(**spec: Any) -> list[Object]:
    """The Service with another spec, and its endpoints."""
    made, endpoints = answering("pay", "hook")
    return [made | {"spec": made["spec"] | spec}, endpoints]


def text(pem: bytes) -> str:
    """As a caBundle holds it."""
    return base64.b64encode(pem).decode()


def joined(*bundles: str) -> str:
    """Bundles as one."""
    return text(b"".join(map(base64.b64decode, bundles)))


UNREADABLE = text(b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")


@pytest.mark.parametrize(
    ("objects", "config", "answers", "why"),
    [
        (answering("pay", "hook"), client(), True, ""),
        (answering("pay", "hook", [False, True]), client(), True, ""),
        (answering("pay", "hook"), {"service": {"namespace": "pay", "name": "hook"}, "caBundle": VALID}, True, ""),
        (answering("pay", "hook", [False]), client(), False, "no endpoint of Service pay/hook is ready"),
        (answering("pay", "hook", []), client(), False, "no endpoint of Service pay/hook is ready"),
        (answering("pay", "hook")[:1], client(), False, "no endpoint of Service pay/hook is ready"),
        ([], client(), False, "Service pay/hook does not exist"),
        (answering("pay", "hook"), client(port=8443), False, "Service pay/hook has no port 8443"),
        (answering("shop", "hook"), client(), False, "Service pay/hook does not exist"),
        (service(type="ExternalName"), client(), None, "Service pay/hook leads out of the cluster"),
        (service(clusterIP="None"), client(), None, "Service pay/hook is headless: not every API server can reach it"),
        (service(ports=[{"name": "admin", "port": 443}]), client(), False, "no endpoint of Service pay/hook is ready"),
        (answering("pay", "hook"), client(EXPIRED), False, "its CA bundle expired on 2026-10-01"),
        (answering("pay", "hook"), client(joined(EXPIRED, VALID)), True, ""),
        (answering("pay", "hook"), client(UNREADABLE), False, "its CA bundle holds no certificate that can be read"),
        (answering("pay", "hook"), client("not base64"), False, "its CA bundle holds no certificate that can be read"),
        (answering("pay", "hook"), client(joined(UNREADABLE, VALID)), True, ""),
        (answering("pay", "hook"), client(""), None, "has no CA bundle: the system's roots are not known"),
        ([], client(""), False, "Service pay/hook does not exist"),
        ([], {"url": "https://hook.example.com/"}, None, "answers at a URL outside the cluster"),
        ([], {"url": "https://hook.example.com/", "caBundle": EXPIRED}, False, "its CA bundle expired on 2026-10-01"),
        ([], {}, False, "has neither a Service nor a URL"),
        ([], {"service": ["x"], "caBundle": 7}, False, "its CA bundle holds no certificate that can be read"),
    ],
)  # fmt: skip
def test_whether_a_backend_answers(objects: list[Object], config: Any, answers: bool | None, why: str) -> None:
    """A Service with the port, an endpoint behind it that is ready, and one certificate that counts today."""
    assert up(seen(*objects), config) == (answers, why)


def test_a_bundle_that_is_not_valid_yet() -> None:
    """A root counts from its first day on."""
    found = up(seen(*answering("pay", "hook"), now="2025-12-31T23:59:59Z"), client())
    assert found == (False, "its CA bundle is not valid before 2026-01-01")


def test_without_the_time_nothing_expires() -> None:
    """Where nobody says what time it is, only a bundle that cannot be read is none."""
    assert up(seen(*answering("pay", "hook"), now=""), client(EXPIRED)) == (True, "")
    assert up(seen(*answering("pay", "hook"), now="today"), client(EXPIRED)) == (True, "")
    assert up(seen(*answering("pay", "hook"), now=""), client(UNREADABLE))[0] is False


@pytest.mark.parametrize(
    ("kind", "namespace", "objects", "answers"),
    [
        (SERVICES, "pay", [], None),
        (SERVICES, "other", [], False),
        (SLICES, "pay", answering("pay", "hook")[:1], None),
        (SLICES, "", answering("pay", "hook")[:1], None),
        (SLICES, "other", answering("pay", "hook")[:1], False),
        (SLICES, "", answering("pay", "hook"), True),
    ],
)
def test_a_gap_is_never_an_outage(kind: str, namespace: str, objects: list[Object], answers: bool | None) -> None:
    """What could not be read may be there; what was read is."""
    found, why = up(seen(*objects, gaps=(Gap(kind, namespace, "forbidden", "may not be listed"),)), client())
    assert found is answers
    assert (found is None) == ("may not be listed" in why)


def test_a_folder_says_nothing_of_backends() -> None:
    """Without any EndpointSlice it is no cluster: a webhook answers, unless its certificates have expired."""
    folder = replace(snapshot([]), settings={"now": NOW})
    assert up(folder, client()) == (True, "")
    assert up(folder, client("")) == (True, "")
    assert up(folder, client(EXPIRED))[0] is False
    unread = replace(
        folder, gaps=(Gap(SLICES, "", "forbidden", "may not be listed"), Gap("services", "", "failed", ""))
    )
    assert up(unread, client())[0] is None


def test_what_decides_is_named() -> None:
    """The Service, there or not, and each of its slices: a change of one of these is the cause."""
    found = keys(seen(*answering("pay", "hook"), endpoint_slice("shop", "hook", [True])), client())
    assert found == (Key(SERVICES, "pay", "hook"), Key(SLICES, "pay", "hook-x7k2p"))
    assert keys(seen(), client()) == (Key(SERVICES, "pay", "hook"),)
    assert keys(seen(), {"url": "https://hook.example.com/"}) == ()


# Certificates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("year", [1950, 1999, 2049, 2050, 9999])
def test_dates_in_both_notations(year: int) -> None:
    """Up to 2049 years have two digits, later ones four."""
    from datetime import UTC, datetime

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    key, name = generate_private_key(SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x" * 60)])
    until = datetime(year, 12, 31, 23, 59, 58, tzinfo=UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1 << 100)
        .not_valid_before(datetime(1950, 1, 1, tzinfo=UTC))
        .not_valid_after(until)
        .sign(key, SHA256())
    )
    (found,) = validities(text(made.public_bytes(Encoding.PEM)))
    assert found == (datetime(1950, 1, 1, tzinfo=UTC), until)


def test_every_damage_of_a_certificate_is_survived() -> None:
    """A certificate that is cut off, or of which a byte is another, is read, or passed over; nothing is raised."""
    pem = base64.b64decode(VALID).decode()
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))

    def read(damaged: bytes) -> int:
        block = b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(damaged) + b"\n-----END CERTIFICATE-----\n"
        return len(validities(text(block)))

    assert read(der) == 1
    cut = [read(der[:size]) for size in range(len(der))]
    assert set(cut) == {0}
    turned = [read(der[:at] + bytes([der[at] ^ bit]) + der[at + 1 :]) for at in range(len(der)) for bit in (1, 128)]
    assert set(turned) == {0, 1}
