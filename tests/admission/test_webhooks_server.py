"""What webhooks are asked about, against a real API server: nothing answers for them, so that it refuses all of that.

The match rules and conditions are those of random ValidatingAdmissionPolicies.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from posture.admission.engines.webhooks import judged, policies, variant
from posture.admission.policy import ADMITS, Asked, Policy, Verdict
from posture.cel import Process
from tests.admission.test_vap_server import SECONDS, forgotten, prepared, said, stored_pods
from tests.conftest import FIGURE
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.generator import vap
from tests.generator.objects import Object, snapshot
from tests.generator.vap import Ask, Case

PATH = f"/apis/{vap.ADMISSION}/validatingwebhookconfigurations"
NOWHERE = {"url": "https://127.0.0.1:9/"}


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """An evaluator in a process of its own."""
    with Process() as running:
        yield running


def configuration(name: str, **fields: Any) -> Object:
    """One webhook that nothing answers for, for what has a name that begins like its own."""
    mine = {"name": "mine", "expression": f"request.name.startsWith('{name}-')"}
    webhook = {
        "name": f"{name}.example.com", "clientConfig": NOWHERE, "failurePolicy": "Fail", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], **fields, "matchConditions": [mine, *fields.get("matchConditions", ())],
    }  # fmt: skip
    return {"apiVersion": vap.ADMISSION, "kind": "ValidatingWebhookConfiguration", "metadata": {"name": name},
            "webhooks": [webhook]}  # fmt: skip


def converted(case: Case) -> Object:
    """The webhook with a policy's match rules and conditions."""
    spec = case.policy["spec"]
    constraints = spec["matchConstraints"]
    kept = {field: constraints[field] for field in ("matchPolicy", "namespaceSelector", "objectSelector")
            if field in constraints}  # fmt: skip
    rules = [{key: value for key, value in rule.items() if key != "resourceNames"}
             for rule in constraints["resourceRules"]]  # fmt: skip
    conditions = spec.get("matchConditions", [])
    return configuration(case.policy["metadata"]["name"], rules=rules, matchConditions=conditions, **kept)


def installed(plane: ControlPlane, cases: list[Case]) -> dict[str, Object]:
    """Make the webhooks, and wait until the server heeds them; those that it takes, as it stores them."""
    found = {}
    for case in cases:
        with contextlib.suppress(RefusedError):  # conditions with parameters
            stored: Object = plane.request("POST", PATH, converted(case))
            found[case.policy["metadata"]["name"]] = stored | {"apiVersion": vap.ADMISSION, "kind": KIND}
    rule = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    plane.request("POST", PATH, configuration("vap-last", rules=[rule]))
    end = time.monotonic() + SECONDS
    while not refused(plane, LAST):
        assert time.monotonic() < end, "the server does not heed a new webhook"
        time.sleep(0.1)
    return found


KIND = "ValidatingWebhookConfiguration"
POD: Object = {"metadata": {"name": "vap-last-0"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
LAST = Ask("CREATE", "Pod", "vap-one", "vap-last-0", "admin", POD, {})


def refused(plane: ControlPlane, ask: Ask) -> bool:
    """Whether the server asked a webhook, or could not say whether it has to."""
    message = said(plane, ask)
    asked = "failed calling webhook" in message or "resulted in error" in message
    assert asked or not message or "already exists" in message, message
    return asked


def compared(plane: ControlPlane, cel: Process, random: Random, number: int) -> Counter[str]:
    """Ask both, and count."""
    prepared(plane)
    cases = [*vap.random_cases(random, number)]
    namespaces = {name: plane.request("GET", f"/api/v1/namespaces/{name}") for name in vap.NAMESPACES}
    stored = stored_pods(plane, cases)
    count: Counter[str] = Counter()
    try:
        taken = installed(plane, cases)
        count["webhooks"] = len(taken)
        found = {one.through.name.partition("/")[0]: one for one in policies(snapshot(taken.values()))}
        asks = [(found[name], ask) for case in cases for ask in case.asks
                if (name := case.policy["metadata"]["name"]) in found]  # fmt: skip
        verdicts = [verdict(policy, ask, namespaces, stored, cel) for policy, ask in asks]
        for (policy, ask), one in zip(asks, verdicts, strict=True):
            server = refused(plane, ask)
            count["cases"] += 1
            count["asked"] += server
            count["excused"] += bool(one.excused)
            if one.refuses is None and one.why != policy.opaque:
                count["unknown"] += 1
            else:
                assert (one.refuses is not False) == server, (policy.rule.given, policy.rule.conditions, ask, one)
    finally:
        for name in [*(case.policy["metadata"]["name"] for case in cases), "vap-last"]:
            with contextlib.suppress(RefusedError):
                plane.request("DELETE", f"{PATH}/{name}")
        forgotten(lambda: refused(plane, LAST))
    return count


def verdict(
    policy: Policy, ask: Ask, namespaces: dict[str, Object], stored: dict[str, Object], cel: Process
) -> Verdict:
    """What posture says: unknown is what the webhook is asked about, refused what cannot even be asked."""
    there = variant(policy, vap.space_of(ask))
    if there is None:
        return ADMITS
    return judged([Asked(policy, vap.request_of(ask, namespaces, stored), there.exemptions)], cel)[0]


@pytest.mark.parametrize(("number", "minor"), [(40, "1.36"), pytest.param(300, "1.36", marks=pytest.mark.prove)])
def test_random_webhooks(
    control_plane_of: Callable[[str], ControlPlane], cel: Process, record_property: Callable[[str, object], None],
    number: int, minor: str,
) -> None:  # fmt: skip
    """The server asks the same webhooks about the same requests."""
    seed = int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))
    print(f"POSTURE_SEED={seed}")
    count = compared(control_plane_of(minor), cel, Random(seed), number)
    print(count)
    assert count["webhooks"] > 0.7 * number
    assert count["unknown"] < 0.15 * count["cases"]  # conditions on what posture does not know of a request
    assert 0.15 < count["asked"] / count["cases"] < 0.9
    figure = f"webhooks: {count['webhooks']:,}, {count['cases']:,} requests to a server of {minor}, "
    figure += f"{count['asked']:,} asked about, {count['excused']:,} excused, {count['unknown']:,} unknown, "
    record_property(FIGURE, f"{figure}0 differences (POSTURE_SEED={seed})")
