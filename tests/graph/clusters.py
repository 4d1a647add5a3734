"""Random small clusters that meet the conditions of escalations often, and nearly as often but for one part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml
from hypothesis import strategies as st

from posture.collect import api_resource
from posture.graph.catalogue import Escalation, escalation_of
from posture.graph.evaluate import DOMAINS, Graph, assembled
from posture.model import Version
from tests.generator.network import controller, deployment, network_policy, pod
from tests.generator.objects import (
    Object,
    account,
    aggregated,
    binding,
    group,
    metadata,
    namespace,
    role,
    rule,
    service_account,
    snapshot,
    user,
)

FILES = Path(__file__).parents[2] / "checks" / "escalations"
ENFORCE = "pod-security.kubernetes.io/enforce"
LEVELS = ("privileged", "baseline", "restricted")
SPACES = ("kube-system", "a", "b", "c")
ACCOUNTS = ("default", "x", "y", "velero", "cert-manager", "argocd-application-controller", "kustomize-controller")
GHOST = "ghost"
"""The name of a ServiceAccount that grants name and that may not exist."""

OFTEN = (
    "escalate-clusterroles", "escalate-roles", "create-rolebinding-to-role", "weaken-admission-policies", "move-pods",
    "create-clusterrole-with-any-rule", "escape-in-new-namespace", "escape-to-node", "act-as-node-by-own-pod",
    "create-role-with-any-rule", "run-in-new-namespace", "join-clusterrolebinding", "join-rolebinding-to-role",
    "join-rolebinding-to-clusterrole",
)  # fmt: skip
"""Escalations of which the effect needs something else to be there."""

NAMES = (
    *("x", "y", "x", GHOST, "p0", "p1", "r0", "r1", "r2", "r3", "ann", "bob", "cluster-admin", "kube-system", "a"),
    *("system:masters", "system:authenticated", "system:serviceaccount:a:x", "devs", "", "*", "x*"),
    *("admins", "b0a", "b1a", GHOST, "latent", "n1", "n2", "d0", "d1"),
)
"""What rules are limited to: names of what there is, and of what looks like a pattern and is none."""


@cache
def files() -> tuple[Mapping[str, Any], ...]:
    """The shipped escalations, as their files say them."""
    return tuple(yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(FILES.glob("*.yaml")))


@cache
def escalations() -> tuple[Escalation, ...]:
    """The shipped escalations."""
    return tuple(escalation_of(one) for one in files())


def evaluated(objects: Sequence[Object], minor: int | None = None) -> Graph:
    """The graph of a cluster, of a minor of Kubernetes 1; None is the newest."""
    read = snapshot(objects, version=Version(1, minor) if minor else None)
    return assembled({name: domain.evaluate(read) for name, domain in DOMAINS.items()}, escalations())


# Rules --------------------------------------------------------------------------------------------------------------


def leaves(random: Random, tree: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The permissions of one way to satisfy a tree."""
    if "all" in tree:
        for part in tree["all"]:
            yield from leaves(random, part)
    elif "any" in tree:
        yield from leaves(random, random.choice(tree["any"]))
    else:
        yield tree


def asked(random: Random, leaf: Mapping[str, Any], name: str) -> Object:
    """A rule that gives a permission; `name` is what it may be limited to. Sometimes not quite, sometimes more."""
    given = leaf.get("resourceNames", [])
    limited = bool(given and given[0].startswith("$")) or leaf.get("names") == "some"
    names: list[str] | None = None
    if random.random() < (0.5 if limited else 0.07):
        names = [name, *random.sample(NAMES, random.choice((0, 0, 1)))]
    elif given and not limited and random.random() < 0.7:
        names = [random.choice(given)]
    fields = [random.sample(leaf[field], random.randint(1, len(leaf[field]))) for field in ("verbs", "resources")]
    for field in fields:
        if random.random() < 0.04:
            field[:] = ["*"]
    if random.random() < 0.03:
        fields[1] = [f"*/{one.partition('/')[2]}" if "/" in one else f"{one}/*" for one in fields[1]]
    return rule(fields[0], fields[1], leaf["apiGroups"] if random.random() < 0.95 else ["*"], names)


