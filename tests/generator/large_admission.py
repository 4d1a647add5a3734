"""A large cluster that every engine guards, with as many exceptions as years leave behind; namespaces edited in it.

Every namespace is a team's, mostly with Pod Security labels, and runs five workloads. Even namespaces have exceptions:
some are used, some need none, some open nothing since another policy still refuses, some have expired. Odd ones are
edited. Besides the 30 policies there is what says how Kyverno and Gatekeeper behave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, NamedTuple

from . import vap
from .engines import (
    FUTURE,
    IGNORE,
    NAME,
    PAST,
    PODS,
    answering,
    cel,
    cel_exception,
    cluster_policy,
    conditions,
    config,
    constraint,
    exception,
    gatekeeper,
    kyverno,
    kyverno_rule,
    pod_security,
    template,
    validating_policy,
    webhook,
    webhooks,
    where,
)
from .large import TEAMS
from .objects import Object, namespace
from .policies import CONSTRAINTS, PSS, RULES
from .templates import SPOILS, controlled


class Size(NamedTuple):
    """How much there is of what."""

    namespaces: int
    workloads: int
    exceptions: int


ISSUE = Size(3_000, 15_000, 1_000)
SMALL = Size(150, 750, 50)
SEED = 5
EXEMPT = "policy-exempt"
SELF_MADE = 10
"""What policies say themselves of whom they are not for: selectors, match conditions, blocks of excludes."""
SECCOMP = "variables.anyObject.spec.?securityContext.?seccompProfile.?type.orValue('') == 'RuntimeDefault'"


@dataclass(frozen=True, slots=True)
class Share:
    """The exceptions of each sort, beside those that policies state themselves."""

    legacy: int
    modern: int
    config: int
    constraints: int

    @classmethod
    def of(cls, size: Size) -> Share:
        """Of a thousand: 470, 380, 60 and 80."""
        config, constraints, modern = (size.exceptions * part // 1000 for part in (60, 80, 380))
        return cls(size.exceptions - modern - config - constraints - SELF_MADE, modern, config, constraints)


def ns(number: int) -> str:
    """The name of a namespace."""
    return f"{TEAMS[number % len(TEAMS)]}-{number:04}"


def cluster(size: Size = ISSUE, edited: int = 0, seed: int = SEED) -> Iterator[Object]:
    """Every object, namespaces before what is in them; `edited` of the namespaces are edited, the same each time."""
    edits = edit_of(size, edited)
    for name in ("kube-system", "kyverno", "gatekeeper-system", "scanner"):
        yield namespace(name, **{NAME: name, f"{PSS}/enforce": "privileged"})
    yield from policies(size)
    excepted = {one.namespace: one for one in _excepted(size)}
    for number in range(size.namespaces):
        made = namespace(ns(number), **labels_of(number))
        yield EDITS[edits[number]](made) if number in edits else made
        need = ""
        if number in excepted:
            need = excepted[number].need
            yield excepted[number].exception
        share = size.workloads * (number + 1) // size.namespaces - size.workloads * number // size.namespaces
        yield from _workloads(number, share, need, Random(f"{seed}/{number}"))


def labels_of(number: int) -> dict[str, str]:
    """The labels of a namespace: Pod Security on nine of ten, here and there what takes it out of some policy."""
    team = TEAMS[number % len(TEAMS)]
    labels = {NAME: ns(number), "team": team, "env": "prod" if number % 3 else "test"}
    labels |= {"tier": "gold"} if number % 10 == 8 else {}
    if number % 10 != 2:
        labels[f"{PSS}/enforce"] = "restricted" if number % 10 == 4 else "baseline"
        labels[f"{PSS}/warn"] = "restricted"
    labels |= {f"{PSS}/enforce-version": "v1.29"} if number % 50 == 0 else {}
    labels |= {EXEMPT: "true"} if number % 30 == 26 else {}
    return labels | ({IGNORE: "vendor-agent"} if number % 60 == 38 else {})


# The 30 policies ----------------------------------------------------------------------------------------------------


def policies(size: Size) -> Iterator[Object]:
    """Policies of every engine, and what says how the engines behave."""
    yield from _validating()
    yield from kyverno("--enablePolicyException=true", "--exceptionNamespace=*")
    yield from _kyverno()
    yield from gatekeeper("--operation=webhook")
    yield from _gatekeeper(size)
    unready = webhook("scan.example.com", "scanner/scanner", failurePolicy="Ignore")
    yield webhooks("image-scanner", unready)
    yield webhooks("quota", webhook("quota.example.com", "scanner/quota", namespaceSelector=where("quota", "Exists")))
    yield from answering("scanner", "scanner", (False,))
    yield from answering("scanner", "quota")


DEPLOYER = "request.userInfo.username != 'system:serviceaccount:core-0005:deployer'"
TRUSTED = "!object.spec.containers.all(c, c.image.startsWith('trusted/'))"
VALIDATING: Mapping[str, tuple[str, Object, Object]] = {
    "privileged": ("Deny", {}, {}),
    "host-namespaces": ("Deny", {}, {"namespaceSelector": where(NAME, "NotIn", "kube-system")}),
    "host-path": ("Deny", {}, {"namespaceSelector": where(EXEMPT, "DoesNotExist")}),
    "non-root": ("Deny", {}, {"namespaceSelector": where(EXEMPT, "DoesNotExist"),
                              "objectSelector": where("skip", "DoesNotExist")}),
    "drop-all": ("Warn", {}, {}),
    "capabilities": ("Deny", {"matchConditions": conditions(DEPLOYER, TRUSTED)}, {}),
    "seccomp": ("Audit", {}, {}),
    "host-ports": ("Deny", {}, {"excludeResourceRules": [PODS | {"resourceNames": ["agent"]}]}),
    "escalation": ("Deny", {"failurePolicy": "Ignore"}, {"namespaceSelector": {"matchLabels": {"env": "prod"}}}),
    "prod": ("Deny", {}, {}),
}  # fmt: skip
"""By what each refuses: its action, and what its spec and its matchConstraints hold besides."""


def _validating() -> Iterator[Object]:
    for name, (action, spec, constraints) in VALIDATING.items():
        yield vap.policy(name, RULES[name], rules=[PODS], matchConstraints=constraints, **spec)
        yield vap.binding(name, [action])


def _kyverno() -> Iterator[Object]:
    """Eight ClusterPolicies, of which two only write down and one nobody can evaluate, and four ValidatingPolicies."""

    def only(**labels: str) -> Object:
        resources = {"kinds": ["Pod"], "namespaceSelector": {"matchLabels": labels}}
        return {"any": [{"resources": resources}]}

    system = [{"namespaces": ["kube-system", "kyverno"]}]
    images = {"controlName": "Capabilities", "images": ["trusted/*"]}
    yield cluster_policy("baseline-test", kyverno_rule("check", pod_security(), system, match=only(env="test")))
    yield cluster_policy("restricted-audit", kyverno_rule("check", pod_security("restricted")), action="Audit")
    yield cluster_policy("restricted-gold", kyverno_rule("check", pod_security("restricted"), match=only(tier="gold")))
    yield cluster_policy("capabilities", kyverno_rule("check", cel(RULES["capabilities"])))
    yield cluster_policy("drop-all", kyverno_rule("check", cel(RULES["drop-all"])))
    yield cluster_policy("seccomp", kyverno_rule("check", cel(RULES["seccomp"])), action="Audit")
    risk = pod_security("baseline", images, version="v1.24")
    yield cluster_policy("baseline-risk", kyverno_rule("check", risk, match=only(team="risk")))
    labels = {"pattern": {"metadata": {"labels": {"app": "?*"}}}, "message": "label app is missing"}
    yield cluster_policy("require-app", kyverno_rule("check", labels))
    narrowed: Object = {"matchConstraints": {"objectSelector": where("skip", "DoesNotExist")}}
    for name in MODERN:
        yield validating_policy(name, RULES[name], **deepcopy(narrowed if name == "host-path" else {}))


MODERN = ("privileged", "host-path", "host-ports", "escalation")
LEGACY = ("drop-all", "drop-all", "capabilities", "restricted-gold")
KINDS = {**{kind: texts for kind, texts in CONSTRAINTS.items() if texts}, "PostureSeccomp": (SECCOMP,)}
CONSTRAINED = (
    ("PosturePrivileged", "deny"), ("PostureHost", "deny"), ("PostureVolumes", "deny"), ("PostureSeccomp", "deny"),
    ("PosturePrivileged", "dryrun"), ("PostureHost", "warn"),
)  # fmt: skip


def _gatekeeper(size: Size) -> Iterator[Object]:
    """Six constraints over four templates in CEL, and the namespaces that these and the Config leave out."""
    share = Share.of(size)
    for kind, texts in KINDS.items():
        yield template(kind, *texts)
    names = [ns(_place(size, number, 2)) for number in range(share.config + share.constraints)]
    left, given = names[: share.config], names[share.config :]
    yield config((left[::2], ["*"]), (left[1::2], ["webhook"]))
    for number, (kind, action) in enumerate(CONSTRAINED):
        match = {"excludedNamespaces": given[number :: len(CONSTRAINED)]}
        yield constraint(kind, f"{kind.lower()}-{action}", enforcementAction=action, match=match)


# Exceptions ---------------------------------------------------------------------------------------------------------


def _place(size: Size, number: int, lane: int) -> int:
    """The namespace of an exception: an even one; each of three lanes has namespaces of its own."""
    return 2 * ((3 * number + lane) % (size.namespaces // 2))


class Excepted(NamedTuple):
    """An exception for one namespace, and the shape of a workload there that needs it; "" where none does."""

    namespace: int
    need: str
    exception: Object


def _excepted(size: Size) -> Iterator[Excepted]:
    """The exceptions of both groups of Kyverno; every third is needed by nobody."""
    share = Share.of(size)
    for number in range(share.legacy):
        at, policy = _place(size, number, 0), LEGACY[number % len(LEGACY)]
        resources = {"kinds": ["Pod", "Deployment"], "namespaces": [ns(at)]}
        resources |= {"names": ["app-0*"]} if number % 4 == 1 else {}
        rules = ["check", "autogen-check"]
        made = exception("legacy", ns(at), [(policy, rules)], resources)
        yield Excepted(at, NEEDS[policy] if number % 3 else "", made)
    for number in range(share.modern):
        at, policy = _place(size, number, 1), MODERN[number % len(MODERN)]
        text = f"object.metadata.namespace == '{ns(at)}'"
        text += " && object.metadata.?labels[?'app'].orValue('') != ''" if number % 4 == 1 else ""
        spec: dict[str, Any] = {"expiresAt": PAST if number % 5 == 0 else FUTURE} if number % 5 < 3 else {}
        if number % 2:
            spec["properties"] = {"reason": "vendor agent", "ticket": f"SEC-{number}", "approved-by": "ann"}
        yield Excepted(at, NEEDS[policy] if number % 3 else "", cel_exception("modern", ns(at), [policy], text, **spec))


NEEDS = {
    "drop-all": "keeps-capabilities", "capabilities": "capabilities", "restricted-gold": "root",
    "privileged": "privileged", "host-path": "host-path", "host-ports": "host-port", "escalation": "escalates",
}  # fmt: skip
"""What a workload does that a policy refuses."""


# Workloads ----------------------------------------------------------------------------------------------------------

SHAPES = ("clean", "privileged", "host-network", "host-path", "capabilities", "keeps-capabilities", "root", "escalates",
          "no-seccomp", "host-port", "sysctl", "init")  # fmt: skip
SIZES = 5
"""Each shape comes in as many sizes: 60 templates, of which a namespace's team has its own images."""
OFTEN = ("clean",) * 30 + ("init",) * 6 + ("root", "no-seccomp", "sysctl", "host-network")


