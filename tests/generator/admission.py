"""Random small clusters in which everything refuses and everything exempts: every engine, every trap, and edits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random

from .engines import FUTURE, PAST, PODS, conditions, endpoint_slice, where
from .network import network_policy
from .objects import Object
from .policies import ACTIONS, EXCEPT, LABELS, LEVELS, PSS, SPACES, SYSTEM, VERSIONS, Maker


def cluster(random: Random) -> list[Object]:
    """A small cluster: four namespaces and the system's, workloads, and some of the engines. Names are unique."""
    maker = Maker(random)
    found = [maker.space(name) for name in (*SPACES, *SYSTEM)]
    found += [maker.workload(f"w{number}") for number in range(random.randint(4, 9))]
    for name in random.sample(SPACES, random.randint(0, 2)):
        guard = network_policy(name, "guard", podSelector={}, policyTypes=["Ingress"])
        guard["metadata"]["labels"] = {"guard": "yes"}
        found.append(guard)
    if maker.chance(0.75):
        found += [one for number in range(random.randint(1, 3)) for one in maker.validated(f"vap-{number}")]
    engines: Sequence[tuple[float, Callable[[], list[Object]]]] = (
        (0.6, maker.kyverno), (0.6, maker.gatekeeper), (0.4, maker.hooks), (0.15, maker.opaque),
    )  # fmt: skip
    for share, made in engines:
        found += made() if maker.chance(share) else []
    return list({place(one): one for one in found}.values())


def place(one: Object) -> tuple[str, str, str, str]:
    """What tells an object from all others."""
    return one["apiVersion"], one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


# Edits --------------------------------------------------------------------------------------------------------------

POLICIES = (
    "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ClusterPolicy", "ValidatingPolicy", "Config",
    "ConstraintTemplate", "ClusterAdmissionPolicy", "ClusterImagePolicy", "ValidatingWebhookConfiguration",
    "ConfigMap", "NetworkPolicy",
)  # fmt: skip
"""The kinds that decide, beside constraints."""
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job", "ReplicaSet", "Pod")

type Edit = Callable[[Random, list[Object]], list[Object] | None]
"""What gives the objects after an edit, without changing those that it takes; None where there is nothing to edit."""


def change(random: Random, objects: Sequence[Object]) -> list[Object]:
    """The cluster after one random edit; names stay unique."""
    for edit in random.sample(tuple(EDITS.values()), len(EDITS)):
        made = edit(random, list(objects))
        if made is not None:
            return made
    raise AssertionError("a workload can always be added")


def relabelled(random: Random, objects: list[Object]) -> list[Object] | None:
    """A namespace gets a label, another value of it, or loses it."""
    key = random.choice(tuple(LABELS))
    return _labelled(random, objects, key, random.choice((*LABELS[key], None)))


def levelled(random: Random, objects: list[Object]) -> list[Object] | None:
    """A namespace gets another level or version of Pod Security, or loses it."""
    mode = random.choice(("enforce", "enforce", "enforce", "audit", "warn"))
    if random.random() < 0.6:
        return _labelled(random, objects, f"{PSS}/{mode}", random.choice((*LEVELS, None)))
    return _labelled(random, objects, f"{PSS}/{mode}-version", random.choice((*VERSIONS, None)))


def _labelled(random: Random, objects: list[Object], key: str, value: str | None) -> list[Object] | None:
    def label(one: Object) -> None:
        labels = one["metadata"].setdefault("labels", {})
        labels.pop(key, None)
        labels.update({key: value} if value is not None else {})

    return _edited(random, objects, ("Namespace",), label)


def acted(random: Random, objects: list[Object]) -> list[Object] | None:
    """A policy denies from now on, or only warns or writes down."""

    def act(one: Object) -> None:
        spec = one["spec"]
        if one["kind"] == "ClusterPolicy":
            spec["validationFailureAction"] = random.choice(("Enforce", "Audit"))
        elif "validationActions" in spec:
            spec["validationActions"] = random.choice(ACTIONS)
        elif "mode" in spec:
            spec["mode"] = {"protect": "monitor", "monitor": "protect", "enforce": "warn"}.get(spec["mode"], "enforce")
        else:
            spec["enforcementAction"] = random.choice(("deny", "dryrun", "warn"))

    kinds = ("ValidatingAdmissionPolicyBinding", "ClusterPolicy", "ValidatingPolicy", "ClusterAdmissionPolicy",
             "ClusterImagePolicy", "constraint")  # fmt: skip
    return _edited(random, objects, kinds, act)


def failing(random: Random, objects: list[Object]) -> list[Object] | None:
    """A policy or a webhook fails open from now on, or closed."""

    def fail(one: Object) -> None:
        for holder in one.get("webhooks") or [one["spec"]]:
            holder["failurePolicy"] = random.choice(("Fail", "Ignore"))

    kinds = ("ValidatingAdmissionPolicy", "ValidatingPolicy", "ValidatingWebhookConfiguration")
    return _edited(random, objects, kinds, fail)


def excluded(random: Random, objects: list[Object]) -> list[Object] | None:
    """A policy says whom it is not for."""

    def exclude(one: Object) -> None:
        spec = one["spec"]
        if one["kind"] == "ClusterPolicy":
            rule = random.choice(spec["rules"])
            rule.setdefault("exclude", {}).setdefault("any", []).append(
                {"resources": {"namespaces": [random.choice(SPACES)]}}
            )
        elif one["kind"] == "Config":
            spec["match"].append({"excludedNamespaces": [random.choice(SPACES)], "processes": ["*"]})
        elif _is_constraint(one):
            spec["match"].setdefault("excludedNamespaces", []).append(random.choice(SPACES))
        elif random.random() < 0.4:
            spec["matchConditions"] = conditions(random.choice(EXCEPT))
        elif random.random() < 0.7:
            field = random.choice(("namespaceSelector", "objectSelector"))
            spec["matchConstraints"][field] = where("skip", "DoesNotExist")
        else:
            spec["matchConstraints"]["excludeResourceRules"] = [PODS | {"resourceNames": ["legacy"]}]

    kinds = ("ValidatingAdmissionPolicy", "ValidatingPolicy", "ClusterPolicy", "Config", "constraint")
    return _edited(random, objects, kinds, exclude)