def rules(random: Random, request: Mapping[str, Any]) -> list[Object]:
    """Rules that meet a request of an escalation, or all but one part of it."""
    name = random.choice(NAMES)
    found = [asked(random, leaf, name) for leaf in leaves(random, request)]
    if random.random() < 0.12:
        found.pop(random.randrange(len(found)))
    return found


# Clusters -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """How much there is of what."""

    spaces: int = 3
    roles: int = 5
    pods: int = 3
    beside: int = 3


def subject(random: Random, spaces: Sequence[str]) -> Object:
    """Somebody whom a binding may name."""
    where, name = random.choice(spaces), random.choice((*ACCOUNTS[:4], "x", "y", GHOST))
    if random.random() < 0.55:
        return account(where, name)
    return random.choice((
        user("ann"), user("bob"), user("system:anonymous"), user("dev*"), user(f"system:serviceaccount:{where}:{name}"),
        group("devs"), group("system:serviceaccounts"), group(f"system:serviceaccounts:{where}"),
        group("system:authenticated"), group("system:unauthenticated"), group("system:serviceaccounts:*"),
        group("system:bootstrappers"), account(where, "*"), account("gone", "default"),
        group("system:serviceaccounts:gone"),
    ))  # fmt: skip


def bound(
    random: Random, number: int, request: Mapping[str, Any], people: Sequence[Object], spaces: Sequence[str]
) -> Iterator[Object]:
    """A role that meets a request, perhaps divided into two, and who is bound to it where: mostly some of `people`."""
    given = rules(random, request)
    parts = [given]
    if len(given) > 1 and random.random() < 0.3:
        cut = random.randint(1, len(given) - 1)
        parts = [given[:cut], given[cut:]]
    who = [random.choice(people) if random.random() < 0.7 else subject(random, spaces)
           for _ in range(random.choice((1, 1, 2)))]  # fmt: skip
    wide = random.random() < (0.85 if request.get("scope") == "cluster" else 0.3)
    where = random.choice(request.get("namespaces", spaces))
    where = where if where in spaces else spaces[0]
    for letter, part in zip("ab", parts, strict=False):
        name, mine = f"r{number}{letter if letter == 'b' else ''}", wide if random.random() < 0.9 else not wide
        inside = "" if mine or random.random() < 0.4 else where
        yield role(name, *part, namespace=inside)
        at = "" if mine else where
        yield binding(f"b{number}{letter}", f"{'Role' if inside else 'ClusterRole'}/{name}", *who, namespace=at)


def workload(random: Random, number: int, where: str) -> Object:
    """A pod on a node, alone or of a controller, or a Deployment."""
    spec: Object = {"serviceAccountName": random.choice((*ACCOUNTS[:4], "x"))}
    if random.random() < 0.15:
        spec["automountServiceAccountToken"] = random.random() < 0.5
    if random.random() < 0.15:
        spec["hostNetwork"] = True
    labels = {"app": random.choice(("web", "db"))}
    if random.random() < 0.25:
        made = deployment(where, f"d{number}", labels, **spec)
        inner = made["spec"]["template"]["spec"]
    else:
        if random.random() < 0.7:
            spec["nodeName"] = random.choice(("n1", "n2"))
        made = pod(where, f"p{number}", labels, **spec)
        inner = made["spec"]
        if random.random() < 0.3:
            made["metadata"]["ownerReferences"] = [controller("rs")]
    if random.random() < 0.2:
        inner["containers"][0]["securityContext"] = {"privileged": True}
    if random.random() < 0.3:
        inner["containers"][0]["stdin"] = True
    return made


def beside(random: Random, number: int, where: str) -> Object:
    """A Service that leads in from outside, or a policy that isolates, or that isolates and lets everybody in."""
    labels = {"app": random.choice(("web", "db"))}
    if random.random() < 0.5:
        spec = {"type": random.choice(("LoadBalancer", "LoadBalancer", "ClusterIP")), "selector": labels,
                "ports": [{"port": 80, "targetPort": 8080}]}  # fmt: skip
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(f"s{number}", where), "spec": spec}
    direction = random.choice(("Ingress", "Egress"))
    lets: Object = {direction.lower(): [{}]} if random.random() < 0.4 else {}
    chosen = {"matchLabels": labels} if random.random() < 0.6 else {}
    return network_policy(where, f"n{number}", podSelector=chosen, policyTypes=[direction], **lets)


