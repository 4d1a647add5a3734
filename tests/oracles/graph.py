"""The posture graph by brute force, without anything of posture: what somebody comes to hold, one thing at a time.

From plain Kubernetes objects and the files of `checks/escalations` to the targets that a source reaches. There are no
sets of nodes: every namespace, identity, workload and name is spelled out, every condition is a number of concrete
requests put to the RBAC oracle, and the search is a loop over everything until nothing changes. Of admission only the
Pod Security labels count, of the network Services of type LoadBalancer and policies that isolate or let everybody in.
Sources: checks/escalation.schema.json; kubernetes.io, Pod Security Standards; tests/oracles/rbac.py for requests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache, cached_property
from itertools import product
from typing import Any, NamedTuple

from tests.oracles import rbac
from tests.oracles.rbac import OTHER, Point

type Object = Mapping[str, Any]
type Names = Mapping[str, str]

EVERYWHERE = "*"
MASTERS = "group:system:masters"
UNNAMED = frozenset({"create", "list", "watch", "deletecollection", "escalate"})
"""Verbs of requests that carry no name; to escalate is checked with the name of the request that writes the role."""
UNNAMED_BELOW = frozenset({
    "certificatesigningrequests/nodeclient", "certificatesigningrequests/selfnodeclient", "resourceclaims/binding",
})  # fmt: skip
IN_NO_NAMESPACE: Mapping[str, frozenset[str]] = {
    "": frozenset({"nodes", "namespaces", "persistentvolumes", "users", "groups"}),
    "authentication.k8s.io": frozenset({"users", "groups", "nodes"}),
    "rbac.authorization.k8s.io": frozenset({"clusterroles", "clusterrolebindings"}),
    "certificates.k8s.io": frozenset({"certificatesigningrequests", "signers"}),
    "admissionregistration.k8s.io": frozenset({
        "mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "mutatingwebhookconfigurations",
        "validatingadmissionpolicies", "validatingadmissionpolicybindings", "validatingwebhookconfigurations",
    }),
    "apiextensions.k8s.io": frozenset({"customresourcedefinitions"}),
    "apiregistration.k8s.io": frozenset({"apiservices"}),
    "security.openshift.io": frozenset({"securitycontextconstraints"}),
    "cert-manager.io": frozenset({"signers"}),
}  # fmt: skip
BASELINE = frozenset({
    "privileged", "hostPathVolumes", "capabilities_baseline", "windowsHostProcess", "hostNamespaces", "hostPorts",
})  # fmt: skip
RESTRICTED = BASELINE | {"runAsNonRoot", "allowPrivilegeEscalation", "capabilities_restricted", "restrictedVolumes"}
REFUSED: Mapping[str, frozenset[str]] = {
    "privileged": frozenset(), "baseline": BASELINE, "restricted": RESTRICTED,
}  # fmt: skip
"""Which controls of the escalations' files each Pod Security level enforces."""
EVERYTHING = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}


class Pods(NamedTuple):
    """One pod, or the pods that a template makes: the workload, the pod's name ("" of a template), and its spec."""

    workload: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    spec: Object


