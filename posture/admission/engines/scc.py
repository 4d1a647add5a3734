"""OpenShift's SecurityContextConstraints: a pod is admitted by any of those that its ServiceAccount may use.

One policy: what `restricted-v2` asks, as OpenShift ships it. Whatever lets a ServiceAccount of a namespace use other
constraints is an exemption there: an entry of their `users` and `groups`, or a binding to a role that grants the verb
`use`. Which ServiceAccount a pod has is its author's choice, so those of all count; that whoever makes a pod may use
his own constraints as well is not asked here: pods are made by controllers. Source: openshift/apiserver-library-go,
pkg/securitycontextconstraints/sccadmission/admission.go, sccmatching/matcher.go (ConstraintAppliesTo).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from posture.admission import pods
from posture.admission.cel import Evaluator
from posture.admission.pods import mapping, mappings, texts
from posture.admission.policy import ADMITS, NONE, REFUSES, Asked, Exemption, Policy, Space, Variant, Verdict
from posture.admission.requests import PODS, Request
from posture.kinds import BY_NAME, RBAC
from posture.model import Changed, Content, Gap, Key, Snapshot, Through
from posture.text import listed

from . import liveness
from ._constraint import doubts, mark

NAME = "scc"
CONSTRAINTS = "securitycontextconstraints.security.openshift.io"
_KIND = "SecurityContextConstraints"
_CLUSTER_BINDINGS, _BINDINGS = f"clusterrolebindings.{RBAC}", f"rolebindings.{RBAC}"
_CLUSTER_ROLES, _ROLES = f"clusterroles.{RBAC}", f"roles.{RBAC}"
READS = (CONSTRAINTS, _CLUSTER_BINDINGS, _BINDINGS, _CLUSTER_ROLES, _ROLES)

_SHIPPED = "restricted-v2"
_BASE: Content = {
    "allowHostDirVolumePlugin": False, "allowHostIPC": False, "allowHostNetwork": False, "allowHostPID": False,
    "allowHostPorts": False, "allowPrivilegeEscalation": False, "allowPrivilegedContainer": False,
    "allowedCapabilities": ["NET_BIND_SERVICE"], "fsGroup": {"type": "MustRunAs"}, "readOnlyRootFilesystem": False,
    "requiredDropCapabilities": ["ALL"], "runAsUser": {"type": "MustRunAsRange"},
    "seLinuxContext": {"type": "MustRunAs"}, "seccompProfiles": ["runtime/default"],
    "supplementalGroups": {"type": "RunAsAny"},
    "volumes": ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected",
                "secret"],
}  # fmt: skip
"""restricted-v2 as the operator of OpenShift's API server ships it."""
_DECIDING = frozenset(BY_NAME[CONSTRAINTS].keep) - {"users", "groups", "priority"}

_ACCOUNT, _ACCOUNTS = "system:serviceaccount:", "system:serviceaccounts"
_EVERYWHERE = frozenset({_ACCOUNTS, "system:authenticated"})


class _Grant(NamedTuple):
    """What lets ServiceAccounts use constraints: `namespaces` are theirs, None is all."""

    constraint: str
    namespaces: frozenset[str] | None
    exemption: Exemption


@dataclass(frozen=True, eq=False)
class _Rule:
    """`constraints` are those of each exemption, `everywhere` and `there` the exemptions by where they count; `base` is
    where what is shipped may be used (None: everywhere). `gaps` may hide more.
    """

    constraints: tuple[tuple[str, Content], ...]
    everywhere: frozenset[int]
    there: Mapping[str, frozenset[int]]
    base: frozenset[str] | None
    gaps: tuple[Gap, ...]

    def has_base(self, namespace: str) -> bool:
        """Whether pods of a namespace may be admitted by what is shipped."""
        return self.base is None or namespace in self.base


def policies(snapshot: Snapshot) -> Iterator[Policy]:
    """One, where there are SecurityContextConstraints."""
    found = {key.name: content for key, content in snapshot.objects(CONSTRAINTS)}
    if not found:
        return
    usual = {name for name, content in found.items() if _decides(content) == _decides(_BASE)}
    grants = sorted(_grants(snapshot, found), key=lambda one: (one.exemption.through, one.constraint))
    beyond = [one for one in grants if one.constraint not in usual]
    base = [one for one in grants if one.constraint in usual]
    gaps = tuple(gap for gap in snapshot.gaps if any(gap.touches(kind, "") for kind in READS))
    key = Key(CONSTRAINTS, "", _SHIPPED)
    yield Policy(
        NAME,
        Through(_KIND, "", _SHIPPED),
        tuple(dict.fromkeys((key, *(other for one in base for other in one.exemption.keys)))),
        rule=_Rule(
            tuple((one.constraint, found[one.constraint]) for one in beyond),
            frozenset(number for number, one in enumerate(beyond) if one.namespaces is None),
            _by_namespace(beyond),
            _where(base) if liveness.of_cluster(snapshot) else None,
            gaps,
        ),
        content=(_SHIPPED, gaps),
        exemptions=tuple(one.exemption for one in beyond),
        names=False,
    )


