"""Reports of all sorts: the demo's story, random small clusters, and one cluster in which everything happens once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from posture import actions, reading
from posture import scan as scanning
from posture.collect import Source
from posture.collect.audit import Record
from posture.commands.report import built
from posture.config import Config
from posture.inputs import Inputs
from posture.kinds import RBAC
from posture.model import Audited, Finding, Gap, Key, Version
from posture.report import render
from posture.scan import Request, Scanned
from posture.store import MEMORY, Store, findings, open_store
from posture.store.decisions import Deed
from tests.commands.admitted import cluster
from tests.generator.engines import PODS, cluster_policy, exception, kyverno, kyverno_rule
from tests.generator.history import DAYS, FOLDER
from tests.generator.network import network_policy
from tests.generator.objects import (
    Object,
    account,
    binding,
    discovery,
    group,
    guarded,
    role,
    rule,
    service_account,
    urls,
    user,
)
from tests.generator.small import random_cluster, random_edit
from tests.generator.source import Given

type Document = dict[str, Any]

FORBIDDEN = Gap(f"rolebindings.{RBAC}", "lab", "forbidden", "rolebindings is forbidden")


def document(store: Store, config: Config | None = None, *, memory: bool = False, everything: bool = True) -> Document:
    """The report of all that a database holds, as it is printed."""
    clusters = [cluster for cluster, _ in store.connection.execute("SELECT id, name FROM cluster ORDER BY name")]
    made = built(store, Inputs(config or Config()), clusters, everything=everything, memory=memory)
    found: Document = json.loads(render(made, "json"))
    return found


def scan(
    store: Store, source: Source, day: int, config: Config | None = None, *, minute: int = 0,
    audits: Sequence[Record] = (), **more: Any,
) -> Scanned:  # fmt: skip
    """One scan, on a day of October."""
    request = Request(moment(day, minute), **more)
    return scanning.scan(store, source, Inputs(config or Config()), request, lambda: audits)


def moment(day: int, minute: int = 0) -> str:
    """Nine o'clock of a day of October, or some minutes later."""
    return f"2026-10-{day:02}T09:{minute:02}:00Z"


def approve(store: Store, day: int) -> None:
    """Agree to the newest snapshot, whatever it lacks."""
    newest = store.connection.execute("SELECT max(id) FROM revision").fetchone()[0]
    actions.approve(store, newest, Deed("agreed", "dana", moment(day), "after the audit"), with_gaps=True)


def decide(store: Store, found: Sequence[Finding], action: Any, day: int, **more: str) -> None:
    """Decide about findings."""
    actions.decide_on(store, found, Deed(action, "ann", moment(day), "because", **more))


# The demo's story ---------------------------------------------------------------------------------------------------


def of_the_demo() -> Iterator[Document]:
    """A report a day, with one acceptance that runs out."""
    with open_store(MEMORY) as store:
        for number, when in enumerate(DAYS, 1):
            scan(store, reading.folder([FOLDER / when], Config()), number, cluster="prod-eu", offline=True)
            if number == 1:
                yield document(store)
                approve(store, number)
            elif number == 3:
                decide(store, list(findings.select(store, "f.mark = 'new'")), "accepted", 3, until=moment(5))
            yield document(store)
            yield document(store, everything=False)


# Random clusters ----------------------------------------------------------------------------------------------------


def of_random_clusters(seeds: Sequence[int]) -> Iterator[Document]:
    """Two days of random small clusters: with and without a baseline, with and without gaps, kept and not kept."""
    for seed in seeds:
        random = Random(seed)
        objects = random_cluster(random)
        with open_store(MEMORY) as store:
            scan(store, Given(objects, version=random.choice((None, Version(1, 34)))), 1)
            if random.random() < 0.7:
                approve(store, 1)
            for _ in range(random.randint(1, 4)):
                objects = random_edit(random, objects)
            gaps = [Gap(random.choice(("*", f"roles.{RBAC}")), random.choice(("", "pay")), "failed", "no answer")]
            scan(store, Given(objects, gaps[: random.randint(0, 1)], version=Version(1, 36)), 2)
            yield document(store, memory=random.random() < 0.3)


# Everything once ----------------------------------------------------------------------------------------------------

CHECK = """
id: acme-things
domain: rbac
title: Things can be used
can: use things in {where}
severity: high
match: {any: [{verbs: [use], apiGroups: [example.com], resources: [things]}]}
why: Things are dear.
remedy: Leave them alone.
"""


def grant(name: str, *rules: Object, where: str = "pay") -> list[Object]:
    """A Role and the RoleBinding of the same name that gives it to a ServiceAccount."""
    subject = account(where, name)
    return [role(name, *rules, namespace=where), binding(name, f"Role/{name}", subject, namespace=where)]


def managed(one: Object, manager: str) -> Object:
    """An object that a field manager wrote."""
    entry = {"manager": manager, "operation": "Update", "time": moment(2), "fieldsType": "FieldsV1", "fieldsV1": {}}
    return one | {"metadata": one["metadata"] | {"managedFields": [entry], "creationTimestamp": moment(2)}}


def mutating(kind: str, **spec: Any) -> Object:
    """A policy `changes` that changes requests, or its binding."""
    version = "admissionregistration.k8s.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "changes"}, "spec": spec}


