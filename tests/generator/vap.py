"""Random ValidatingAdmissionPolicies, each with a binding and requests: every field that decides, every trap.

A policy selects its own requests by name, so that hundreds of them can be in force at once and each request is for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from posture.admission.policy import Space
from posture.admission.requests import NAME_LABEL, PODS, Request, Resource, pod_creation
from posture.admission.requests import NAMESPACES as NAMESPACE
from posture.model import Changed

from .objects import Object, metadata, namespace
from .pods import random_pod

ADMISSION = "admissionregistration.k8s.io/v1"
GROUP = "posture.test"
NAMESPACES = {"vap-one": {"team": "pay", "env": "prod"}, "vap-two": {"team": "shop"}, "vap-bare": {}}
USERS = ("admin", "dev", "bot")
"""All of the group system:masters."""

USER_GROUPS = ("system:masters", "system:authenticated")
ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles")

CRDS = [("Limit", "limits", True), ("ClusterLimit", "clusterlimits", False)]
"""(kind, resource, namespaced) of parameters beside ConfigMaps."""


@dataclass(frozen=True)
class Ask:
    """A request: CREATE sends `object`; UPDATE labels what is stored as `object` with `labels`; DELETE deletes it."""

    operation: str
    kind: str
    namespace: str
    name: str
    user: str
    object: Object
    labels: dict[str, str]


@dataclass(frozen=True)
class Case:
    """A policy with a binding, and what is asked of it."""

    policy: Object
    binding: Object
    asks: tuple[Ask, ...]


def crd(kind: str, resource: str, namespaced: bool) -> Object:
    """A kind of parameters: any `spec`."""
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {"kind": kind, "plural": resource, "singular": kind.lower()},
            "scope": "Namespaced" if namespaced else "Cluster",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def parameters() -> list[Object]:
    """Parameters of each kind: two are strict in one namespace, one is lax, one has fields of other types."""
    specs: list[tuple[str, str, dict[str, str], Object]] = [
        ("vap-one", "strict", {"tier": "gold"}, {"max": 1, "deny": ["x"], "prefix": "team-"}),
        ("vap-one", "lax", {"tier": "gold", "lax": "yes"}, {"max": 100, "deny": [], "prefix": ""}),
        ("vap-two", "strict", {"tier": "gold"}, {"max": 0, "deny": ["x", "y"], "prefix": "x"}),
        ("vap-two", "odd", {"tier": "iron"}, {"max": "many", "deny": "x", "ratio": 1.5, "nothing": None}),
    ]
    made: list[Object] = []
    for where, name, labels, spec in specs:
        data = {field: str(value) for field, value in spec.items()}
        made.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name, where, labels=labels),
                     "data": data})  # fmt: skip
        made.append({"apiVersion": f"{GROUP}/v1", "kind": "Limit", "metadata": metadata(name, where, labels=labels),
                     "spec": spec})  # fmt: skip
        if name != "strict" or where == "vap-one":
            made.append({"apiVersion": f"{GROUP}/v1", "kind": "ClusterLimit",
                         "metadata": metadata(name, labels=labels), "spec": spec})  # fmt: skip
    return made


# Expressions --------------------------------------------------------------------------------------------------------

SAFE = (
    "!has(object.spec.hostNetwork) || object.spec.hostNetwork == false",
    "object.spec.containers.all(c, !has(c.securityContext) || c.securityContext.?privileged.orValue(false) == false)",
    "object.spec.containers.all(c, c.?securityContext.?allowPrivilegeEscalation.orValue(true) == false)",
    "!object.spec.?hostPID.orValue(false) && object.spec.?hostUsers.orValue(true)",
    "object.spec.volumes.all(v, !has(v.hostPath))",
    "size(object.spec.containers) + size(object.spec.?initContainers.orValue([])) < 3",
    "object.spec.containers.map(c, c.image).all(i, i.matches('^[a-z./-]+$'))",
    "has(object.metadata.labels) && object.metadata.labels.exists(k, k.startsWith('team'))",
    "object.metadata.?labels[?'team'].orValue('') in ['pay', 'shop']",
    "object.metadata.name.endsWith('1') || object.metadata.name.split('-').size() > 1",
    "object.spec.serviceAccountName == 'default' && object.spec.restartPolicy == 'Always'",
    "object.spec.tolerations.exists_one(t, t.key == 'node.kubernetes.io/not-ready')",
    "object.spec.containers.all(i, c, i < 2)",
    "sets.contains(['ALL', 'NET_RAW'], object.spec.containers[0].?securityContext.?capabilities.?drop.orValue([]))",
    "object.spec.?securityContext.?runAsUser.orValue(1) > 0",
    "quantity('1Gi').compareTo(quantity('1024Mi')) == 0 && isQuantity('5m')",
    "object.spec.containers.map(c, size(c.name)).max() < 3",
    "cidr('10.0.0.0/8').containsIP('10.1.2.3') && !ip('127.0.0.1').isGlobalUnicast()",
    "object.metadata.name.find('[0-9]+$') != '1'",
    "object.metadata.name.replace('vap', '').lowerAscii().indexOf('p') < 3",
    "'%s/%s'.format([object.metadata.namespace, object.kind]) == 'vap-one/Pod'",
    "object.spec.containers.filter(c, has(c.ports)).size() == 0",
    "oldObject == null || oldObject.metadata.name == object.metadata.name",
    "object == null ? oldObject.kind == 'Pod' : object.kind == 'Pod'",
    "request.operation == 'CREATE' && request.namespace != 'vap-two'",
    "request.userInfo.username == 'dev' && 'system:masters' in request.userInfo.groups",
    "request.userInfo.groups.exists(g, g == 'system:authenticated') && request.userInfo.username != 'bot'",
    "request.resource.resource == 'pods' && request.kind.group == '' && request.dryRun",
    "request.name.startsWith('vap') && !has(request.subResource)",
    "namespaceObject == null || namespaceObject.metadata.labels['kubernetes.io/metadata.name'] == request.namespace",
    "object.apiVersion == 'v1' && type(object.spec) == map",
    "true", "false",
)  # fmt: skip

FAILING = (
    "object.spec.hostNetwork == true",  # mostly not there
    "object.metadata.labels.team == 'pay'",
    "object.spec.containers[1].name != ''",
    "object.spec.nope.nope == 1",
    "object.spec.containers.all(c, c.securityContext.runAsNonRoot)",
    "object.spec.containers.exists(c, c.securityContext.privileged || c.name == 'c0')",
    "object.metadata.name > 1",
    "object.metadata.annotations.size() < 5",
    "int(object.metadata.name) == 1",
    "1 / size(object.spec.?initContainers.orValue([])) == 1",
    "oldObject.metadata.name == object.metadata.name",
    "namespaceObject.metadata.labels.team == 'pay'",
    "namespaceObject.metadata.?labels[?'env'].orValue('dev') == 'prod'",
    "quantity(object.metadata.name).isLessThan(quantity('1'))",
    "object.spec.containers.map(c, c.ports[0].containerPort).sum() > 10",
    "request.subResource == 'status'",
    "object.spec.hostNetwork == true || true",
    "object.spec.hostNetwork == true && false",
)

PARAMS = {
    "Limit": (
        "params == null || size(object.spec.containers) <= params.spec.max",
        "params.spec.deny.all(d, object.spec.containers.all(c, c.image != d))",
        "object.metadata.name.startsWith(params.spec.prefix)",
        "params.spec.max > 1",
        "has(params.spec.ratio) && params.spec.ratio > 1.0",
        "params.metadata.namespace == object.metadata.namespace && params.kind == 'Limit'",
        "params.spec.?nothing.hasValue() || params.spec.max == 100",
    ),
    "ConfigMap": (
        "params.data.max != '1'",
        "int(params.data.max) > size(object.spec.containers)",
        "params.apiVersion == 'v1' && params.kind == 'ConfigMap' && params.metadata.labels['tier'] == 'gold'",
        "params == null || has(params.data.ratio)",
    ),
}
PARAMS["ClusterLimit"] = (*PARAMS["Limit"][:5], "!has(params.metadata.namespace)")

VARIABLES = (
    ("containers", "object.spec.containers + object.spec.?initContainers.orValue([])"),
    ("privileged", "variables.containers.filter(c, c.?securityContext.?privileged.orValue(false))"),
    ("broken", "object.spec.nope.nope"),
    ("team", "object.metadata.labels['team']"),
    ("count", "size(variables.containers)"),
    ("tier", "namespaceObject.metadata.labels['team']"),
)
"""Each may refer to those before it. `broken` never has a value."""

USES = (
    "size(variables.privileged) == 0",
    "variables.count < 3",
    "variables.count > 0 || variables.broken == 1",
    "variables.broken == 1",
    "variables.broken == 1 || variables.count > 0",
    "variables.team == 'pay'",
    "variables.tier == 'pay' && variables.containers.all(c, c.name != 'x')",
    "request.operation == 'DELETE' || variables.team != ''",
)

ANYTHING = (
    "has(object.metadata.labels) && 'team' in object.metadata.labels",
    "object.metadata.labels.team == 'pay'",
    "object.metadata.name.endsWith('1')",
    "namespaceObject == null",
    "request.?namespace.orValue('none') == 'none'",
    "object.kind in ['Namespace', 'ClusterRole']",
    "has(object.rules) && object.rules.all(r, !('*' in r.verbs))",
    "request.resource.group == '' && request.requestKind.kind == 'Namespace'",
)
"""For objects that are no pods."""

ANNOTATIONS = (
    "'note'",
    "string(object.metadata.name)",
    "string(object.metadata.nope)",
    "object.metadata.labels.team + ''",
)


class _Maker:
    """Makes one case."""

    def __init__(self, random: Random, number: int, asks: int) -> None:
        self.random = random
        self.name = f"vap-{number}"
        self.kind = random.choices(("Pod", "Namespace", "ClusterRole"), (8, 1, 1))[0]
        self.count = asks

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, some: Sequence[Any]) -> Any:
        return self.random.choice(some)

    def expression(self, params: str, *, variables: bool) -> str:
        if params and self.chance(0.5):
            return str(self.pick(PARAMS[params]))
        if self.kind != "Pod":
            return str(self.pick(ANYTHING))
        if variables and self.chance(0.6):
            return str(self.pick(USES))
        return str(self.pick(SAFE if self.chance(0.5) else FAILING))

    def case(self) -> Case:
        asks = tuple(self.ask(number) for number in range(self.count))
        params = self.pick(("Limit", "ClusterLimit", "ConfigMap")) if self.chance(0.35) else ""
        return Case(self.policy(params, [ask.name for ask in asks]), self.binding(params), asks)

    def policy(self, params: str, names: list[str]) -> Object:
        variables = self.kind == "Pod" and self.chance(0.35)
        validations = [self.validation(params, variables) for _ in range(self.pick((1, 1, 2, 3)))]
        spec: Object = {"validations": validations, "matchConstraints": self.constraints(names)}
        if params:
            spec["paramKind"] = {"apiVersion": "v1" if params == "ConfigMap" else f"{GROUP}/v1", "kind": params}
        if variables:
            spec["variables"] = [{"name": name, "expression": text} for name, text in VARIABLES]
        if self.chance(0.3):
            spec["matchConditions"] = [
                {"name": f"c{number}", "expression": self.expression(params, variables=False)}
                for number in range(self.pick((1, 1, 2)))
            ]
        if self.chance(0.15):
            spec["auditAnnotations"] = [{"key": "note", "valueExpression": self.pick(ANNOTATIONS)}]
        if self.chance(0.8):
            spec["failurePolicy"] = self.pick(("Fail", "Fail", "Ignore"))
        return {"apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": self.name},
                "spec": spec}  # fmt: skip

    def validation(self, params: str, variables: bool) -> Object:
        found: Object = {"expression": self.expression(params, variables=variables)}
        return found | ({"message": "no"} if self.chance(0.3) else {})

    def constraints(self, names: list[str]) -> Object:
        found: Object = {"resourceRules": [self.rule(names)]}
        if self.chance(0.15):
            found["excludeResourceRules"] = [self.rule([self.pick(names)])]
        return found | self.selectors()

    def rule(self, names: list[str]) -> Object:
        group, resource = {"Pod": ("", "pods"), "Namespace": ("", "namespaces")}.get(
            self.kind, ("rbac.authorization.k8s.io", "clusterroles")
        )
        found: Object = {
            "operations": self.pick((["*"],) * 6 + (["CREATE", "UPDATE"], ["CREATE"], ["UPDATE", "DELETE"])),
            "apiGroups": self.pick(([group], [group], ["*"], ["apps", group])),
            "apiVersions": self.pick((["v1"], ["*"], ["v1"], ["v2"] if self.chance(0.3) else ["v1beta1", "v1"])),
            "resources": self.pick(([resource], [resource, f"{resource}/status"], ["*"], ["*/*"])),
            "resourceNames": self.random.sample(names, self.random.randint(1, len(names)))
            if self.chance(0.1)
            else names,
        }
        if self.chance(0.15):
            found["scope"] = self.pick(("*", "Namespaced", "Cluster"))
        return found

    def selectors(self) -> Object:
        found: Object = {}
        if self.chance(0.2):
            found["namespaceSelector"] = self.pick(
                (
                    {"matchLabels": {"team": "pay"}},
                    {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["shop"]}]},
                    {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In",
                                           "values": ["vap-one", "vap-bare"]}]},
                    {"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]},
                )
            )  # fmt: skip
        if self.chance(0.2):
            found["objectSelector"] = self.pick(
                (
                    {"matchLabels": {"team": "pay"}},
                    {"matchExpressions": [{"key": "exempt", "operator": "DoesNotExist"}]},
                    {"matchExpressions": [{"key": "team", "operator": "Exists"}]},
                )
            )
        if self.chance(0.3):
            found["matchPolicy"] = self.pick(("Exact", "Equivalent"))
        return found

    def binding(self, params: str) -> Object:
        actions = self.pick((["Deny"],) * 7 + (["Deny", "Audit"], ["Warn"], ["Audit"], ["Warn", "Audit"]))
        spec: Object = {"policyName": self.name, "validationActions": actions}
        if self.chance(0.3):
            spec["matchResources"] = self.selectors() or {"namespaceSelector": {}}
            if self.chance(0.3):
                rule = {"operations": ["CREATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
                spec["matchResources"]["resourceRules"] = [rule]
        if params and self.chance(0.9):
            spec["paramRef"] = self.reference(params)
        return {"apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": self.name},
                "spec": spec}  # fmt: skip

    def reference(self, params: str) -> Object:
        found: Object = {"parameterNotFoundAction": self.pick(("Allow", "Deny"))}
        if self.chance(0.5):
            found["name"] = self.pick(("strict", "strict", "lax", "odd", "absent"))
        else:
            found["selector"] = {
                "matchLabels": self.pick(({"tier": "gold"}, {"lax": "yes"}, {"tier": "iron"}, {"a": "b"}))
            }
        if params != "ClusterLimit" and self.chance(0.5):
            found["namespace"] = self.pick(("vap-one", "vap-two", "vap-bare"))
        return found

    def ask(self, number: int) -> Ask:
        operation = self.pick(("CREATE",) * 8 + ("UPDATE", "DELETE")) if self.kind == "Pod" else "CREATE"
        name = f"{self.name}-{number}"
        labels = dict(
            self.pick(({}, {"team": "pay"}, {"team": "shop"}, {"team": "pay", "exempt": ""}, {"exempt": "yes"}))
        )
        where = self.pick(tuple(NAMESPACES)) if self.kind == "Pod" else ""
        after = dict(self.pick(({"team": "pay"}, {"exempt": "now"}, {"other": "x"})))
        user = self.pick(USERS)
        return Ask(operation, self.kind, where, name, user, self.object(name, where, labels), after)

    def object(self, name: str, where: str, labels: dict[str, str]) -> Object:
        if self.kind == "Namespace":
            return namespace(name, **labels)
        if self.kind == "ClusterRole":
            rules = self.pick(([], [{"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}],
                               [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]))  # fmt: skip
            return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                    "metadata": metadata(name, labels=labels), "rules": rules}  # fmt: skip
        pod = random_pod(self.random, name, valid=True)
        pod["spec"].pop("ephemeralContainers", None)
        pod["metadata"] |= {"namespace": where, "labels": labels}
        return {"apiVersion": "v1", "kind": "Pod", **pod}


def random_cases(random: Random, number: int, asks: int = 6) -> Iterator[Case]:
    """As many policies, each with a binding and `asks` requests."""
    return (_Maker(random, index, asks).case() for index in range(number))


def policy(name: str = "p", *expressions: str, rules: Sequence[Object] = (), **spec: Any) -> Object:
    """A policy on pods with some validations."""
    rule = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["pods"]}
    validations = [{"expression": one} for one in expressions]
    constraints = {"resourceRules": list(rules) or [rule], **spec.pop("matchConstraints", {})}
    return {"apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {"validations": validations, "matchConstraints": constraints, **spec}}  # fmt: skip


def binding(name: str = "p", actions: Sequence[str] = ("Deny",), **spec: Any) -> Object:
    """A binding of the policy of the same name."""
    return {"apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": list(actions), **spec}}  # fmt: skip


def request_of(ask: Ask, namespaces: dict[str, Object], stored: dict[str, Object]) -> Request:
    """What the server is asked, as posture takes it."""
    there = namespaces.get(ask.namespace)
    if ask.kind == "Pod" and ask.operation == "CREATE":
        return pod_creation(ask.object, ask.namespace, there, user=ask.user, groups=USER_GROUPS, dry_run=True)
    if ask.kind == "Pod":
        old = stored[ask.name]
        labels = {**old["metadata"].get("labels", {}), **ask.labels}
        new = {**old, "metadata": {**old["metadata"], "labels": labels}} if ask.operation == "UPDATE" else None
        operation: Any = ask.operation
        return Request(
            operation, PODS, "", ask.namespace, ask.name, new, old, ask.user, USER_GROUPS, there, dry_run=True
        )
    labels = ask.object["metadata"]["labels"]
    if ask.kind == "Namespace":
        labels = {**labels, NAME_LABEL: ask.name}
        thing = {**ask.object, "metadata": {**ask.object["metadata"], "labels": labels}, "status": {"phase": "Active"}}
        return Request("CREATE", NAMESPACE, "", ask.name, ask.name, thing, None, ask.user, USER_GROUPS, dry_run=True)
    thing = {**ask.object, "metadata": {"name": ask.name, **({"labels": labels} if labels else {})}}
    return Request("CREATE", ROLES, "", "", ask.name, thing, None, ask.user, USER_GROUPS, dry_run=True)


def space_of(ask: Ask) -> Space:
    """Where a request is made; the namespace itself for one that makes it."""
    labels: Mapping[str, str] = ask.object["metadata"]["labels"] if ask.kind == "Namespace" else {}
    name = ask.name if ask.kind == "Namespace" else ask.namespace
    return Space.of(name, {"labels": labels or NAMESPACES.get(name, {})} if name else None)


def edited(objects: Iterable[Object], removal: Iterable[Changed]) -> list[Object]:
    """Policies and bindings after some edits."""
    found = {(one["kind"].lower().removesuffix("y") + "ies" if one["kind"].endswith("y") else one["kind"].lower() + "s",
              one["metadata"]["name"]): one for one in objects}  # fmt: skip
    for key, _, new in removal:
        place = key.resource.partition(".")[0], key.name
        assert new is not None
        found[place] = {**found[place], "spec": new["spec"]}
    return list(found.values())