def _decides(content: Content) -> dict[str, Any]:
    """What of constraints decides, in whatever order it is written: lists are sorted, what is empty is left out."""
    given = {field: content[field] for field in _DECIDING if content.get(field)}
    return {field: sorted(map(str, value)) if isinstance(value, list) else value for field, value in given.items()} | {
        "allowPrivilegeEscalation": content.get("allowPrivilegeEscalation") is not False
    }


def _by_namespace(grants: Sequence[_Grant]) -> dict[str, frozenset[int]]:
    found: dict[str, set[int]] = {}
    for number, one in enumerate(grants):
        for namespace in one.namespaces or ():
            found.setdefault(namespace, set()).add(number)
    return {namespace: frozenset(numbers) for namespace, numbers in found.items()}


def _where(grants: Sequence[_Grant]) -> frozenset[str] | None:
    if any(one.namespaces is None for one in grants):
        return None
    return frozenset(namespace for one in grants for namespace in one.namespaces or ())


# Who may use what ---------------------------------------------------------------------------------------------------


def _grants(snapshot: Snapshot, found: Mapping[str, Content]) -> Iterator[_Grant]:
    for name, content in found.items():
        for field in ("users", "groups"):
            for entry in dict.fromkeys(map(str, texts(content.get(field)))):
                yield from _entry(name, content, field, entry)
    for kind in (_CLUSTER_BINDINGS, _BINDINGS):
        for key, binding in snapshot.objects(kind):
            yield from _binding(snapshot, found, key, binding)


def _entry(name: str, content: Content, field: str, entry: str) -> Iterator[_Grant]:
    namespaces = _namespaces({"kind": "User" if field == "users" else "Group", "name": entry}, "")
    if namespaces is None or namespaces:
        key = Key(CONSTRAINTS, "", name)
        rest = {**content, field: [one for one in texts(content.get(field)) if one != entry]}
        through = Through(_KIND, "", f"{name}/{field}[{entry}]")
        yield _Grant(name, namespaces, Exemption(through, (key,), f"lets {entry} use {_KIND} {name}",
                                                 (Changed(key, content, rest),)))  # fmt: skip


def _binding(snapshot: Snapshot, found: Mapping[str, Content], key: Key, binding: Content) -> Iterator[_Grant]:
    reference = mapping(binding.get("roleRef"))
    kind = _CLUSTER_ROLES if reference.get("kind") == "ClusterRole" else _ROLES
    role = Key(kind, "" if kind == _CLUSTER_ROLES else key.namespace, str(reference.get("name") or ""))
    names = _usable(snapshot, role)
    if names is not None and not names:
        return
    subjects = [(one, _namespaces(one, key.namespace)) for one in mappings(binding.get("subjects"))]
    mine = [(one, where) for one, where in subjects if where is None or where]
    if not mine:
        return
    rest = [one for one, where in subjects if where is not None and not where]
    wider = any(where is None for _, where in mine)
    namespaces = None if wider else frozenset(name for _, where in mine for name in where or ())
    if key.namespace:
        if not wider and key.namespace not in (namespaces or ()):
            return
        namespaces = frozenset({key.namespace})
    who = listed([_named(one, key.namespace) for one, _ in mine])
    removal = Changed(key, binding, {**binding, "subjects": rest} if rest else None)
    for name in found:
        if names is None or name in names:
            yield _Grant(name, namespaces, Exemption(
                Through(BY_NAME[key.resource].kind, key.namespace, key.name), (key, role, Key(CONSTRAINTS, "", name)),
                f"lets {who} use {_KIND} {name}", (removal,)))  # fmt: skip


def _usable(snapshot: Snapshot, role: Key) -> frozenset[str] | None:
    """The constraints that a role grants the use of; None is all."""
    known = snapshot.derived_from(role.resource)
    place = ("use", role.namespace, role.name)
    if place not in known:
        found: set[str] = set()
        everything = False
        for rule in mappings((snapshot.get(role) or {}).get("rules")):
            if _grants_use(rule):
                names = texts(rule.get("resourceNames"))
                everything = everything or not names
                found.update(map(str, names))
        known[place] = None if everything else frozenset(found)
    return known[place]  # type: ignore[no-any-return]