def _workloads(number: int, share: int, need: str, random: Random) -> Iterator[Object]:
    team = TEAMS[number % len(TEAMS)]
    kinds = ("Deployment", "Deployment", "Deployment", "StatefulSet", ("CronJob", "DaemonSet", "Job")[number % 3])
    for index in range(share):
        shape = need if need and not index else random.choice(OFTEN)
        made = _template(shape, random.randrange(SIZES), team)
        yield controlled(kinds[index % len(kinds)], f"app-{index}", ns(number), made)


@cache
def _template(shape: str, size: int, team: str) -> Object:
    """A pod template: restricted takes it but for its shape. Never to be changed."""
    security: Object = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    main: Object = {
        "name": "app", "image": f"registry.example.com/{team}/{shape}:1.{size}.0", "securityContext": security,
        "args": ["--config=/etc/app/config.yaml", f"--workers={size}"],
        "env": [{"name": f"SETTING_{index}", "value": shape} for index in range(6)],
        "ports": [{"name": f"p{index}", "containerPort": 8080 + index} for index in range(size)],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 5},
        "resources": {"requests": {"cpu": "100m", "memory": f"{2**size}Mi"}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}],
    }  # fmt: skip
    spec: Object = {
        "serviceAccountName": "api", "containers": [main],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "config", "configMap": {"name": shape}}],
    }  # fmt: skip
    if shape in SPOILS:
        SPOILS[shape](spec)
    labels = {"app": f"{shape}-{size}", "app.kubernetes.io/part-of": team}
    return {"metadata": {"labels": labels}, "spec": spec}


