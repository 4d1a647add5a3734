"""Each escalation by admission and by extension of the API, as real requests.

Policy engines are custom resources here, of definitions that take anything: that the engines follow them is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from posture.kinds import ADMISSION
from tests.generator.objects import Object, metadata, namespace, rule
from tests.graph.custom import definition, split
from tests.graph.proving import Part, Planes, Proof, Proving, cases, partial, proving
from tests.graph.step_objects import KEPT, REGISTRATION, ask, clear, config_map, configuration, proof
from tests.rbac.accounts import DRY, NS, everywhere, here

ENGINES = {
    "clusterpolicies.kyverno.io": "", "validatingpolicies.policies.kyverno.io": "", "policyexceptions.kyverno.io": NS,
    "policyexceptions.policies.kyverno.io": NS, "imagevalidatingpolicies.policies.kyverno.io": "",
    "proofs.constraints.gatekeeper.sh": "", "constrainttemplates.templates.gatekeeper.sh": "",
    "configs.config.gatekeeper.sh": "gatekeeper-system", "clusterimagepolicies.policy.sigstore.dev": "",
    "securitycontextconstraints.security.openshift.io": "",
}  # fmt: skip
"""The objects of policy engines that are written, and the namespaces of those that are in one."""
SERVED = (*ENGINES, "cninodes.vpcresources.k8s.aws")
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
KYVERNO_WEBHOOK = "kyverno-resource-validating-webhook-cfg"
GATEKEEPER_WEBHOOK = "gatekeeper-validating-webhook-configuration"


def path_of(resource: str) -> str:
    """Where an engine's objects are."""
    group, plural = split(resource)
    inside = f"namespaces/{ENGINES[resource]}/" if ENGINES[resource] else ""
    return f"/apis/{group}/v1/{inside}{plural}"


def policy(resource: str, name: str = KEPT) -> Object:
    """An engine's object, which says nothing."""
    group, plural = split(resource)
    meta = metadata(name, ENGINES[resource])
    return {"apiVersion": f"{group}/v1", "kind": plural.capitalize(), "metadata": meta}


def writing(edge: str, name: str, verb: str, resource: str, named: str = "") -> Proof:
    """One verb on an engine's objects, perhaps on one of them only. Constraints are all kinds of their group."""
    group, plural = split(resource)
    path, one = path_of(resource), named or KEPT
    asked = {
        "patch": ask(f"PATCH {path}/{one}?{DRY}", {"spec": {"changed": True}}),
        "delete": ask(f"DELETE {path}/{one}?{DRY}"), "deletecollection": ask(f"DELETE {path}?{DRY}"),
        "create": ask(f"POST {path}?{DRY}", policy(resource, "proof-fresh")),
    }  # fmt: skip
    held = rule(verb, "*" if group == CONSTRAINTS else plural, group, names=[named] if named else None)
    where = here if ENGINES[resource] == NS else everywhere
    return proof(edge, name, where(held), asked[verb])


def webhooks(which: str) -> str:
    """Where webhooks are configured."""
    return f"{REGISTRATION}/{which}webhookconfigurations"


NARROWED: Object = {"webhooks": []}
WEBHOOKS = [
    *(proof(edge, f"{name}-{which}", everywhere(rule(verb, f"{which}webhookconfigurations", ADMISSION, names=names)),
            asked)
      for edge, which, kind in (("rewrite-by-webhook", "mutating", "MutatingWebhookConfiguration"),
                                ("read-writes-by-webhook", "validating", "ValidatingWebhookConfiguration"))
      for name, verb, names, asked in (
          ("new", "create", None, ask(f"POST {webhooks(which)}?{DRY}", configuration("proof-new", kind))),
          ("led-elsewhere", "patch", [KEPT], ask(f"PATCH {webhooks(which)}/{KEPT}?{DRY}", NARROWED)))),
    proof("weaken-webhooks", "patch", everywhere(rule("patch", "validatingwebhookconfigurations", ADMISSION)),
          ask(f"PATCH {webhooks('validating')}/{KEPT}?{DRY}", NARROWED)),
    proof("weaken-webhooks", "all", everywhere(rule("deletecollection", "validatingwebhookconfigurations", ADMISSION)),
          ask(f"DELETE {webhooks('validating')}?{DRY}")),
    *(proof(edge, "delete", everywhere(rule("delete", "validatingwebhookconfigurations", ADMISSION, names=[name])),
            ask(f"DELETE {webhooks('validating')}/{name}?{DRY}"))
      for edge, name in (("weaken-kyverno-webhook", KYVERNO_WEBHOOK),
                         ("weaken-gatekeeper-webhook", GATEKEEPER_WEBHOOK))),
]  # fmt: skip