def _grants_use(rule: Mapping[str, Any]) -> bool:
    resource, _, group = CONSTRAINTS.partition(".")
    wanted = (("verbs", "use"), ("apiGroups", group), ("resources", resource))
    return all("*" in texts(rule.get(field)) or word in texts(rule.get(field)) for field, word in wanted)


def _namespaces(subject: Mapping[str, Any], own: str) -> frozenset[str] | None:
    """The namespaces whose ServiceAccounts a subject stands for; None is all."""
    kind, name = subject.get("kind"), str(subject.get("name") or "")
    if kind == "ServiceAccount":
        namespace = str(subject.get("namespace") or own)
    elif kind == "User":
        namespace = name.removeprefix(_ACCOUNT).partition(":")[0] if name.startswith(_ACCOUNT) else ""
    elif kind == "Group" and name in _EVERYWHERE:
        return None
    else:
        namespace = name.removeprefix(f"{_ACCOUNTS}:") if name.startswith(f"{_ACCOUNTS}:") else ""
    return frozenset({namespace}) if namespace else frozenset()


def _named(subject: Mapping[str, Any], own: str) -> str:
    name = str(subject.get("name") or "")
    if subject.get("kind") == "ServiceAccount":
        return f"ServiceAccount {subject.get('namespace') or own}/{name}"
    return f"{subject.get('kind')} {name}"


# What the engine answers --------------------------------------------------------------------------------------------


def variant(policy: Policy, space: Space) -> Variant | None:
    """What ServiceAccounts of a namespace may use beside what is shipped. Only pods are looked at."""
    if not space.name:
        return None
    rule: _Rule = policy.rule
    numbers = rule.everywhere | rule.there.get(space.name, NONE)
    gap = next((one for one in rule.gaps if any(one.touches(kind, space.name) for kind in READS)), None)
    why = f"who may use {_KIND} is not known: {gap.message}" if gap else ""
    return Variant((rule.has_base(space.name), mark(space.annotations)), numbers, why)


def judged(asked: Sequence[Asked], cel: Evaluator) -> list[Verdict]:
    """A pod is refused if nothing that may be used admits it. No expression is asked."""
    del cel
    return [_judged(one) for one in asked]


def _judged(asked: Asked) -> Verdict:
    request = asked.request
    if request.resource != PODS or request.operation not in ("CREATE", "UPDATE"):
        return ADMITS
    if request.subresource not in ("", "ephemeralcontainers"):
        return ADMITS
    pod = pods.read(request.object)
    if pods.is_windows(pod):
        return ADMITS
    verdict = _any(asked, pod)
    if request.subresource and verdict.refuses:
        return Verdict(None, "not every version of OpenShift looks at ephemeral containers")
    return verdict


def _any(asked: Asked, pod: pods.Pod) -> Verdict:
    rule: _Rule = asked.policy.rule
    annotations = _annotations(asked.request)
    unknown = ""
    if rule.has_base(asked.request.namespace):
        admits, unknown = _admits(_SHIPPED, _BASE, pod, annotations)
        if admits:
            return ADMITS
    answers: dict[str, bool] = {}
    for number in sorted(asked.exemptions):
        name, content = rule.constraints[number]
        if name not in answers:
            answers[name], why = _admits(name, content, pod, annotations)
            unknown = unknown or why
    excused = frozenset(number for number in asked.exemptions if answers[rule.constraints[number][0]])
    if excused:
        return Verdict(False, "", excused)
    return Verdict(None, unknown) if unknown else REFUSES


def _annotations(request: Request) -> Mapping[str, Any]:
    return mapping(mapping(mapping(request.namespace_object).get("metadata")).get("annotations"))


def _admits(name: str, content: Content, pod: pods.Pod, annotations: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether constraints admit a pod as it is; with why where nobody can say."""
    unsure = ""
    for doubt in doubts(content, pod, annotations):
        if doubt.refused:
            return False, ""
        unsure = unsure or doubt.why
    if unsure.startswith("fills in"):
        return False, f"{_KIND} {name} {unsure}"
    return not unsure, f"{_KIND} {name}: {unsure} cannot be judged" if unsure else ""


def gaps(snapshot: Snapshot) -> Iterable[Gap]:
    """None: what cannot be judged is said pod by pod."""
    del snapshot
    return ()


def strays(snapshot: Snapshot) -> Iterable[Exemption]:
    """None: constraints that nobody may use let nothing through."""
    del snapshot
    return ()
