"""Where running pods leads, as admission allows it: the escalations of pods, nodes and admission in whole graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from posture.cel import Process
from posture.graph.paths import held
from posture.kinds import ADMISSION
from tests.generator.network import network_policy, pod
from tests.generator.objects import Object, account, binding, guarded, metadata, namespace, role, rule, service_account
from tests.graph.graphs import graph_of
from tests.graph.proving import catalogue
from tests.graph.step_objects import ENFORCE

TEAM, OTHER = "team", "other"
RUNNER, LABELLER = f"serviceaccount:{TEAM}/runner", f"serviceaccount:{OTHER}/labeller"
PODS = ("pods", "CREATE")
PRIVILEGED = "c.?securityContext.?privileged.orValue(false)"
CAPABILITIES = "c.?securityContext.?capabilities.?add.orValue([]).size() > 0"
RAISES = "c.?securityContext.?allowPrivilegeEscalation.orValue(true)"
AS_ROOT = "!c.?securityContext.?runAsNonRoot.orValue(object.spec.?securityContext.?runAsNonRoot.orValue(false))"


class Held(NamedTuple):
    """Who is granted a rule, and where ("" is everywhere)."""

    who: str
    where: str
    rule: Object


def runner(*rules: Object, where: str = TEAM) -> tuple[Held, ...]:
    """The team's own identity holds rules."""
    return tuple(Held(RUNNER, where, one) for one in rules)


def labeller(*rules: Object, where: str = TEAM) -> tuple[Held, ...]:
    """Another identity holds rules."""
    return tuple(Held(LABELLER, where, one) for one in rules)


def refused(name: str, expression: str, resource: str = "pods", operation: str = "CREATE") -> tuple[Object, ...]:
    """A ValidatingAdmissionPolicy that refuses what does not fulfil an expression, in force everywhere."""
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": [operation], "resources": [resource]}]
    spec: dict[str, Any] = {
        "ValidatingAdmissionPolicy": {"matchConstraints": {"resourceRules": rules}, "failurePolicy": "Fail",
                                      "validations": [{"expression": expression}]},
        "ValidatingAdmissionPolicyBinding": {"policyName": name, "validationActions": ["Deny"]},
    }  # fmt: skip
    return tuple(
        {"apiVersion": f"{ADMISSION}/v1", "kind": kind, "metadata": metadata(name), "spec": one}
        for kind, one in spec.items()
    )  # fmt: skip


def none(of: str, *, kinds: Sequence[str] = ("containers", "initContainers")) -> str:
    """An expression: of no container of these kinds something holds."""
    return " && ".join(f"!object.spec.?{kind}.orValue([]).exists(c, {of})" for kind in kinds)


VOLUMES = "object.spec.?volumes.orValue([])"
NO_HOST_PATH = refused("no-host-path", f"!{VOLUMES}.exists(v, has(v.hostPath))")
NO_PRIVILEGED = refused("no-privileged", none(PRIVILEGED))
NO_WINDOWS = refused("no-windows", "!object.spec.?hostNetwork.orValue(false)")
NO_ROOT = (*refused("no-root", none(AS_ROOT)), *refused("no-raising", none(RAISES)))
KEPT_LABEL = refused(
    "kept-label", f"object.metadata.?labels[?'{ENFORCE}'].orValue('') == 'restricted'", "namespaces", "UPDATE"
)  # fmt: skip
RUN, RELABEL = rule("create", "pods"), rule("patch", "namespaces")
SPACES, TAINT = rule("create", "namespaces"), rule("patch", "nodes")
UNBIND = rule("delete", "validatingadmissionpolicybindings", ADMISSION)
NO_KYVERNO = rule("delete", "clusterpolicies", "kyverno.io")
NO_WEBHOOK = rule("delete", "validatingwebhookconfigurations", ADMISSION)
DEBUG = rule("patch", "pods/ephemeralcontainers")


class Case(NamedTuple):
    """A cluster, and whether some identities together come to hold something."""

    name: str
    held: tuple[Held, ...]
    head: str
    expected: bool
    level: str = ""
    policies: tuple[Object, ...] = ()
    sources: tuple[str, ...] = (RUNNER,)