CONSTRAINTS = "constraints.gatekeeper.sh"
CONVERTED: Object = {"spec": {"conversion": {"strategy": "Webhook", "webhook": {
    "conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://192.0.2.1/"}}}}}  # fmt: skip
LED: Object = {"spec": {"service": {"namespace": NS, "name": "s", "port": 80}, "insecureSkipTLSVerify": True}}
SETTINGS = [
    *(writing("weaken-kyverno-policies", verb, verb, "clusterpolicies.kyverno.io")
      for verb in ("patch", "delete", "deletecollection")),
    writing("weaken-kyverno-policies", "validating", "patch", "validatingpolicies.policies.kyverno.io"),
    writing("weaken-kyverno-policies", "images", "patch", "imagevalidatingpolicies.policies.kyverno.io"),
    writing("except-from-kyverno", "new", "create", "policyexceptions.kyverno.io"),
    writing("except-from-kyverno", "widened", "patch", "policyexceptions.kyverno.io", KEPT),
    writing("except-from-kyverno-by-cel", "new", "create", "policyexceptions.policies.kyverno.io"),
    writing("except-from-kyverno-by-cel", "widened", "patch", "policyexceptions.policies.kyverno.io", KEPT),
    writing("weaken-gatekeeper-constraints", "constraint", "patch", f"proofs.{CONSTRAINTS}"),
    writing("weaken-gatekeeper-constraints", "template", "delete", "constrainttemplates.templates.gatekeeper.sh"),
    writing("exclude-from-gatekeeper", "named", "patch", "configs.config.gatekeeper.sh", "config"),
    writing("exclude-from-gatekeeper", "new", "create", "configs.config.gatekeeper.sh"),
    writing("weaken-image-policies", "patch", "patch", "clusterimagepolicies.policy.sigstore.dev"),
    writing("change-scc", "new", "create", "securitycontextconstraints.security.openshift.io"),
    writing("change-scc", "named", "patch", "securitycontextconstraints.security.openshift.io", KEPT),
    proof("change-kyverno-settings", "patch", everywhere(rule("patch", "configmaps", names=["kyverno"])),
          ask(f"PATCH /api/v1/namespaces/kyverno/configmaps/kyverno?{DRY}",
              {"data": {"resourceFilters": "[*/*,*,*]"}})),
    proof("map-cloud-identities-to-groups", "named", everywhere(rule("patch", "configmaps", names=["aws-auth"])),
          ask(f"PATCH /api/v1/namespaces/kube-system/configmaps/aws-auth?{DRY}",
              {"data": {"mapUsers": "- groups: [system:masters]"}})),
    proof("change-policy-definitions", "conversion",
          everywhere(rule("patch", "customresourcedefinitions", "apiextensions.k8s.io")),
          ask(f"PATCH {DEFINITIONS}/clusterpolicies.kyverno.io?{DRY}", CONVERTED)),
    proof("serve-api-groups", "one-of-them", everywhere(rule("patch", "apiservices", "apiregistration.k8s.io",
                                                             names=["v1.apps"])),
          ask(f"PATCH /apis/apiregistration.k8s.io/v1/apiservices/v1.apps?{DRY}", LED)),
    proof("serve-api-groups", "built-in", everywhere(rule("patch", "apiservices", "apiregistration.k8s.io")),
          ask(f"PATCH /apis/apiregistration.k8s.io/v1/apiservices/v1.apps?{DRY}", LED)),
]  # fmt: skip