def excepted(random: Random, objects: list[Object]) -> list[Object] | None:
    """An exception is made from some policy."""
    names = {kind: [one["metadata"]["name"] for one in objects if one["kind"] == kind] for kind in POLICIES}
    if not names["ClusterPolicy"]:
        return None
    made = Maker(random).exception(_free(objects, "polex-new"), names["ClusterPolicy"], names["ValidatingPolicy"])
    return [*objects, made]


def unexcepted(random: Random, objects: list[Object]) -> list[Object] | None:
    """An exception is taken away."""
    return _without(random, objects, ("PolicyException",))


def expiring(random: Random, objects: list[Object]) -> list[Object] | None:
    """An exception of policies.kyverno.io has expired, expires later, or never."""

    def expire(one: Object) -> None:
        one["spec"].pop("expiresAt", None)
        one["spec"] |= random.choice(({"expiresAt": PAST}, {"expiresAt": FUTURE}, {}))

    return _edited(random, objects, ("PolicyException of policies.kyverno.io",), expire)


def deleted(random: Random, objects: list[Object]) -> list[Object] | None:
    """A policy, a binding or a constraint is deleted, or what says how an engine behaves."""
    return _without(random, objects, (*POLICIES, "constraint"))


def duplicated(random: Random, objects: list[Object]) -> list[Object] | None:
    """A policy is there once more under another name, with its bindings."""
    kinds = ("ValidatingAdmissionPolicy", "ClusterPolicy", "ValidatingPolicy", "constraint")
    found = [one for one in objects if _of(one, kinds)]
    if not found:
        return None
    chosen = random.choice(found)
    name = chosen["metadata"]["name"]
    copies = [one for one in objects if one is chosen
              or (one["kind"] == "ValidatingAdmissionPolicyBinding" and one["spec"]["policyName"] == name
                  and chosen["kind"] == "ValidatingAdmissionPolicy")]  # fmt: skip
    fresh = _free(objects, "copy")
    for number, one in enumerate(deepcopy(copies)):
        one["metadata"]["name"] = f"{fresh}-{number}"
        if "policyName" in one["spec"]:
            one["spec"]["policyName"] = f"{fresh}-0"
        objects.append(one)
    return objects


def started(random: Random, objects: list[Object]) -> list[Object] | None:
    """A workload is new."""
    return [*objects, Maker(random).workload(_free(objects, "new"))]


def stopped(random: Random, objects: list[Object]) -> list[Object] | None:
    """A workload is gone."""
    return _without(random, objects, WORKLOADS)


def silenced(random: Random, objects: list[Object]) -> list[Object] | None:
    """Nothing answers for a Service any more: no endpoint is ready, or there is none, or the Service itself is gone."""
    what = random.choice(("unready", "empty", "slice", "service"))
    if what in ("slice", "service"):
        return _without(random, objects, ("EndpointSlice" if what == "slice" else "Service",))
    return _answers(random, objects, (False,) if what == "unready" else ())


def revived(random: Random, objects: list[Object]) -> list[Object] | None:
    """An endpoint is ready again."""
    return _answers(random, objects, (True,))


def _answers(random: Random, objects: list[Object], endpoints: Sequence[bool]) -> list[Object] | None:
    def answer(one: Object) -> None:
        meta = one["metadata"]
        one |= endpoint_slice(meta["namespace"], meta["labels"]["kubernetes.io/service-name"], endpoints)

    return _edited(random, objects, ("EndpointSlice",), answer)


EDITS: dict[str, Edit] = {
    one.__name__: one
    for one in (
        relabelled, levelled, acted, failing, excluded, excepted, unexcepted, expiring, deleted, duplicated, started,
        stopped, silenced, revived,
    )
}  # fmt: skip
"""By name."""


def _is_constraint(one: Object) -> bool:
    return str(one["apiVersion"]).startswith("constraints.gatekeeper.sh/")


def _of(one: Object, kinds: Sequence[str]) -> bool:
    names = {one["kind"], f"{one['kind']} of {one['apiVersion'].partition('/')[0]}"}
    return bool(names & {*kinds}) or ("constraint" in kinds and _is_constraint(one))


def _free(objects: Sequence[Object], name: str) -> str:
    """A name that no object has."""
    taken = {one["metadata"]["name"].rpartition("-")[0] for one in objects} | {
        one["metadata"]["name"] for one in objects
    }
    return next(found for found in (name, *(f"{name}{number}" for number in range(len(taken)))) if found not in taken)


def _edited(
    random: Random, objects: list[Object], kinds: Sequence[str], edit: Callable[[Object], None]
) -> list[Object] | None:
    """The objects, of which one of some kinds is another."""
    found = [number for number, one in enumerate(objects) if _of(one, kinds)]
    if not found:
        return None
    number = random.choice(found)
    made = deepcopy(objects[number])
    edit(made)
    return [*objects[:number], made, *objects[number + 1 :]]


def _without(random: Random, objects: list[Object], kinds: Sequence[str]) -> list[Object] | None:
    """The objects without one of some kinds."""
    found = [number for number, one in enumerate(objects) if _of(one, kinds)]
    if not found:
        return None
    number = random.choice(found)
    return [*objects[:number], *objects[number + 1 :]]
