"""Random small clusters and questions, dense with the traps of RBAC: everything that the API server accepts."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

from posture.kinds import RBAC
from tests.oracles.rbac import aggregated as filled_in

from .objects import (
    Object,
    account,
    aggregated,
    binding,
    discovery,
    group,
    metadata,
    namespace,
    role,
    service_account,
    user,
)

NAMESPACES = ("pay", "web", "lab")
ROLES = ("reader", "writer", "admin-ish", "mixed", "ghost")
ACCOUNTS = ("api", "default", "job")
USERS = (
    "ann",
    "bob",
    "system:admin",
    "system:anonymous",
    "system:serviceaccount:pay:api",
    "system:serviceaccount:a:b:c",
)
GROUPS = (
    "devs", "ops", "system:authenticated", "system:unauthenticated", "system:serviceaccounts",
    "system:serviceaccounts:pay", "system:serviceaccounts:web", "ann",
)  # fmt: skip
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "*", "GET", "escalate",
         "bind", "impersonate", "use")  # fmt: skip
API_GROUPS = ("", "apps", "*", RBAC, "batch", "example.com")
RESOURCES = ("pods", "secrets", "deployments", "nodes", "namespaces", "*", "pods/log", "pods/exec", "*/scale", "*/log",
             "pods/*", "*/*", "deployments/scale", "a/b/c", "clusterroles", "Pods", "*/", "pods/")  # fmt: skip
NAMES = ("", "foo", "bar", "pay", "*", "Foo")
PATHS = (
    "/",
    "/api",
    "/api/*",
    "/api**",
    "/healthz",
    "/logs/*",
    "/logs",
    "*",
    "/metrics*",
    "/apis/apps/v1",
    "/a*b*",
    "**",
)
IDENTITIES = {
    "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/admin",
    "iam.gke.io/gcp-service-account": "admin@example.com",
    "azure.workload.identity/client-id": "00000000-0000-0000-0000-000000000001",
}
PART = "example.com/part-of"
"""The label by which the aggregated roles of a random cluster choose what they are made of."""


def some[Value](random: Random, values: Sequence[Value], most: int = 3) -> list[Value]:
    """One to `most` of the values, repetitions and all."""
    return [random.choice(values) for _ in range(random.randint(1, most))]


def random_rule(random: Random, *, urls_too: bool = True) -> Object:
    """A PolicyRule that the API server accepts: on resources, or on URLs where that is allowed."""
    if urls_too and random.random() < 0.2:
        return {"verbs": some(random, VERBS), "nonResourceURLs": some(random, PATHS)}
    made = {"verbs": some(random, VERBS), "apiGroups": some(random, API_GROUPS), "resources": some(random, RESOURCES)}
    if random.random() < 0.4:
        made["resourceNames"] = some(random, NAMES)
    return made


def random_rules(random: Random, *, urls_too: bool) -> list[Object]:
    """The rules of a role; at times none."""
    return [random_rule(random, urls_too=urls_too) for _ in range(random.choice((0, 1, 1, 2, 3)))]


def random_subject(random: Random, *, namespaced: bool) -> Object:
    """A subject that the API server accepts in a binding."""
    kind = random.choice(("User", "Group", "ServiceAccount"))
    if kind == "User":
        return user(random.choice(USERS))
    if kind == "Group":
        return group(random.choice(GROUPS))
    where = random.choice((*NAMESPACES, "nowhere", *([""] if namespaced else [])))
    return account(where, random.choice(ACCOUNTS))


def random_objects(random: Random, *, roles: int = 8, bindings: int = 12) -> list[Object]:
    """Roles and bindings with unique names, namespaces and ServiceAccounts; some references dangle."""
    found: dict[tuple[str, str, str], Object] = {}

    def add(made: Object) -> None:
        found[made["kind"], made["metadata"].get("namespace", ""), made["metadata"]["name"]] = made

    for name in NAMESPACES:
        add(namespace(name))
        for one in ACCOUNTS:
            if random.random() < 0.7:
                add(service_account(name, one))
    for _ in range(roles):
        where = random.choice(("", *NAMESPACES))
        add(role(random.choice(ROLES[:-1]), *random_rules(random, urls_too=not where), namespace=where))
    for number in range(bindings):
        where = random.choice(("", *NAMESPACES, *NAMESPACES))
        kind = random.choice(("Role", "ClusterRole")) if where else "ClusterRole"
        subjects = [random_subject(random, namespaced=bool(where)) for _ in range(random.choice((0, 1, 2, 3)))]
        add(binding(f"b{number % 9}", f"{kind}/{random.choice(ROLES)}", *subjects, namespace=where))
    return list(found.values())


def random_cluster(random: Random, *, roles: int = 8, bindings: int = 12) -> list[Object]:
    """A cluster as a snapshot sees it: random objects, aggregated roles filled in, cloud identities."""
    found = random_objects(random, roles=roles, bindings=bindings)
    for one in found:
        if one["kind"] == "Namespace":
            one["metadata"]["labels"] = {"env": random.choice(("prod", "test"))}
        elif one["kind"] == "ServiceAccount" and random.random() < 0.3:
            key = random.choice(sorted(IDENTITIES))
            one["metadata"]["annotations"] = {key: IDENTITIES[key], "note": "kept"}
    if random.random() < 0.7:
        for name, part in (("part-a", "inner"), ("part-b", "inner"), ("part-c", "outer")):
            found.append(role(name, *random_rules(random, urls_too=True), labels={PART: part}))
        found.append(aggregated("inner", {PART: "inner"}, rules=(), **{PART: "outer"}))
        found.append(aggregated("outer", {PART: "outer"}))
        for number in range(3):
            where = random.choice(("", *NAMESPACES))
            subjects = [random_subject(random, namespaced=bool(where)) for _ in range(random.choice((1, 2)))]
            reference = f"ClusterRole/{random.choice(('inner', 'outer', 'part-a'))}"
            found.append(binding(f"made-of-{number}", reference, *subjects, namespace=where))
    if random.random() < 0.5:
        for name in ("view", "system:monitoring"):  # default roles matter before anyone is bound to them
            found.append(role(name, *random_rules(random, urls_too=True)))
        where = random.choice(("", *NAMESPACES))
        found.append(
            binding("default", "ClusterRole/view", random_subject(random, namespaced=bool(where)), namespace=where)
        )
    return filled_in(found) + (discovery() if random.random() < 0.5 else [])


def random_edit(random: Random, objects: Sequence[Object]) -> list[Object]:
    """The cluster after someone did something: a role, a binding or an account made, changed or taken away."""
    found = list(objects)
    mine = [number for number, one in enumerate(found) if one["kind"] not in ("Namespace", "APIResource")]
    what = random.choice(("make", "make", "drop", "rules", "rules", "subjects", "subjects", "identity"))
    if what == "make":
        made = random_objects(random, roles=1, bindings=1)[-2:]
        made[1]["metadata"]["name"] = f"made-{random.randrange(10**6)}"
        names = {_place(one) for one in found}
        found += [one for one in made if _place(one) not in names]
    elif mine and what == "drop":
        del found[random.choice(mine)]
    elif mine:
        number = random.choice(mine)
        found[number] = _changed(random, found[number], what)
    return filled_in(found)


def _place(one: Object) -> tuple[str, str, str]:
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


def _changed(random: Random, one: Object, what: str) -> Object:
    """An object with other rules, subjects or annotations; as it was where it has no such thing."""
    where = one["metadata"].get("namespace", "")
    if what == "rules" and "rules" in one and "aggregationRule" not in one:
        kept = [rule for rule in one["rules"] if random.random() < 0.7]
        return one | {"rules": kept + random_rules(random, urls_too=not where)}
    if what == "subjects" and "subjects" in one:
        kept = [subject for subject in one["subjects"] if random.random() < 0.7]
        return one | {"subjects": [*kept, random_subject(random, namespaced=bool(where))]}
    if what == "identity" and one["kind"] == "ServiceAccount":
        key = random.choice(sorted(IDENTITIES))
        known = one["metadata"].get("annotations") or {}
        return service_account(where, one["metadata"]["name"], **({} if key in known else {key: IDENTITIES[key]}))
    return one


class Asked(NamedTuple):
    """A question as a line of `explain access --batch` and as the spec of a SubjectAccessReview."""

    line: dict[str, Any]
    review: dict[str, Any]


def random_user(random: Random) -> tuple[str, list[str]]:
    """Who asks: a user name and exactly the groups on the request, as authentication or as nobody would put them."""
    if random.random() < 0.5:
        where, one = random.choice((*NAMESPACES, "nowhere")), random.choice(ACCOUNTS)
        name = f"system:serviceaccount:{where}:{one}"
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{where}", "system:authenticated"]
        return name, groups if random.random() < 0.7 else []
    return random.choice(USERS), random.sample(GROUPS, random.randint(0, 3))


def random_question(random: Random, objects: Sequence[Object]) -> Asked:
    """A question, for a resource or for a URL: half of them near to what some binding grants."""
    name, groups = random_user(random)
    hint: Object = {}
    where = random.choice(("", *NAMESPACES, "nowhere"))
    if random.random() < 0.6:
        (name, groups), where, hint = _near(random, objects) or ((name, groups), where, hint)

    def pick(field: str, others: Sequence[str]) -> str:
        return str(random.choice(hint[field] if hint.get(field) and random.random() < 0.85 else others))

    verb = pick("verbs", VERBS)
    if "nonResourceURLs" in hint or random.random() < 0.1:
        path = pick("nonResourceURLs", (*PATHS, "/api/v1", "/logs/kubelet.log", "/metrics/cadvisor", "/a"))
        path += random.choice(("", "", "/x", "x"))
        line = {"user": name, "groups": groups, "verb": verb, "path": path}
        return Asked(line, {"user": name, "groups": groups, "nonResourceAttributes": {"verb": verb, "path": path}})
    resource, _, subresource = pick("resources", RESOURCES).partition("/")
    if random.random() < 0.1 and subresource:
        resource, subresource = f"{resource}/{subresource}", ""
    attributes = {
        "verb": verb, "group": pick("apiGroups", API_GROUPS), "resource": resource, "subresource": subresource,
        "namespace": where, "name": pick("resourceNames", ("", "", *NAMES)),
    }  # fmt: skip
    line = {"user": name, "groups": groups, **attributes}
    line["apiGroup"] = line.pop("group")
    return Asked(line, {"user": name, "groups": groups, "resourceAttributes": attributes})


def _near(random: Random, objects: Sequence[Object]) -> tuple[tuple[str, list[str]], str, Object] | None:
    """Someone whom a binding names, a namespace where it holds, and a rule of its role."""
    bound = [one for one in objects if one.get("subjects")]
    if not bound:
        return None
    one = random.choice(bound)
    inside = one["metadata"].get("namespace", "")
    reference = one["roleRef"]
    rules = [
        rule for made in objects if made["kind"] == reference["kind"] and made["metadata"]["name"] == reference["name"]
        and made["metadata"].get("namespace", "") in ("", inside) for rule in made["rules"]
    ]  # fmt: skip
    subject = random.choice(one["subjects"])
    if subject["kind"] == "Group":
        who = random.choice(USERS), [subject["name"]]
    elif subject["kind"] == "User":
        who = subject["name"], []
    else:
        who = f"system:serviceaccount:{subject.get('namespace', inside)}:{subject['name']}", []
    return who, inside or random.choice(("", *NAMESPACES)), random.choice(rules) if rules else {}


__all__ = [
    "Asked",
    "metadata",
    "random_cluster",
    "random_edit",
    "random_objects",
    "random_question",
    "random_rule",
    "some",
]