# Edits --------------------------------------------------------------------------------------------------------------


def edit_of(size: Size, edited: int) -> dict[int, str]:
    """How each edited namespace is edited: namespaces that no exception is for, far from each other."""
    plain = [number for number in range(1, size.namespaces, 2) if _plain(number)]
    assert edited <= len(plain), f"{edited} namespaces to edit, of {len(plain)}"
    chosen = (plain[index * len(plain) // edited] for index in range(edited))
    return {number: list(EDITS)[index % len(EDITS)] for index, number in enumerate(chosen)}


def _plain(number: int) -> bool:
    """Whether a namespace has Pod Security's baseline, no exception, and no engine that refuses as much."""
    labels = labels_of(number)
    alone = labels["env"] == "prod" and labels["team"] != "risk" and "tier" not in labels
    return alone and labels.get(f"{PSS}/enforce") == "baseline" and EXEMPT not in labels and IGNORE not in labels


def _relabelled(one: Object, **labels: str) -> Object:
    return one | {"metadata": one["metadata"] | {"labels": one["metadata"]["labels"] | labels}}


def unlabelled(one: Object) -> Object:
    """Pod Security lets everything in."""
    return _relabelled(one, **{f"{PSS}/enforce": "privileged"})


def exempted(one: Object) -> Object:
    """Two policies leave the namespace out: one of them is alone in what it refuses."""
    return _relabelled(one, **{EXEMPT: "true"})


def ignored(one: Object) -> Object:
    """Gatekeeper is not asked any more: one of its constraints is alone in what it refuses."""
    return _relabelled(one, **{IGNORE: "incident-42"})


def noted(one: Object) -> Object:
    """A label that nobody asks for."""
    return _relabelled(one, note="moved")


EDITS: Mapping[str, Callable[[Object], Object]] = {one.__name__: one for one in (unlabelled, exempted, ignored, noted)}
SILENT = ("noted",)
"""The edits that open nothing."""