def registered(kind: str, name: str, **spec: Any) -> Object:
    """An admission policy or a binding of one."""
    return {"apiVersion": f"{ADMISSION}/v1", "kind": kind, "metadata": metadata(name), "spec": spec}


PODS = {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}
MUTATING = registered(
    "MutatingAdmissionPolicy", "proof-both", matchConstraints=PODS, reinvocationPolicy="Never", failurePolicy="Fail",
    mutations=[{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/spec'}]"}}],
)  # fmt: skip
BOUND = registered("MutatingAdmissionPolicyBinding", "proof-both", policyName="proof-both")
POLICIES = [
    Proof("rewrite-by-policy", "two-identities",
          (everywhere(rule("create", "mutatingadmissionpolicies", ADMISSION)),
           everywhere(rule("create", "mutatingadmissionpolicybindings", ADMISSION))),
          ((0, ask(f"POST {REGISTRATION}/mutatingadmissionpolicies?{DRY}", MUTATING)),
           (1, ask(f"POST {REGISTRATION}/mutatingadmissionpolicybindings?{DRY}", BOUND)))),
    proof("change-mutating-policy", "patch",
          everywhere(rule("patch", "mutatingadmissionpolicies", ADMISSION, names=[KEPT])),
          ask(f"PATCH {REGISTRATION}/mutatingadmissionpolicies/{KEPT}?{DRY}", {"spec": {"failurePolicy": "Ignore"}})),
    *(proof("weaken-admission-policies", resource, everywhere(rule("deletecollection", resource, ADMISSION)),
            ask(f"DELETE {REGISTRATION}/{resource}?{DRY}"))
      for resource in ("validatingadmissionpolicies", "validatingadmissionpolicybindings")),
]  # fmt: skip

PROOFS = [*WEBHOOKS, *SETTINGS, *POLICIES]


def objects() -> Iterator[Object]:
    """What the requests are about."""
    yield from (definition(resource) for resource in SERVED)
    yield from (namespace("kyverno"), namespace("gatekeeper-system"))
    yield from (policy(resource) for resource in ENGINES)
    yield policy("configs.config.gatekeeper.sh", "config")
    yield config_map("kyverno", "kyverno")
    yield config_map("aws-auth", "kube-system")
    yield from (configuration(name) for name in (KYVERNO_WEBHOOK, GATEKEEPER_WEBHOOK, KEPT))
    yield configuration(KEPT, "MutatingWebhookConfiguration")
    yield {**MUTATING, "metadata": metadata(KEPT)}  # in force nowhere: no binding names it


LEFT = (
    *(f"{DEFINITIONS}/{resource}" for resource in SERVED), f"{REGISTRATION}/mutatingadmissionpolicies/{KEPT}",
    *(f"{webhooks('validating')}/{name}" for name in (KYVERNO_WEBHOOK, GATEKEEPER_WEBHOOK, KEPT)),
    f"{webhooks('mutating')}/{KEPT}", "/api/v1/namespaces/kube-system/configmaps/aws-auth",
    "/api/v1/namespaces/kyverno", "/api/v1/namespaces/gatekeeper-system",
)  # fmt: skip


@pytest.fixture(scope="module")
def planes(control_plane_of: Planes) -> Iterator[Proving]:
    """Accounts for every proof, and for every part of one that is missing."""
    with proving(control_plane_of, PROOFS, [*objects()]) as found:
        yield found
        for minor in {minor for one in PROOFS for minor in one.shown_on()}:
            clear(control_plane_of(minor), LEFT)


@pytest.mark.parametrize(("one", "minor"), cases(PROOFS))
def test_who_meets_the_condition_takes_the_step(planes: Proving, one: Proof, minor: str) -> None:
    """Every request is accepted, and the escalation holds."""
    planes.accepted(one, minor)


@pytest.mark.parametrize(("one", "minor", "without"), partial(PROOFS))
def test_who_lacks_a_part_of_it_does_not(planes: Proving, one: Proof, minor: str, without: Part) -> None:
    """Some request is refused, and the escalation does not hold."""
    planes.refused_without(one, minor, without)