class World:
    """A cluster and the escalations that hold for its version (a minor of Kubernetes 1; None is the newest)."""

    def __init__(self, objects: Iterable[Object], escalations: Iterable[Object], minor: int | None = None) -> None:
        self.objects = [*objects]
        self.escalations = {one["id"]: one for one in escalations if applies(one, minor)}
        self.rules = cache(self._rules)
        self.assignments = cache(self._assignments)
        self.where = cache(self._where)
        self.effect = cache(lambda name, place, names: [*self._effect(self.escalations[name], place, dict(names))])

    def of(self, *kinds: str) -> list[Object]:
        """The objects of some kinds."""
        return [one for one in self.objects if one["kind"] in kinds]

    @cached_property
    def namespaces(self) -> list[str]:
        """Every namespace."""
        return [one["metadata"]["name"] for one in self.of("Namespace")]

    @cached_property
    def accounts(self) -> list[tuple[str, str]]:
        """The ServiceAccounts that exist: (namespace, name)."""
        return [rbac.place(one)[1:] for one in self.of("ServiceAccount")]

    @cached_property
    def bindings(self) -> list[Object]:
        """Every binding."""
        return self.of("RoleBinding", "ClusterRoleBinding")

    @cached_property
    def subjects(self) -> set[str]:
        """Every subject that a binding names."""
        found = {
            rbac.subject_called(subject, rbac.place(one)[1])
            for one in self.bindings for subject in one.get("subjects") or ()
        }  # fmt: skip
        return {name for name in found if name}

    @cached_property
    def pods(self) -> list[Pods]:
        """What runs."""
        found = []
        for one in self.of("Pod", "Deployment"):
            kind, namespace, name = rbac.place(one)
            owner = next(iter(one["metadata"].get("ownerReferences") or ()), {"kind": kind, "name": name})
            inner = one if kind == "Pod" else one["spec"]["template"]
            workload = f"workload:{namespace}/{owner['name']}[{owner['kind']}]"
            labels = (inner.get("metadata") or {}).get("labels") or {}
            found.append(Pods(workload, namespace, name if kind == "Pod" else "", labels, inner["spec"]))
        return found

    # Requests -------------------------------------------------------------------------------------------------------

    def _rules(self, identity: str, place: str) -> list[tuple[Object, str]]:
        """The rules that count for an identity in a namespace, or beyond all, each with the namespace of its binding.

        Rights that somebody may grant himself (`role:KIND/NAME@PLACE`), and all of them in a namespace
        (`namespace-admin/NS`), are identities too.
        """
        if identity.startswith("namespace-admin/"):
            inside = identity.removeprefix("namespace-admin/")
            return [(EVERYTHING, inside)] if inside == place else []
        if identity.startswith("role:"):
            return self._rules_of_role(identity, place)
        kind, _, name = identity.partition(":")
        groups = [group.removeprefix("group:") for group in rbac.groups_of(identity)]
        user = OTHER if kind == "group" else name
        if kind == "group":
            groups.append(name)
        if kind == "serviceaccount":
            user = rbac.ACCOUNT + name.replace("/", ":", 1)
        roles = {rbac.place(one): one for one in self.of("Role", "ClusterRole")}
        found: list[tuple[Object, str]] = []
        for one in self.bindings:
            inside = rbac.place(one)[1]
            named = any(rbac.names_user(each, inside, user, groups) for each in one.get("subjects") or ())
            if inside in ("", place) and named:
                role = roles.get(rbac.role_of(one)) or {}
                found += ((rule, inside) for rule in role.get("rules") or ())
        return found

    def _rules_of_role(self, identity: str, place: str) -> list[tuple[Object, str]]:
        reference, _, scope = identity.removeprefix("role:").rpartition("@")
        kind, _, name = reference.partition("/")
        if scope not in (EVERYWHERE, place):
            return []
        inside = "" if scope == EVERYWHERE else scope
        wanted = kind, inside if kind == "Role" else "", name
        role = next((one for one in self.of("Role", "ClusterRole") if rbac.place(one) == wanted), {})
        return [(rule, inside) for rule in role.get("rules") or ()]

    def in_no_namespace(self, group: str, resource: str) -> bool:
        """Whether a resource lives in no namespace, as discovery says or as Kubernetes ships it."""
        for one in self.of("APIResource"):
            if one["metadata"]["name"] == (f"{resource}.{group}" if group else resource):
                return not one["namespaced"]
        return resource in IN_NO_NAMESPACE.get(group, ())

    def carries(self, point: Point, namespace: str) -> bool:
        """Whether a request like this carries a namespace, so that the RoleBindings there are looked at."""
        if not self.in_no_namespace(point.group, point.resource):
            return True
        if (point.verb, point.resource, point.subresource) == ("bind", "clusterroles", ""):
            return True
        itself = point.resource == "namespaces" and point.subresource in ("", "status", "finalize")
        return itself and point.name == namespace and point.verb not in ("create", "list", "deletecollection")

    def allowed(self, rules: Sequence[tuple[Object, str]], point: Point) -> bool:
        """The answer to one request of somebody for whom these rules count."""
        return any(
            rbac.rule_allows(rule, point) and (not inside or self.carries(point, inside)) for rule, inside in rules
        )

    # Conditions -----------------------------------------------------------------------------------------------------

    def holds(self, tree: Object, rules: Sequence[tuple[Object, str]], names: Names) -> bool:
        """Whether all that a tree of permissions asks is allowed, with some names for its variables."""
        if "all" in tree:
            return all(self.holds(part, rules, names) for part in tree["all"])
        if "any" in tree:
            return any(self.holds(part, rules, names) for part in tree["any"])
        fields = (tree["verbs"], tree["apiGroups"], tree["resources"])
        for verb, group, whole in product(*([OTHER if one == "*" else one for one in field] for field in fields)):
            resource, _, subresource = whole.partition("/")
            for name in self.asked(tree, verb, f"{whole}.{group}", rules, names):
                if self.allowed(rules, Point(verb, group, resource, subresource, name)):
                    return True
        return False

    def asked(self, leaf: Object, verb: str, kind: str, rules: Sequence[tuple[Object, str]], names: Names) -> list[str]:
        """The names with which a permission is asked for; one of them will do."""
        whole, _, group = kind.partition(".")
        given: list[str] = list(leaf.get("resourceNames") or ())
        if given:
            return [names.get(one, one) for one in given]
        nameless = verb in UNNAMED and ("/" not in whole or whole in UNNAMED_BELOW)
        made = MADE.get((group, whole.partition("/")[0]))
        if leaf.get("names") == "some" and "create" not in leaf["verbs"] and made:
            return [*self.of_those_there(made, names["$ns"]), OTHER]
        if leaf.get("names") == "some":
            return [*(name for name in named(rules) if name), OTHER, *([""] if nameless else [])]
        return [""] if nameless else [OTHER]

    def of_those_there(self, kind: str, namespace: str) -> list[str]:
        """The names that objects of a kind have in a namespace; every name, where there is none anywhere. No object is
        in every namespace.
        """
        if namespace == OTHER:
            return []
        there = [rbac.place(one) for one in self.of(kind)]
        mine = [name for _, where, name in there if where == namespace]
        rules = [(rule, "") for one in self.of("Role", "ClusterRole") for rule in one.get("rules") or ()]
        return mine if there else [name for name in named(rules) if name not in ("", "*")]

    def _assignments(
        self, escalation: str, number: int, identity: str, place: str
    ) -> list[tuple[tuple[str, str], ...]]:
        """The names for its variables with which an identity meets a request of an escalation in a place.

        A name that no rule names, `OTHER`, is any name: so no further ones are tried.
        """
        request = self.escalations[escalation]["requests"][number]
        assert request.get("scope") != "namespace", "no escalation asks for it"
        if place not in request.get("namespaces", [place]):
            return []
        rules = self.rules(identity, EVERYWHERE if request.get("scope") == "cluster" else place)
        if not rules:
            return []
        variables = sorted({name for name in variables_of(request) if name != "$ns"})
        values = [OTHER, *(name for name in named(rules) if name)]
        found = []
        for chosen in product(values, repeat=len(variables)):
            names = dict(zip(variables, chosen, strict=True))
            own = OTHER if place == EVERYWHERE else place
            if self.holds(request, rules, {**names, "$ns": own}):
                found.append(tuple(names.items()))
        return found

    def admits(self, patterns: Sequence[str], namespace: str, *, guarded: bool) -> bool:
        """Whether the Pod Security level of a namespace ("" has no labels) lets some violation pass, and the policy
        that may refuse every pod, where there is one, does not stop it.
        """
        space: Any = next(
            (one for one in self.of("Namespace") if one["metadata"]["name"] == namespace), {"metadata": {}}
        )
        level = (space["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce", "privileged")
        return any(
            pattern.partition(":")[0] not in REFUSED[level]
            and not (guarded and pattern.partition(":")[0] in RESTRICTED and "ephemeralContainers" not in pattern)
            for pattern in patterns
        )

    def _where(self, escalation: str, place: str, guarded: bool) -> bool:
        """Whether what a permission cannot say holds in a place. Pod Security is a matter of one namespace."""
        wanted = self.escalations[escalation].get("where") or {}
        serves = wanted.get("serves")
        if serves and serves not in (one["metadata"]["name"] for one in self.of("APIResource")):
            return False
        if "namespaces" in wanted and place not in wanted["namespaces"]:
            return False
        if "newNamespace" in wanted and place != EVERYWHERE:
            return False
        if "reachesMetadata" in wanted and not self.may_be_open(place):
            return False
        for word, somewhere in (("admits", True), ("admitsUnlabelled", True), ("admitsInNewNamespace", False)):
            space = place if word == "admits" else ""
            if word in wanted and (
                (place != EVERYWHERE) != somewhere or not self.admits(wanted[word], space, guarded=guarded)
            ):
                return False
        return True

    def may_be_open(self, namespace: str) -> bool:
        """Whether some pod that could be made in a namespace may talk to everybody: policies select by labels."""
        policies = (one["spec"]["podSelector"] for one in self.of("NetworkPolicy") if rbac.place(one)[1] == namespace)
        labels = [{}, *(one.get("matchLabels") or {} for one in policies)]
        return namespace != EVERYWHERE and any(self.may(Pods("", namespace, "", one, {}), "Egress") for one in labels)

    # What follows ---------------------------------------------------------------------------------------------------

    def reached(self, source: str) -> list[str]:
        """The targets that a source reaches, sorted; cluster-admin stands for all others."""
        held = {source}
        while True:
            before = len(held)
            for node in [*held]:
                held.update(self.beyond(node))
            identities = [node for node in held if node.startswith(IDENTITIES)]
            for escalation, place in product(self.escalations, [EVERYWHERE, *self.namespaces]):
                if self.met(escalation, place, held, identities):
                    for names in self.ways(escalation, place, identities):
                        held.update(self.effect(escalation, place, names))
            held.update(self.rewritten(held))
            if "cluster-admin" in held:
                return ["cluster-admin"]
            if len(held) == before:
                return sorted(node for node in held if is_target(node))

    def beyond(self, node: str) -> Iterator[str]:
        """What follows from holding one thing, by how the cluster is built."""
        if node == MASTERS:
            yield "cluster-admin"
        elif node == "secrets":
            yield "secrets/kube-system"
        elif node == "every node":
            yield "node"
            yield from (pod.workload for pod in self.pods)
        elif node == "outside":
            yield from (pod.workload for pod in self.pods if self.is_exposed(pod))
        elif node.startswith("node:"):
            yield "node"
            yield from (pod.workload for pod in self.pods if pod.spec.get("nodeName") == node.removeprefix("node:"))
        elif node.startswith("workload:"):
            for pod in self.pods:
                if pod.workload == node:
                    yield from self.of_pod(pod)
        elif node.startswith(("user:", "group:", "serviceaccount:")):
            yield from rbac.groups_of(node)
            yield from self.assumed(node)
        elif node.startswith("any ClusterRole//"):
            yield from self.aggregated
        elif node.startswith("given ") and node.endswith("@*"):
            yield from (node.removesuffix("*") + namespace for namespace in self.namespaces)

    def assumed(self, node: str) -> Iterator[str]:
        """The cloud identities of a ServiceAccount."""
        for (where, _), extras in rbac.Cluster(self.of("ServiceAccount")).extras.items():
            if where[0] == node:
                yield from (f"cloud/{extra.value}" for extra in extras if isinstance(extra, rbac.Extra))

    def of_pod(self, pod: Pods) -> Iterator[str]:
        """What whoever is in a pod holds."""
        account = pod.spec.get("serviceAccountName") or "default"
        mine = next((one for one in self.of("ServiceAccount") if rbac.place(one)[1:] == (pod.namespace, account)), {})
        mounted = pod.spec.get("automountServiceAccountToken")
        if mounted is None:
            mounted = mine.get("automountServiceAccountToken")
        if mounted is not False:
            yield f"serviceaccount:{pod.namespace}/{account}"
        else:
            annotations = mine.get("metadata", {}).get("annotations") or {}
            yield from (f"cloud/aws:{role}" for name, role in annotations.items() if name == AWS)
        if any((one.get("securityContext") or {}).get("privileged") for one in pod.spec["containers"]):
            yield "node"
            if pod.spec.get("nodeName"):
                yield f"node:{pod.spec['nodeName']}"
        if self.may(pod, "Egress"):
            yield "cloud/node"

    def may(self, pod: Pods, direction: str) -> bool:
        """Whether policies let a pod talk to everybody; none speaks of a pod in the network of its node."""
        about = [
            one["spec"] for one in self.of("NetworkPolicy")
            if rbac.place(one)[1] == pod.namespace and direction in one["spec"]["policyTypes"]
            and rbac.selects(one["spec"]["podSelector"], pod.labels)
        ]  # fmt: skip
        open_to_all = any({} in (spec.get(direction.lower()) or ()) for spec in about)
        return bool(pod.spec.get("hostNetwork")) or not about or open_to_all

    def is_exposed(self, pod: Pods) -> bool:
        """Whether somebody outside gets to a pod."""
        return self.may(pod, "Ingress") and any(
            rbac.place(one)[1] == pod.namespace and one["spec"]["selector"].items() <= pod.labels.items()
            for one in self.of("Service") if one["spec"].get("type") == "LoadBalancer"
        )  # fmt: skip

    def met(self, escalation: str, place: str, held: Collection[str], identities: Sequence[str]) -> bool:
        """Whether the condition of an escalation is met in a place, by whoever holds all this."""
        one = self.escalations[escalation]
        if f"given {escalation}@{place}" not in held:
            if not all(f"can {used}@{place}" in held for used in one.get("uses", ())):
                return False
            for number in range(len(one.get("requests", ()))):
                if not any(self.assignments(escalation, number, identity, place) for identity in identities):
                    return False
        if not {*one.get("holds", ())} <= {*held}:
            return False
        return self.where(escalation, place, self.guarded and "engine/vap" not in held)

    def ways(self, escalation: str, place: str, identities: Sequence[str]) -> Iterable[tuple[tuple[str, str], ...]]:
        """The names with which it is met; any where several requests make the condition, or another gives it."""
        one = self.escalations[escalation]
        found = (
            {names for each in identities for names in self.assignments(escalation, 0, each, place)}
            if len(one.get("requests", ())) == 1 and not one.get("uses") and not one.get("holds")
            else set()
        )
        return found or {()}

    def _effect(self, escalation: Object, place: str, names: Names) -> Iterator[str]:
        """What whoever meets a condition gets."""
        yield f"can {escalation['id']}@{place}"
        effect = escalation["effect"]
        for pattern in effect.get("become", ()):
            attached = "stdin" in (escalation.get("where") or {})
            yield from self.become(pattern.replace("workload:", "attached:") if attached else pattern, place, names)
        for target in effect.get("reach", ()):
            yield from self.targets(target, place)
        for pattern in effect.get("switchOff", ()):
            yield from (f"engine/{one}" for one in self.engines if fnmatchcase(one, pattern))
        if isinstance(effect.get("ability"), str):
            yield f"given {effect['ability']}@{place}"
        for word in ("grantRulesOf", "rewrite", "make"):
            if word in effect:
                yield from self.roles(word, escalation, place, names)

    def targets(self, target: str, place: str) -> Iterator[str]:
        """A target, spelled out."""
        if target == "node":
            yield "every node"
        elif target == "secrets/$ns" and place == EVERYWHERE:
            yield "secrets"
        elif "$ns" in target:
            yield from (target.replace("$ns", one) for one in self.spelled(place))
        else:
            yield target

    def spelled(self, place: str) -> list[str]:
        """The namespaces that a place is."""
        return self.namespaces if place == EVERYWHERE else [place]

    @cached_property
    def engines(self) -> list[str]:
        """The engines that have a policy: here only ValidatingAdmissionPolicies, once they are bound."""
        return ["vap"] if self.of("ValidatingAdmissionPolicyBinding") else []

    @cached_property
    def guarded(self) -> bool:
        """Whether a policy may refuse every pod."""
        return any(one["metadata"]["name"] == "no-pods" for one in self.of("ValidatingAdmissionPolicyBinding"))

    @cached_property
    def aggregated(self) -> list[str]:
        """Those that are made of others, as what may be given any rule."""
        mine = (one for one in self.of("ClusterRole") if (one.get("aggregationRule") or {}).get("clusterRoleSelectors"))
        return [f"any ClusterRole//{one['metadata']['name']}" for one in mine]

    def become(self, pattern: str, place: str, names: Names) -> Iterator[str]:
        """The identities that a pattern stands for. A variable that is anything stands for all there are."""
        kind, _, text = pattern.partition(":")
        if text.startswith("$new/"):
            yield from (f"serviceaccount:{one}/{text.removeprefix('$new/')}" for one in self.awaited())
            return
        if kind == "workload-on":
            yield from self.on_machine(names.get(text, OTHER))
            return
        where, _, wanted = text.rpartition("/") if kind in (*SPACED, "attached") else ("", "", text)
        chosen = names.get(wanted, OTHER) if wanted.startswith("$") else ""
        spaces = self.spelled(place if where == "$ns" else where or EVERYWHERE)
        every = chosen == OTHER
        for node, name in self.members("controller" if wanted == "$workload" else kind, spaces):
            if (name == chosen or every) if wanted.startswith("$") else fnmatchcase(name, wanted):
                yield node
        if wanted.startswith("$") and not every:
            yield from self.named_only(kind, chosen, spaces)
        elif kind == "group" and wanted not in ("*", "$name"):
            yield f"group:{wanted}"

    def awaited(self) -> set[str]:
        """The namespaces that do not exist, of which bindings name ServiceAccounts, or all of them."""
        accounts = (
            one.partition(":")[2].partition("/")[0] for one in self.subjects if one.startswith("serviceaccount:")
        )
        groups = (one.rpartition(":")[2] for one in self.subjects if one.startswith("group:system:serviceaccounts:"))
        return {*accounts, *groups} - {*self.namespaces, "*"}  # no name of a namespace

    def on_machine(self, name: str) -> Iterator[str]:
        """What runs on a node, or on any where nobody knows what runs where."""
        known = any(pod.spec.get("nodeName") for pod in self.pods)
        for pod in self.pods:
            if name == OTHER or not known or pod.spec.get("nodeName") == name:
                yield pod.workload

    def members(self, kind: str, spaces: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Those of a kind that are there, each with the name by which it is asked for."""
        if kind in ("user", "group"):
            found = (one.partition(":")[2] for one in self.subjects - {MASTERS} if one.startswith(f"{kind}:"))
            yield from ((f"{kind}:{name}", name) for name in found)
        elif kind == "workload":
            yield from ((pod.workload, pod.name) for pod in self.pods if pod.namespace in spaces)
        elif kind == "attached":
            reads = (pod for pod in self.pods if any(one.get("stdin") for one in pod.spec["containers"]))
            yield from ((pod.workload, pod.name) for pod in reads if pod.namespace in spaces)
        elif kind == "controller":
            mine = (pod.workload for pod in self.pods if pod.namespace in spaces)
            yield from ((one, one.partition("/")[2].partition("[")[0]) for one in mine if not one.endswith("[Pod]"))
        else:
            there = {*self.accounts}
            named = {one.removeprefix("serviceaccount:") for one in self.subjects if one.startswith("serviceaccount:")}
            absent = {(one.partition("/")[0], one.partition("/")[2]) for one in named} - there
            for space, name in absent if kind == "absent" else there:
                if space in spaces:
                    yield f"serviceaccount:{space}/{name}", name

    def named_only(self, kind: str, name: str, spaces: Sequence[str]) -> Iterator[str]:
        """Those of which no object needs to exist. A ServiceAccount's user name is its own kind of identity."""
        if kind == "user" and not name.startswith(rbac.ACCOUNT):
            yield f"user:{name}"
        elif kind == "group" and f"group:{name}" != MASTERS:
            yield f"group:{name}"
        elif kind == "absent":
            there = {*self.accounts}
            users = (f"{rbac.ACCOUNT}{space}:{name}" for space in spaces if (space, name) not in there)
            yield from (one for one in map(rbac.user_called, users) if one.startswith("serviceaccount:"))

    def roles(self, word: str, escalation: Object, place: str, names: Names) -> Iterator[str]:
        """The roles that somebody may grant himself, or give any rule, in a place. Those that there are, those that
        bindings or rules name, and one of another name.
        """
        kind, _, wanted = escalation["effect"][word].partition("/")
        beyond = any(one.get("scope") == "cluster" for one in escalation.get("requests", []))
        if word == "grantRulesOf" and place == EVERYWHERE and not beyond:
            return  # a RoleBinding grants nothing beyond its namespace
        chosen = names.get(wanted, OTHER)
        refers = (escalation.get("where") or {}).get("refers")
        for space in [""] if kind == "ClusterRole" else self.spelled(place):
            for name in self.role_names if refers is None else self.referred(refers, kind, place, names):
                exists = (kind, space, name) in self.there
                if chosen not in (name, OTHER) or (word == "rewrite" and not exists) or (word == "make" and exists):
                    continue
                yield f"role:{kind}/{name}@{place}" if word == "grantRulesOf" else f"any {kind}/{space}/{name}"

    @cached_property
    def there(self) -> set[tuple[str, str, str]]:
        """The roles that there are."""
        return {rbac.place(one) for one in self.of("Role", "ClusterRole")}

    @cached_property
    def role_names(self) -> list[str]:
        """Every name that a role has, or may have: one that nothing mentions is like any other."""
        rules = [(rule, "") for one in self.of("Role", "ClusterRole") for rule in one.get("rules") or ()]
        bound = {rbac.role_of(one)[2] for one in self.bindings}
        return sorted({name for _, _, name in self.there} | bound | {*named(rules), OTHER} - {"", "*"})

    def referred(self, refers: str, kind: str, place: str, names: Names) -> set[str]:
        """The names of the roles that bindings of some name refer to, in a place."""
        by, _, binding = refers.partition("/")
        inside = "" if place == EVERYWHERE else place
        mine = [one for one in self.of(by) if rbac.place(one)[1] == inside
                and names.get(binding, OTHER) in (rbac.place(one)[2], OTHER)]  # fmt: skip
        return {rbac.role_of(one)[2] for one in mine if rbac.role_of(one)[0] == kind}

    def rewritten(self, held: Iterable[str]) -> Iterator[str]:
        """What those get who are granted a role that may be given any rule."""
        known = {*held}
        for one in self.bindings:
            kind, space, name = rbac.role_of(one)
            inside = rbac.place(one)[1]
            subjects = {rbac.subject_called(subject, inside) for subject in one.get("subjects") or ()}
            if f"any {kind}/{space}/{name}" in known and subjects & known:
                yield f"namespace-admin/{inside}" if inside else "cluster-admin"
        for node in known:
            if node.startswith("role:"):
                reference, _, inside = node.removeprefix("role:").rpartition("@")
                kind, _, name = reference.partition("/")
                if f"any {kind}/{inside if kind == 'Role' else ''}/{name}" in known:
                    yield "cluster-admin" if inside == EVERYWHERE else f"namespace-admin/{inside}"


AWS = "eks.amazonaws.com/role-arn"
SPACED = ("serviceaccount", "absent", "workload")
MADE = {
    ("", "pods"): "Pod", ("", "replicationcontrollers"): "ReplicationController", ("apps", "daemonsets"): "DaemonSet",
    ("apps", "deployments"): "Deployment", ("apps", "replicasets"): "ReplicaSet",
    ("apps", "statefulsets"): "StatefulSet", ("batch", "cronjobs"): "CronJob", ("batch", "jobs"): "Job",
}  # fmt: skip
"""Pods and what makes them: of these there is what there is."""
IDENTITIES = ("user:", "group:", "serviceaccount:", "role:", "namespace-admin/")


def applies(escalation: Object, minor: int | None) -> bool:
    """Whether an escalation holds for a minor of Kubernetes 1."""
    versions = escalation.get("versions") or {}
    since, until = (int(versions[end].partition(".")[2]) if end in versions else None for end in ("since", "until"))
    if minor is None:
        return until is None
    return (since is None or minor >= since) and (until is None or minor <= until)


def named(rules: Iterable[tuple[Object, str]]) -> list[str]:
    """The names of objects that rules name, and namespaces where they are bound."""
    found = [(*(rule.get("resourceNames") or ()), inside) for rule, inside in rules]
    return sorted({name for names in found for name in names})


def variables_of(tree: Object) -> Iterator[str]:
    """The variables in a condition."""
    for word in ("all", "any"):
        for part in tree.get(word, ()):
            yield from variables_of(part)
    yield from (name for name in tree.get("resourceNames", ()) if name.startswith("$"))


def is_target(node: str) -> bool:
    """Whether it is what an attacker wants."""
    return node in ("cluster-admin", "node", "secrets", "secrets/kube-system") or node.startswith(
        ("engine/", "cloud/", "namespace-admin/")
    )