BOTH = (RUNNER, LABELLER)
HELD_BACK = (*NO_HOST_PATH, *NO_PRIVILEGED, *NO_WINDOWS)
NO_ESCAPE = (*HELD_BACK, *NO_ROOT)
SILENT = network_policy(TEAM, "silent", podSelector={}, policyTypes=["Egress"])
TALKING = network_policy(
    TEAM, "talking", podSelector={"matchLabels": {"app": "web"}}, policyTypes=["Egress"], egress=[{}]
)  # fmt: skip
BY_KYVERNO: tuple[Object, ...] = ({
    "apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": metadata("no-escape"),
    "spec": {"validationFailureAction": "Enforce", "rules": [{
        "name": "pods", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
        "validate": {"message": "no", "pattern": {"spec": {
            "=(hostNetwork)": False, "=(volumes)": [{"X(hostPath)": "null"}],
            **{field: [{"=(securityContext)": {"=(privileged)": False, "=(capabilities)": {"X(add)": "null"}}}]
               for field in ("containers", "=(initContainers)")},
        }}},
    }]},
},)  # fmt: skip
"""Kyverno refuses what holds a node, and nothing else does."""
CASES = [
    Case("another-account", runner(RUN), f"serviceaccount:{TEAM}/powerful", True, "restricted"),
    Case("an-account-elsewhere", runner(RUN), f"serviceaccount:{OTHER}/labeller", False),
    Case("secrets", runner(RUN), f"secrets/{TEAM}", True, "restricted"),
    Case("secrets-everywhere", runner(RUN, where=""), "secrets", True, "restricted"),
    Case("the-node-without-a-level", runner(RUN), "node", True),
    Case("no-node-under-baseline", runner(RUN), "node", False, "baseline"),
    Case("no-node-under-restricted", runner(RUN), "node", False, "restricted"),
    Case("the-node-by-a-template", runner(rule("patch", "deployments", "apps", names=["web"])), "node", True),
    Case("no-node-by-scaling", runner(rule("patch", "deployments/scale", "apps")), "node", False),
    Case("the-node-by-a-volume", (*runner(RUN), *runner(rule("create", "persistentvolumes"), where="")), "node", True,
         "restricted"),
    Case("no-node-by-a-volume-alone", runner(rule("create", "persistentvolumes"), where=""), "node", False),
    Case("the-node-by-the-label", runner(RUN, RELABEL), "node", True, "restricted"),
    Case("no-node-by-the-label-alone", runner(RELABEL), "node", False, "restricted"),
    Case("the-node-by-two", (*runner(RUN), *labeller(RELABEL)), "node", True, "restricted", sources=BOTH),
    Case("no-node-by-one-of-two", (*runner(RUN), *labeller(RELABEL)), "node", False, "restricted"),
    Case("the-label-of-this-namespace", (*runner(RUN), *labeller(rule("patch", "namespaces", names=[TEAM]), where="")),
         "node", True, "restricted", sources=BOTH),
    Case("the-label-of-another", (*runner(RUN), *labeller(rule("patch", "namespaces", names=[OTHER]), where="")),
         "node", False, "restricted", sources=BOTH),
    Case("the-label-is-guarded", runner(RUN, RELABEL), "node", False, "restricted", KEPT_LABEL),
    Case("the-guard-is-not-asked-about-the-status", runner(RUN, rule("patch", "namespaces/status")), "node", True,
         "restricted", KEPT_LABEL),
    Case("the-node-in-a-new-namespace", runner(RUN, SPACES, where=""), "node", True, "restricted"),
    Case("the-node-in-a-new-namespace-by-two", (*runner(RUN, where=""), *labeller(SPACES, where="")), "node", True,
         "restricted", sources=BOTH),
    Case("no-pods-in-a-new-namespace", (*runner(RUN), *runner(SPACES, where="")), "node", False, "restricted"),
    Case("no-new-namespace-of-this-name", runner(RUN, rule("create", "namespaces", names=["new"]), where=""), "node",
         False, "restricted"),
    Case("policies-hold-in-a-new-namespace", runner(RUN, SPACES, where=""), "node", False, "restricted",
         (*NO_HOST_PATH, *NO_PRIVILEGED)),
    Case("a-new-namespace-must-have-a-level", runner(RUN, SPACES, where=""), "node", False, "restricted",
         refused("level", f"object.metadata.?labels[?'{ENFORCE}'].hasValue()", "namespaces")),
    Case("a-policy-off-and-the-node", (*runner(RUN), *runner(UNBIND, where="")), "node", True, "", NO_ESCAPE),
    Case("a-policy-off-by-another", (*runner(RUN), *labeller(UNBIND, where="")), "node", True, "", NO_ESCAPE,
         sources=BOTH),
    Case("the-policy-stays", runner(RUN), "node", False, "", NO_ESCAPE),
    Case("no-pods-once-the-policy-is-off", runner(UNBIND, where=""), "node", False, "", NO_ESCAPE),
    Case("a-policy-off-and-the-level-stays", (*runner(RUN), *runner(UNBIND, where="")), "node", False, "restricted",
         NO_ESCAPE),
    Case("a-policy-off-the-level-dropped", (*runner(RUN, RELABEL), *runner(UNBIND, where="")), "node", True,
         "restricted", (*NO_ESCAPE, *KEPT_LABEL)),
    Case("a-policy-off-in-a-new-namespace", runner(RUN, SPACES, UNBIND, where=""), "node", True, "restricted",
         NO_ESCAPE),
    Case("kyverno-off-and-the-node", (*runner(RUN), *runner(NO_KYVERNO, where="")), "node", True, "", BY_KYVERNO),
    Case("kyverno-stays", runner(RUN), "node", False, "", BY_KYVERNO),
    Case("its-webhook-off-and-the-node", (*runner(RUN), *runner(NO_WEBHOOK, where="")), "node", True, "", BY_KYVERNO),
    Case("another-engine-off", (*runner(RUN), *runner(UNBIND, where="")), "node", False, "", BY_KYVERNO),
    Case("one-of-two-engines-off", (*runner(RUN), *runner(UNBIND, where="")), "node", False, "",
         (*BY_KYVERNO, *NO_ESCAPE)),
    Case("the-cloud", runner(RUN), "cloud/node", True, "restricted"),
    Case("the-cloud-by-labels-of-its-choice", runner(RUN), "cloud/node", True, "restricted",
         (SILENT, TALKING)),
    Case("not-the-cloud-in-silence", runner(RUN), "cloud/node", False, "restricted", (SILENT,)),
    Case("the-cloud-by-the-node-s-network", runner(RUN), "cloud/node", True, "", (SILENT,)),
    Case("pods-drawn-to-a-node", runner(TAINT, where=""), f"workload:{OTHER}/web[Pod]", True,
         sources=(RUNNER, "node:n")),
    Case("no-node-to-draw-them-to", runner(TAINT, where=""), f"workload:{OTHER}/web[Pod]", False),
    Case("pods-of-this-namespace-drawn-to-a-node", runner(rule("create", "bindings"), rule("delete", "pods")),
         f"workload:{TEAM}/web[Pod]", True, sources=(RUNNER, "node:n")),
    Case("pods-of-another-stay", runner(rule("create", "bindings"), rule("delete", "pods")),
         f"workload:{OTHER}/web[Pod]", False, sources=(RUNNER, "node:n")),
    Case("policies-hold-without-the-label", runner(RUN, RELABEL), "node", False, "restricted", (*HELD_BACK, *NO_ROOT)),
    Case("the-node-by-capabilities-of-root", runner(RUN), "node", True, "", HELD_BACK),
    Case("capabilities-of-nobody", runner(RUN), "node", False, "", (*HELD_BACK, *NO_ROOT)),
    Case("root-without-capabilities", runner(RUN), "node", False, "",
         (*HELD_BACK, *refused("no-capabilities", none(CAPABILITIES)))),
    Case("the-node-by-logs", runner(RUN, rule("get", "pods/log")), "node", True, "", (
        *NO_PRIVILEGED, *NO_WINDOWS, *refused("no-capabilities", none(CAPABILITIES)),
        *refused("only-logs", f"{VOLUMES}.all(v, v.?hostPath.?path.orValue('/var/log') == '/var/log')"),
    )),
    Case("the-node-by-a-debug-container", runner(DEBUG), "node", True, "", NO_PRIVILEGED),
    Case("no-node-by-a-debug-container", runner(DEBUG), "node", False, "baseline"),
    Case("the-node-by-the-label-and-a-debug-container", runner(DEBUG, RELABEL), "node", True, "restricted"),
    Case("secrets-by-a-debug-container", runner(DEBUG), f"secrets/{TEAM}", True, "restricted"),
    Case("a-named-pod", runner(rule("create", "pods/exec", names=["web"])), f"workload:{TEAM}/web[Pod]", True),
    Case("not-another-pod", runner(rule("create", "pods/exec", names=["db"])), f"workload:{TEAM}/web[Pod]", False),
    Case("by-get-alone", runner(rule("get", "pods/exec")), f"workload:{TEAM}/web[Pod]", False),
    Case("another-image", runner(rule("patch", "pods")), f"workload:{TEAM}/web[Pod]", True, "restricted"),
    Case("every-pod", runner(rule("get", "nodes/proxy"), where=""), f"workload:{OTHER}/web[Pod]", True),
    Case("a-policy-off", runner(rule("delete", "validatingadmissionpolicybindings", ADMISSION), where=""), "engine/vap",
         True, "", NO_PRIVILEGED),
    Case("no-policy-to-switch-off", runner(rule("delete", "validatingadmissionpolicybindings", ADMISSION), where=""),
         "engine/vap", False),
    Case("its-own-policy-off",
         runner(rule("delete", "validatingadmissionpolicybindings", ADMISSION, names=["own"]), where=""), "engine/vap",
         False, "", NO_PRIVILEGED),
    Case("half-of-a-mutating-policy", runner(rule("create", "mutatingadmissionpolicies", ADMISSION), where=""),
         "cluster-admin", False),
    Case("both-halves", (*runner(rule("create", "mutatingadmissionpolicies", ADMISSION), where=""),
                         *labeller(rule("create", "mutatingadmissionpolicybindings", ADMISSION), where="")),
         "cluster-admin", True, sources=BOTH),
    Case("a-new-api", runner(rule("create", "apiservices", "apiregistration.k8s.io"), where=""), "cluster-admin",
         False),
    Case("a-built-in-api", runner(rule("patch", "apiservices", "apiregistration.k8s.io"), where=""), "cluster-admin",
         True),
    Case("the-cloud-s-map-without-the-cloud", runner(rule("patch", "configmaps", names=["aws-auth"]), where=""),
         "cluster-admin", False),
]  # fmt: skip


def cluster(case: Case) -> list[Object]:
    """Two namespaces with a pod each, and who is granted what."""
    found = [namespace(TEAM, **({ENFORCE: case.level} if case.level else {})), guarded(OTHER)]
    found += [service_account(TEAM, "runner"), service_account(TEAM, "powerful"), service_account(OTHER, "labeller")]
    found += [pod(where, "web", automountServiceAccountToken=False) for where in (TEAM, OTHER)]
    for number, (who, where, granted) in enumerate(case.held):
        place, _, name = who.partition(":")[2].partition("/")
        found.append(role(f"role-{number}", granted))
        found.append(binding(f"role-{number}", f"ClusterRole/role-{number}", account(place, name), namespace=where))
    return [*found, *case.policies]


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """What answers for policies, in a process of its own."""
    with Process() as running:
        yield running


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_leads_there_where_nothing_refuses_it(cel: Process, case: Case) -> None:
    """And nowhere else: what is held, and what admission says in the namespace, decide."""
    graph = graph_of(cluster(case), catalogue(), cel=cel)

    assert (case.head in held(graph.edges, case.sources)) == case.expected
