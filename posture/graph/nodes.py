"""Nodes and edges of the graph. A node is a name: a subject, a workload, a target, or a set of these.

Names beside those of the contracts: `node:NAME`; `serviceaccount:NS/*` and `workload:NS/*` for all that are there,
with the namespace `*` for all anywhere; `absent:NS/*` for ServiceAccounts that grants name and that do not exist;
`user:*` and `group:*` for all that grants name; `node:*` for every node; `role:KIND/NAME@SCOPE` for the rules of a
role, granted in a scope; `rewrite:KIND/NAME@SCOPE` for a role that may be given any rule (the name `*` is every one
that exists, no name one that does not exist yet); `can:EDGE@SCOPE` for the condition of an escalation, met in a scope.
The scope `*` is every namespace.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from posture.model import CLUSTER_SCOPE, Through

OUTSIDE = "outside"
CLUSTER_ADMIN = "cluster-admin"
NODE, EVERY_NODE = "node", "node:*"
SECRETS = "secrets"
NAMESPACE_ADMIN = "namespace-admin/"
ENGINE, CLOUD = "engine/", "cloud/"
NODE_IDENTITY = f"{CLOUD}node"
"""The identity that a node has in the cloud, whoever acts as it."""
WORKLOAD, ACCOUNT, ABSENT, USER, GROUP = "workload:", "serviceaccount:", "absent:", "user:", "group:"
MACHINE, ROLE, REWRITE, CAN = "node:", "role:", "rewrite:", "can:"
LACK = "lack:"
"""What was not agreed to and is lacking, which nobody holds."""
STRUCTURE = "graph"
"""The domain of facts that no other domain speaks of: what runs as whom, and where; what leads there."""


class Fact(NamedTuple):
    """What an edge needs and what one would edit to take it away; named as a finding is."""

    domain: str
    subject: str
    scope: str
    through: Through


class Edge(NamedTuple):
    """Whoever holds all of the tail gets the head, by a rule. Each of `needs` has to be given by one of its facts."""

    tail: tuple[str, ...]
    head: str
    rule: str
    needs: tuple[frozenset[Fact], ...] = ()

    @property
    def step(self) -> tuple[tuple[str, ...], str, str]:
        """What it says, whatever gives it."""
        return self.tail, self.head, self.rule


class Condition(NamedTuple):
    """The condition of an escalation, or one request of it by its number, met in a scope; `names` are what its
    variables are limited to.
    """

    escalation: str
    number: int | None
    scope: str
    names: Mapping[str, str]


def can(edge: str, scope: str, names: Mapping[str, str] | None = None) -> str:
    """The node of a condition; `edge` is `ID` or `ID#NUMBER`. Names may be any text: they stand there as JSON."""
    limit = json.dumps(sorted(names.items()), separators=(",", ":")) if names else ""
    return f"{CAN}{edge}{limit}@{scope}"


def condition(node: str) -> Condition:
    """What the node of a condition says, as `can` has written it."""
    text = node.removeprefix(CAN)
    size = next((place for place, letter in enumerate(text) if letter in "[@"), len(text))
    name, rest = text[:size], text[size:]
    names, end = json.JSONDecoder().raw_decode(rest) if rest.startswith("[") else ([], 0)
    escalation, _, number = name.partition("#")
    return Condition(escalation, int(number) if number else None, rest[end + 1 :], dict(names))


def role(reference: Through, scope: str) -> str:
    """The node of a role's rules, granted in a scope."""
    return f"{ROLE}{reference.kind}/{reference.name}@{scope}"


def rewrite(kind: str, name: str, scope: str = CLUSTER_SCOPE) -> str:
    """The node of a role that may be given any rule; the scope is a Role's namespace."""
    return f"{REWRITE}{kind}/{name}@{scope}"


def role_of(node: str) -> tuple[Through, str]:
    """The role that a `role:` or `rewrite:` node is about, and the scope; a Role is one of the namespace there."""
    named, _, scope = node.partition(":")[2].rpartition("@")
    kind, _, name = named.partition("/")
    return Through(kind, scope if kind == "Role" else "", name), scope


def secrets(namespace: str) -> str:
    """The Secrets of a namespace, or of all."""
    return SECRETS if namespace == CLUSTER_SCOPE else f"{SECRETS}/{namespace}"


def is_target(node: str) -> bool:
    """Whether a node is what an attacker wants (docs: the targets)."""
    return (
        node in (CLUSTER_ADMIN, NODE, SECRETS, f"{SECRETS}/kube-system")
        or node.startswith((ENGINE, CLOUD))
        or (node.startswith(NAMESPACE_ADMIN) and not node.endswith("/*"))
    )


def is_set(node: str) -> bool:
    """Whether a node stands for others. Users and groups may have any name: `group:team-*` is one group."""
    return node in (f"{USER}*", f"{GROUP}*") or (node.startswith((ACCOUNT, ABSENT, WORKLOAD)) and node.endswith("/*"))


def namespace_of(node: str) -> str:
    """The namespace that a node belongs to; "" for what belongs to none."""
    if node.startswith((WORKLOAD, ACCOUNT, ABSENT)):
        found = node.partition(":")[2].partition("/")[0]
    elif node.startswith((NAMESPACE_ADMIN, f"{SECRETS}/")):
        found = node.partition("/")[2]
    elif node.startswith((CAN, ROLE, REWRITE)):
        found = node.rpartition("@")[2]
    else:
        found = ""
    return "" if found == CLUSTER_SCOPE else found