def refuses(resource: str) -> tuple[Object, ...]:
    """An engine to switch off that refuses to create something, or may: nobody answers its expression."""
    name = f"no-{resource}"
    return (
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": metadata(name),
            "spec": {
                "failurePolicy": "Fail", "validations": [{"expression": "false"}],
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource],
                }]},
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": metadata(name), "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    )  # fmt: skip


def random_cluster(random: Random, size: Size) -> list[Object]:
    """A cluster. One escalation, and what it uses, is asked for more than others, so that conditions meet."""
    spaces = ["kube-system", *random.sample(SPACES[1:], size.spaces - 1)]
    levels = {name: random.choice((None, None, *LEVELS)) for name in spaces}
    found = [namespace(name, **({ENFORCE: level} if level else {})) for name, level in levels.items()]
    found.append(role("cluster-admin", rule("*", "*", "*")))
    found += list(_accounts(random, spaces))
    if random.random() < 0.5:
        found.append(binding("admins", "ClusterRole/cluster-admin", subject(random, spaces)))
    for where in spaces:
        if random.random() < 0.2:
            found.append(binding("admin", "ClusterRole/cluster-admin", subject(random, spaces), namespace=where))
    if random.random() < 0.3:  # a role that is not there yet
        where = random.choice(("", *spaces))
        kind = random.choice(("Role", "ClusterRole")) if where else "ClusterRole"
        found.append(binding("latent", f"{kind}/{GHOST}", subject(random, spaces), namespace=where))
    if random.random() < 0.2:
        found += refuses("configmaps")
    if random.random() < 0.2:
        found += refuses("pods")
    if random.random() < 0.3:
        found.append(aggregated("view", {"to-view": "yes"}, rules=[rule("get", "pods")]))
        found.append(binding("viewers", "ClusterRole/view", subject(random, spaces),
                             namespace=random.choice(("", *spaces))))  # fmt: skip
    wanted = list(_wanted(random, size.roles))
    people = [subject(random, spaces) for _ in range(4)]
    for number, (escalation, request) in enumerate(wanted):
        found += bound(random, number, request, people, spaces)
        serves = (escalation.get("where") or {}).get("serves")
        if serves and random.random() < 0.8:
            resource, _, api_group = serves.partition(".")
            inside = not any(one.get("scope") == "cluster" for one in escalation["requests"])
            made = api_resource(resource, api_group, "", namespaced=inside) | {"kind": "APIResource"}
            found += [made] if made not in found else []
    found += [workload(random, number, random.choice(spaces)) for number in range(size.pods)]
    found += [beside(random, number, random.choice(spaces)) for number in range(size.beside)]
    return found


def _accounts(random: Random, spaces: Sequence[str]) -> Iterator[Object]:
    for where in spaces:
        for name in ("default", *random.sample(ACCOUNTS[1:], 2)):
            clouds = {"eks.amazonaws.com/role-arn": f"arn:{where}-{name}"} if random.random() < 0.1 else {}
            made = service_account(where, name, **clouds)
            yield made | ({"automountServiceAccountToken": False} if random.random() < 0.1 else {})


def _wanted(random: Random, number: int) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Requests of escalations; those of what an escalation uses, and all of one that has several, come together."""
    known = {one["id"]: one for one in files()}
    pending: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    while number > 0:
        if not pending:
            one = random.choice(files())
            if random.random() < 0.3:
                one = known[random.choice(OFTEN)]
            for each in (one, *(known[used] for used in one.get("uses", ()))):
                pending += [(each, request) for request in each.get("requests", ())]
        if pending:
            yield from [pending.pop()] * random.choice((1, 1, 1, 2))  # with other names, for others, elsewhere
            number -= 1


seeds = st.integers(0, 2**32 - 1)
sizes = st.builds(Size, st.integers(2, 4), st.integers(1, 8), st.integers(0, 4), st.integers(0, 4))
clusters: st.SearchStrategy[list[Object]] = st.builds(
    lambda seed, size: random_cluster(Random(seed), size), seeds, sizes
)
