"""Rewrites of rules and of whole clusters that change nothing of what is possible."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tests.generator.objects import Object

FIELDS = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")

# Rules --------------------------------------------------------------------------------------------------------------


def divided(random: Random, given: Object) -> list[Object]:
    """A rule as two that together hold the same, divided in one of its fields."""
    wide = [field for field in FIELDS if len(given.get(field) or ()) > 1]
    if not wide:
        return [given]
    field = random.choice(wide)
    cut = random.randint(1, len(given[field]) - 1)
    return [given | {field: given[field][:cut]}, given | {field: given[field][cut:]}]


def shuffled(random: Random, given: Object) -> Object:
    """A rule with its values in another order, some of them twice; empty lists may be there or not."""
    found: Object = {}
    for field in random.sample(FIELDS, len(FIELDS)):
        values: list[str] = list(given.get(field) or ())
        if values:
            found[field] = random.sample([*values, random.choice(values)], len(values) + 1)
        elif random.random() < 0.3:
            found[field] = [] if random.random() < 0.5 else None
    return found


def rewritten(random: Random, given: Sequence[Object]) -> list[Object]:
    """The same permissions in other words: divided, joined by what another rule covers, repeated, in another order."""
    found = list(given)
    for _ in range(random.randint(0, 3) if found else 0):
        number = random.randrange(len(found))
        found[number : number + 1] = divided(random, found[number])
        found.append(random.choice(divided(random, random.choice(found))))
    return [shuffled(random, one) for one in random.sample(found, len(found))]


# Clusters -----------------------------------------------------------------------------------------------------------

type Cluster = list[Object]


def kinds(objects: Cluster, *names: str) -> list[int]:
    """Where the objects of some kinds stand."""
    return [number for number, one in enumerate(objects) if one["kind"] in names]


def inside(one: Object) -> str:
    """The namespace of an object, "" for none."""
    return str(one["metadata"].get("namespace") or "")


def renamed(one: Object, name: str, **more: object) -> Object:
    """An object under another name, without what only the old one had."""
    return one | {"metadata": {**one["metadata"], "name": name}} | more


def references(objects: Cluster, role: Object) -> list[int]:
    """The bindings that refer to a role."""
    return [
        number for number in kinds(objects, "RoleBinding", "ClusterRoleBinding")
        if [objects[number]["roleRef"][field] for field in ("kind", "name")] == [role["kind"], role["metadata"]["name"]]
        and (role["kind"] == "ClusterRole" or inside(objects[number]) == inside(role))
    ]  # fmt: skip


def fresh(random: Random, word: str) -> str:
    """A name that nothing has."""
    return f"{word}-{random.getrandbits(48):x}"


def own_rules(objects: Cluster) -> list[int]:
    """The roles that are written by hand."""
    return [number for number in kinds(objects, "Role", "ClusterRole") if "aggregationRule" not in objects[number]]


def in_another_order(random: Random, objects: Cluster) -> Cluster:
    """Objects and subjects in another order, subjects twice."""
    for number in kinds(objects, "RoleBinding", "ClusterRoleBinding"):
        subjects = objects[number].get("subjects") or []
        more = [random.choice(subjects)] if subjects else []
        objects[number] = objects[number] | {"subjects": random.sample([*subjects, *more], len(subjects) + len(more))}
    return random.sample(objects, len(objects))


def rules_in_other_words(random: Random, objects: Cluster) -> Cluster:
    """Rules of roles divided, repeated, in another order, with empty lists or without."""
    for number in own_rules(objects):
        if random.random() < 0.5:
            objects[number] = objects[number] | {"rules": rewritten(random, objects[number].get("rules") or [])}
    return objects


def bindings_divided(random: Random, objects: Cluster) -> Cluster:
    """One binding for several subjects as one for each of two parts."""
    for number in kinds(objects, "RoleBinding", "ClusterRoleBinding"):
        subjects = objects[number].get("subjects") or []
        if len(subjects) > 1 and random.random() < 0.5:
            cut = random.randint(1, len(subjects) - 1)
            objects.append(renamed(objects[number], fresh(random, "part"), subjects=subjects[cut:]))
            objects[number] = objects[number] | {"subjects": subjects[:cut]}
    return objects


def bindings_joined(random: Random, objects: Cluster) -> Cluster:
    """Two bindings of one role in one place as one."""
    found: dict[tuple[str, str, str, str], int] = {}
    gone = set()
    for number in kinds(objects, "RoleBinding", "ClusterRoleBinding"):
        one = objects[number]
        first = found.setdefault((one["kind"], inside(one), one["roleRef"]["kind"], one["roleRef"]["name"]), number)
        if first != number and random.random() < 0.5:
            both = [*(objects[first].get("subjects") or ()), *(one.get("subjects") or ())]
            objects[first] = objects[first] | {"subjects": both}
            gone.add(number)
    return [one for number, one in enumerate(objects) if number not in gone]


def accounts_respelled(random: Random, objects: Cluster) -> Cluster:
    """ServiceAccounts as the users that they authenticate as, and back; with their namespace or without."""
    for number in kinds(objects, "RoleBinding", "ClusterRoleBinding"):
        where = inside(objects[number])
        subjects = [_respelled(random, one, where) for one in objects[number].get("subjects") or ()]
        objects[number] = objects[number] | {"subjects": subjects}
    return objects


def _respelled(random: Random, subject: Object, where: str) -> Object:
    parts = subject["name"].split(":")
    if subject["kind"] == "User" and parts[:2] == ["system", "serviceaccount"] and len(parts) == 4:
        subject = {"kind": "ServiceAccount", "namespace": parts[2], "name": parts[3]}
    if subject["kind"] != "ServiceAccount":
        return subject
    namespace, name = subject.get("namespace") or where, subject["name"]
    ways: list[Object] = [{"kind": "ServiceAccount", "namespace": namespace, "name": name},
                          {"kind": "User", "name": f"system:serviceaccount:{namespace}:{name}"}]  # fmt: skip
    if namespace == where:
        ways.append({"kind": "ServiceAccount", "name": name})
    return random.choice(ways)


def under_other_names(random: Random, objects: Cluster) -> Cluster:
    """Roles with the bindings that refer to them, and bindings, renamed."""
    for number in own_rules(objects):
        if random.random() < 0.4:
            name = fresh(random, "role")
            for bound in references(objects, objects[number]):
                objects[bound] = objects[bound] | {"roleRef": objects[bound]["roleRef"] | {"name": name}}
            objects[number] = renamed(objects[number], name)
    for number in kinds(objects, "RoleBinding", "ClusterRoleBinding"):
        if random.random() < 0.4:
            objects[number] = renamed(objects[number], fresh(random, "binding"))
    return objects


def roles_of_another_kind(random: Random, objects: Cluster) -> Cluster:
    """Roles as ClusterRoles, and ClusterRoles as Roles of the namespaces where they are bound."""
    for number in own_rules(objects):
        one = objects[number]
        bound = references(objects, one)
        if random.random() < 0.5 or not bound or not all(inside(objects[place]) for place in bound):
            continue
        kind, name = "Role" if one["kind"] == "ClusterRole" else "ClusterRole", fresh(random, "moved")
        rules = [rule for rule in one.get("rules") or () if kind == "ClusterRole" or rule.get("resources")]
        for where in {inside(objects[place]) for place in bound} if kind == "Role" else [""]:
            metadata = {"name": name} | ({"namespace": where} if where else {})
            objects.append({"apiVersion": one["apiVersion"], "kind": kind, "metadata": metadata, "rules": rules})
        for place in bound:
            objects[place] = objects[place] | {"roleRef": objects[place]["roleRef"] | {"kind": kind, "name": name}}
    return objects


def shipped(role: Object) -> bool:
    """Whether Kubernetes ships a role of this name: what it gains counts before anyone is bound to it."""
    name = role["metadata"]["name"]
    return role["kind"] == "ClusterRole" and (name == "view" or name.startswith("system:"))


def inert_parts_added(random: Random, objects: Cluster) -> Cluster:
    """What nobody can use: rules on what lives in no namespace in roles bound inside one, roles nobody is bound to,
    bindings of nobody.
    """
    from tests.generator.small import NAMESPACES

    requests = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]
    for number in own_rules(objects):
        one = objects[number]
        bound = references(objects, one)
        if shipped(one):
            continue  # what it gains is latent while nobody is bound to it
        if not all(inside(objects[place]) for place in bound) or (one["metadata"].get("labels") or {}).keys() - {
            "noise"
        }:
            continue
        extra: list[Object] = [
            {"verbs": random.sample(requests, 2), "apiGroups": [""], "resources": ["nodes", "persistentvolumes"]},
            {"verbs": ["list", "create"], "apiGroups": [""], "resources": ["namespaces"]},
            {"verbs": requests, "apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["nobody-made-this"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users", "groups"]},
        ]
        if one["kind"] == "ClusterRole":
            extra.append({"verbs": ["get"], "nonResourceURLs": ["/metrics", "/logs/*"]})
        objects[number] = one | {"rules": [*(one.get("rules") or ()), random.choice(extra)]}
    where = random.choice(("", *NAMESPACES))
    kind = "Role" if where else "ClusterRole"
    metadata = {"name": fresh(random, "unbound")} | ({"namespace": where} if where else {})
    version = "rbac.authorization.k8s.io/v1"
    rules = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
    objects.append({"apiVersion": version, "kind": kind, "metadata": metadata, "rules": rules})
    objects.append({"apiVersion": version, "kind": f"{kind}Binding", "metadata": metadata,
                    "roleRef": {"kind": kind, "name": metadata["name"]}, "subjects": []})  # fmt: skip
    return objects


def inert_parts_removed(random: Random, objects: Cluster) -> Cluster:
    """Rules on URLs out of roles that are bound inside namespaces only, roles and bindings that serve nobody."""
    gone = set()
    for number in own_rules(objects):
        bound = references(objects, objects[number])
        if (objects[number]["metadata"].get("labels") or {}).keys() - {"noise"}:
            continue
        if not bound:
            gone.add(number)
        elif all(inside(objects[place]) for place in bound):
            kept = [rule for rule in objects[number].get("rules") or () if rule.get("resources")]
            objects[number] = objects[number] | {"rules": kept}
    for number in kinds(objects, "RoleBinding", "ClusterRoleBinding"):
        if not objects[number].get("subjects"):
            gone.add(number)
    return [one for number, one in enumerate(objects) if number not in gone]


def noise_in_metadata(random: Random, objects: Cluster) -> Cluster:
    """What controllers, clients and the API server write into metadata."""
    for number, one in enumerate(objects):
        if one["kind"] != "APIResource" and random.random() < 0.5:
            metadata = one["metadata"]
            objects[number] = one | {
                "metadata": metadata | {
                    "uid": fresh(random, "uid"), "resourceVersion": str(random.randrange(10**6)), "generation": 2,
                    "creationTimestamp": "2026-01-01T00:00:00Z",
                    "labels": {**(metadata.get("labels") or {}), "noise": fresh(random, "n")},
                    "annotations": {**(metadata.get("annotations") or {}), "example.com/noise": fresh(random, "n")},
                    "managedFields": [{"manager": "kubectl", "operation": "Update", "time": "2026-01-01T00:00:00Z",
                                       "fieldsV1": {"f:rules": {}}}],
                },
            }  # fmt: skip
    return objects


def aggregated_rules_in_another_order(random: Random, objects: Cluster) -> Cluster:
    """The rules of aggregated roles as the controller would write them if their sources had other names."""
    for number in kinds(objects, "ClusterRole"):
        if "aggregationRule" in objects[number]:
            rules = objects[number].get("rules") or []
            objects[number] = objects[number] | {"rules": random.sample(rules, len(rules))}
    return objects


REWRITES = (
    in_another_order,
    rules_in_other_words,
    bindings_divided,
    bindings_joined,
    accounts_respelled,
    under_other_names,
    roles_of_another_kind,
    inert_parts_added,
    inert_parts_removed,
    noise_in_metadata,
    aggregated_rules_in_another_order,
)