AGREED = [
    *(guarded(name, team=f"{name}-team") for name in ("pay", "web", "lab")),
    service_account("pay", "cloud"),
    network_policy("web", "closed", podSelector={}, policyTypes=["Ingress"]),
    *discovery(("things", "example.com", True)),
    *kyverno("--enablePolicyException=true", "--exceptionNamespace=web"),
    cluster_policy("silent", kyverno_rule("code", {"foreach": [{"list": "request.object.spec.containers"}]})),
]
DRIFT = {
    "acknowledged": grant("acknowledged", rule("get", "secrets")),
    "accepted": grant("accepted", rule("create", "pods/exec"), where="web"),
    "false": grant("false", rule("get", "secrets", names=["one"])),
    "reopened": grant("reopened", rule("delete", "pods")),
    "resolved": grant("resolved", rule("get", "secrets")),
    "transient": grant("transient", rule("get", "secrets")),
    "unknown": grant("unknown", rule("get", "secrets"), where="lab"),
    "open": [
        managed(role("open", rule("use", "things", "example.com"), namespace="web"), "kubectl-edit"),
        binding("open", "Role/open", account("pay", "open"), namespace="web"),
        service_account("pay", "cloud", **{"iam.gke.io/gcp-service-account": "admin@example.com"}),
        binding("dangling", "ClusterRole/missing", group("vendor")),
        role("urls", urls("get", "/logs/*")),
        *(binding(f"urls{number}", "ClusterRole/urls", user(f"u{number}")) for number in range(22)),
        role("broad", rule([f"v{number}" for number in range(1001)], "things", "example.com")),
        binding("broad", "ClusterRole/broad", user("ann")),
        network_policy(
            "web",
            "later",
            podSelector={"matchLabels": {"app": "later"}},
            policyTypes=["Ingress"],
            ingress=[{"from": [{"namespaceSelector": {}}]}],
        ),
        exception("silent", "web", [("silent", ["code"])], {"namespaces": ["pay"]}),
        mutating(
            "MutatingAdmissionPolicy",
            matchConstraints={"resourceRules": [PODS]},
            mutations=[{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}],
        ),
        mutating("MutatingAdmissionPolicyBinding", policyName="changes"),
    ],
}
"""What was granted after the approval, by what becomes of it."""
PATH = f"/apis/{RBAC}/v1/namespaces/web/roles/open"
REQUEST = Audited(
    "alice@example.com", "root", "10.1.2.3", "kubectl/v1.36.3", f"patch {PATH}", "7f3a", "2026-10-03T08:59:30.123456Z"
)
AUDITS = [Record(Key(f"roles.{RBAC}", "web", "open"), "patch", "", REQUEST)]
"""What an audit log tells of that."""


def config_in(folder: Path) -> Config:
    """A configuration with a check and a baseline file of its own."""
    check, bound = folder / "checks" / "acme-things.yaml", folder / "bound.yaml"
    check.parent.mkdir()
    check.write_text(CHECK, encoding="utf-8")
    bound.write_text("for: {namespaceSelector: {}}\nobjects: []\n", encoding="utf-8")
    return Config(checks=(check.parent,), baseline=(bound,))


def happened(store: Store, config: Config) -> None:
    """A history after which there are findings of every status, and gaps."""

    def read(day: int, *left_out: str, gaps: Sequence[Gap] = (), minute: int = 0) -> None:
        objects = [one for name, made in DRIFT.items() if name not in left_out for one in made]
        source = Given([*AGREED, *objects], gaps, version=Version(1, 36))
        scan(store, source, day, config, minute=minute, audits=AUDITS if day > 1 else ())

    read(1, *DRIFT)
    approve(store, 1)
    read(2, "open")
    read(2, "open", "transient", minute=3)
    by_name = {finding.through.name: finding for finding in findings.select(store)}
    decide(store, [by_name["acknowledged"]], "acknowledged", 2)
    decide(store, [by_name["accepted"]], "accepted", 2, until=moment(30))
    decide(store, [by_name["false"]], "false positive", 2)
    decide(store, [by_name["reopened"]], "reopened", 2)
    read(3, "resolved", "transient", gaps=[FORBIDDEN])
    agreed = list(findings.select(store, "f.subject = 'user:u0'"))
    actions.approve_findings(store, agreed, Deed("agreed", "dana", moment(3)))
    read(4, "resolved", "transient", gaps=[FORBIDDEN])


def of_everything(folder: Path) -> Iterator[Document]:
    """Every status, every form of a permission, fixes, gaps; then the same after a check was taken away."""
    config = config_in(folder)
    with open_store(MEMORY) as store:
        happened(store, config)
        yield document(store, config)
        yield document(store)
    rule = [("levels", ["baseline"])]
    piled = [exception(f"e{n}", "exceptions", rule, {"namespaces": ["exceptions"], "names": [f"a{n}-*"]})
             for n in range(6)]  # fmt: skip
    with open_store(MEMORY) as store:
        scan(store, Given([*cluster(), *piled]), 1)
        yield document(store)


def of_nothing() -> Document:
    """The report of a cluster in which there is nothing to say."""
    with open_store(MEMORY) as store:
        scan(store, Given(AGREED), 1)
        return document(store)
