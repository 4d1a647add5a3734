"""Random namespaces, workloads, policies of every engine and exceptions from them: every field that decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from random import Random
from typing import Any

from . import vap
from .engines import (
    FUTURE,
    IGNORE,
    NAME,
    PAST,
    PODS,
    answering,
    authority,
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
from .objects import Object, metadata, namespace
from .pods import random_pod, storable
from .templates import SPOILS, clean, controlled

SPACES = ("pay", "web", "lab", "ops")
SYSTEM = ("kube-system", "kyverno", "gatekeeper-system", "hooks")
PSS = "pod-security.kubernetes.io"
LEVELS = ("privileged", "baseline", "baseline", "restricted", "Baseline", "")
"""The last two are levels that no server takes, and that an older one may have stored."""
VERSIONS = ("latest", "v1.7", "v1.24", "v1.34", "v1.35", "v1.99", "1.24", "newest")
LABELS: Mapping[str, Sequence[str]] = {
    "env": ("prod", "test"), "team": ("pay", "web"), "skip": ("yes", "true", ""), "policy-exempt": ("true",),
    IGNORE: ("no-longer-needed", ""),
}  # fmt: skip
ACTIONS = (["Deny"], ["Deny"], ["Deny"], ["Deny", "Audit"], ["Audit"], ["Warn"])
SYSTEM_USER = "system:serviceaccount:ops:deployer"

# Expressions --------------------------------------------------------------------------------------------------------

RULES = {
    "privileged": "object.spec.containers.all(c, !c.?securityContext.?privileged.orValue(false))",
    "host-namespaces": "!object.spec.?hostNetwork.orValue(false) && !object.spec.?hostPID.orValue(false)"
    " && !object.spec.?hostIPC.orValue(false)",
    "host-path": "object.spec.?volumes.orValue([]).all(v, !has(v.hostPath))",
    "capabilities": "object.spec.containers.all(c, c.?securityContext.?capabilities.?add.orValue([])"
    ".all(a, a in ['NET_BIND_SERVICE', 'CHOWN']))",
    "drop-all": "object.spec.containers.all(c, c.?securityContext.?capabilities.?drop.orValue([])"
    ".exists(d, d == 'ALL'))",
    "non-root": "object.spec.containers.all(c, c.?securityContext.?runAsNonRoot"
    ".orValue(object.spec.?securityContext.?runAsNonRoot.orValue(false)))",
    "escalation": "object.spec.containers.all(c, !c.?securityContext.?allowPrivilegeEscalation.orValue(true))",
    "seccomp": "object.spec.?securityContext.?seccompProfile.?type.orValue('') in ['RuntimeDefault', 'Localhost']",
    "host-ports": "object.spec.containers.all(c, c.?ports.orValue([]).all(p, p.?hostPort.orValue(0) == 0))",
    "prod": "namespaceObject.metadata.?labels[?'env'].orValue('') != 'prod'"
    " || !object.spec.?hostNetwork.orValue(false)",
    "by-name": "request.namespace in ['lab', 'ops'] || object.spec.?volumes.orValue([]).all(v, !has(v.hostPath))",
}
"""What a pod must be, and most are."""

ODD = {
    "team": "object.metadata.?labels[?'team'].orValue('none') != 'none'",
    "broken": "object.spec.hostNetwork == false",
    "everything": "false",
    "nothing": "true",
}
"""What refuses nearly everything or nothing; one fails where the field is not there."""


PARAMETER = "params.spec.policyTypes.size() == 0 || !object.spec.?hostNetwork.orValue(false)"
"""On the host's network no NetworkPolicy holds: where there is one, nobody may go there."""

EXCEPT = (
    "object.metadata.?labels[?'skip'].orValue('') != 'yes'",
    "!has(object.metadata.annotations) || !('policy-exempt' in object.metadata.annotations)",
    "!(request.namespace in ['lab'])",
    "!object.metadata.namespace.startsWith('o')",
    f"request.userInfo.username != '{SYSTEM_USER}'",
    "!object.spec.containers.exists(c, c.image.startsWith('trusted/'))",
    "object.metadata.labels.skip != 'yes'",
)
"""Match conditions that take something out; the last one fails where there is no such label."""

EXCEPTED = (
    "object.metadata.namespace == 'pay'",
    "object.metadata.namespace == 'web' && object.metadata.?labels[?'app'].orValue('') == 'legacy'",
    "namespaceObject.metadata.?labels[?'env'].orValue('') == 'test'",
    "object.metadata.?labels[?'skip'].orValue('') == 'yes'",
    "request.namespace in ['lab', 'gone']",
    "object.metadata.labels.app == 'legacy'",
)
"""What exceptions are for, in CEL; the last one fails where there is no such label."""

CONSTRAINTS = {
    "PosturePrivileged": (
        "variables.isUpdate || variables.judged.all(c, !c.?securityContext.?privileged.orValue(false))",
    ),
    "PostureHost": (
        "!variables.anyObject.spec.?hostNetwork.orValue(false)",
        "!variables.anyObject.spec.?hostPID.orValue(false) && !variables.anyObject.spec.?hostIPC.orValue(false)",
    ),
    "PostureVolumes": ("variables.anyObject.spec.?volumes.orValue([]).all(v, !has(v.hostPath))",),
    "PostureTeam": (),
}
"""The kinds of constraints; the last one is written in Rego."""

SELECTORS = (
    where("skip", "DoesNotExist"),
    where("env", "NotIn", "test"),
    where("policy-exempt", "NotIn", "true"),
    where(NAME, "NotIn", "kube-system", "lab"),
    {"matchLabels": {"env": "prod"}},
    {"matchExpressions": [where("team", "Exists")["matchExpressions"][0],
                          where("skip", "NotIn", "yes", "")["matchExpressions"][0]]},
)  # fmt: skip
CONTROLS = (
    "Capabilities",
    "Host Namespaces",
    "HostPath Volumes",
    "Privileged Containers",
    "Seccomp",
    "No Such Control",
)


class Maker:
    """Makes the objects of one cluster."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, some: Sequence[Any]) -> Any:
        return deepcopy(self.random.choice(some))

    def some(self, values: Sequence[Any], most: int = 2) -> list[Any]:
        return self.random.sample(values, self.random.randint(1, min(most, len(values))))

    def space(self, name: str) -> Object:
        labels = {key: self.pick(values) for key, values in LABELS.items() if self.chance(0.25)}
        for mode in ("enforce", "enforce", "audit", "warn"):
            if self.chance(0.4):
                labels[f"{PSS}/{mode}"] = self.pick(LEVELS)
            if self.chance(0.3):
                labels[f"{PSS}/{mode}-version"] = self.pick(VERSIONS)
        return namespace(name, **labels, **{NAME: name})

    def workload(self, name: str) -> Object:
        """A workload of any kind with a template that nothing or many a policy refuses."""
        kind = self.pick(
            ("Deployment", "Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job", "ReplicaSet", "Pod")
        )
        pod = random_pod(self.random, name, valid=True) if self.chance(0.4) else clean(name)
        for spoil in self.random.sample(tuple(SPOILS.values()), self.pick((0, 1, 1, 2))):
            spoil(pod["spec"])
        storable(pod)
        pod["spec"].pop("ephemeralContainers", None)
        if self.chance(0.2):
            pod["spec"]["containers"][0]["image"] = self.pick(("trusted/app:1", "trusted/agent:2", "example.com/x:1"))
        labels = {"app": self.pick(("legacy", "api", name))}
        labels |= {"skip": "yes"} if self.chance(0.2) else {}
        annotations = {"policy-exempt": "until spring"} if self.chance(0.1) else {}
        pod["metadata"] = {"labels": labels, "annotations": {**pod["metadata"].get("annotations", {}), **annotations}}
        return controlled(kind, name, self.pick(SPACES), pod, labels)

    def texts(self) -> list[str]:
        """What a policy asks of a pod, in CEL."""
        return self.some(tuple((RULES if self.chance(0.9) else ODD).values()))

    # ValidatingAdmissionPolicy

    def selected(self) -> Object:
        """What narrows a policy or a binding."""
        found: Object = {}
        if self.chance(0.4):
            found["namespaceSelector"] = self.pick(SELECTORS)
        if self.chance(0.2):
            found["objectSelector"] = self.pick(SELECTORS[:3])
        if self.chance(0.2):
            found["excludeResourceRules"] = [PODS | {"resourceNames": self.some(("legacy", "w1-0", "w2"))}]
        if self.chance(0.1):
            found["excludeResourceRules"] = [PODS | {"resources": ["pods/ephemeralcontainers"]}]
        return found

    def validated(self, name: str) -> list[Object]:
        """A ValidatingAdmissionPolicy, with a binding or two, or with none."""
        rules = [{**PODS, "operations": self.pick((["CREATE", "UPDATE"], ["CREATE"], ["*"]))}]
        spec: Object = {"matchConstraints": self.selected(), "failurePolicy": self.pick(("Fail", "Fail", "Ignore"))}
        texts = self.texts()
        reference: Object = {}
        if self.chance(0.2):
            spec["paramKind"] = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
            texts.append(PARAMETER)
            reference["paramRef"] = {"parameterNotFoundAction": self.pick(("Allow", "Deny"))} | self.pick(
                (
                    {"selector": {"matchLabels": {"guard": "yes"}}},
                    {"name": "guard"},
                    {"name": "guard", "namespace": "pay"},
                )
            )
        if self.chance(0.3):
            spec["matchConditions"] = conditions(*self.some(EXCEPT))
        bound = [
            vap.binding(name, self.pick(ACTIONS), **reference, **({"matchResources": found} if found else {}))
            for found in (self.selected() for _ in range(self.pick((0, 1, 1, 1, 2))))
        ]
        for number, one in enumerate(bound[1:]):
            one["metadata"]["name"] = f"{name}-{number}"
        return [vap.policy(name, *texts, rules=rules, **spec), *bound]

    # Kyverno

    def kyverno(self) -> list[Object]:
        """Kyverno, switched on in some way, with policies and exceptions from them."""
        flags = [
            ["--enablePolicyException=true", f"--exceptionNamespace={name}"] for name in ("", "*", "kyverno", "ops")
        ]
        filters = {
            "resourceFilters": self.pick(("[*/*,kube-system,*]", "[Pod,lab,*]", "[*/*,kyverno,*] [Pod,*,legacy]"))
        }
        legacy = [f"cpol-{number}" for number in range(self.random.randint(1, 3))]
        modern = [f"vpol-{number}" for number in range(self.random.randint(0, 2))]
        return [
            *kyverno(*self.pick((*flags, [])), endpoints=self.ready(), data=filters if self.chance(0.3) else None),
            *(self.cluster_policy(name) for name in legacy),
            *(self.validating_policy(name) for name in modern),
            *(self.exception(f"polex-{number}", legacy, modern) for number in range(self.random.randint(0, 4))),
        ]

    def cluster_policy(self, name: str) -> Object:
        validate = self.pick(
            (
                pod_security(self.pick(("baseline", "restricted")), version=self.pick(("latest", "v1.24"))),
                pod_security(
                    "baseline", {"controlName": self.pick(CONTROLS), "images": self.pick((["*"], ["trusted/*"]))}
                ),
                pod_security("restricted", {"controlName": "Volume Types"}),
                cel(*self.texts()),
                {"pattern": {"spec": {"=(hostNetwork)": "false"}}, "message": "no"},
            )
        )
        if self.chance(0.3):
            validate["failureAction"] = self.pick(("Enforce", "Audit"))
        rule = kyverno_rule(self.pick(("check", "baseline")), validate, [self.resources()] if self.chance(0.4) else ())
        if self.chance(0.15):
            rule["celPreconditions"] = conditions(self.pick(EXCEPT[:2]))
        return cluster_policy(name, rule, action=self.pick(("Enforce", "Enforce", "Audit")))

    def resources(self) -> Object:
        """A filter of resources, as excludes and exceptions have it."""
        found: Object = self.pick(
            (
                {"namespaces": self.some((*SPACES, "gone", "l*"))},
                {"namespaceSelector": self.pick(({"matchLabels": {"skip": "yes"}}, where("env", "In", "test")))},
                {"selector": {"matchLabels": {"app": "legacy"}}},
                {"names": self.some(("legacy*", "w1*", "w2")), "namespaces": ["pay"]},
                {"kinds": ["Deployment"], "namespaces": ["web"]},
            )
        )
        return found

    def validating_policy(self, name: str) -> Object:
        spec: Object = {"matchConstraints": self.selected()}
        if self.chance(0.3):
            spec["matchConditions"] = conditions(*self.some(EXCEPT))
        if self.chance(0.3):
            spec["failurePolicy"] = "Ignore"
        return validating_policy(name, *self.texts(), actions=self.pick(ACTIONS), **spec)

    def exception(self, name: str, legacy: Sequence[str], modern: Sequence[str]) -> Object:
        """A PolicyException of either group: from policies that are there or not, in a namespace that counts or not."""
        inside = self.pick(("kyverno", "kyverno", "ops", "pay"))
        if self.chance(0.5):
            rules = self.pick((["check"], ["baseline"], ["*"], ["autogen-check"], ["no-such-rule"]))
            refs = [(self.pick((*legacy, *legacy, "gone")), rules)]
            return exception(name, inside, refs, {"kinds": ["Pod"], **self.resources()})
        texts = self.some(EXCEPTED) if self.chance(0.85) else ()
        spec: Object = {"expiresAt": self.pick((PAST, FUTURE))} if self.chance(0.5) else {}
        if self.chance(0.3):
            spec["properties"] = {"reason": "vendor agent", "ticket": "SEC-12", "approved-by": "ann"}
        if self.chance(0.15):
            spec["images"] = ["trusted/*"]
        return cel_exception(name, inside, [self.pick((*modern, *modern, "gone"))], *texts, **spec)

    # Gatekeeper

    def gatekeeper(self) -> list[Object]:
        """Gatekeeper, with templates, constraints and its Config."""
        exclusions = [
            (self.some((*SPACES, "kube-*")), self.pick((["*"], ["webhook"], ["audit"], ["webhook", "audit"])))
        ]
        flags = self.pick(([], ["--operation=webhook"], ["--operation=audit"], ["--exempt-namespace=lab"]))
        made = gatekeeper(*flags, endpoints=self.ready(), failure=self.pick(("Ignore", "Fail")))
        if self.chance(0.5):
            made.append(config(*exclusions, name=self.pick(("config", "config", "config", "settings"))))
        kinds = self.some(tuple(CONSTRAINTS), 3)
        source = {"failurePolicy": self.pick(("Fail", "Ignore"))} if self.chance(0.3) else {}
        made += [template(kind, *CONSTRAINTS[kind], **source) for kind in kinds]
        return made + [self.constraint(kind) for kind in (*kinds, *self.some(("PostureHost", "PostureGone"), 1))]

    def constraint(self, kind: str) -> Object:
        match = self.pick(
            (
                {},
                {"excludedNamespaces": self.some((*SPACES, "kube-*"))},
                {"namespaces": ["pay", "web"]},
                {"namespaceSelector": self.pick(SELECTORS)},
                {"labelSelector": where("skip", "DoesNotExist")},
                {"scope": self.pick(("Namespaced", "*", "nonsense"))},
            )
        )
        spec: Object = {"enforcementAction": self.pick(("deny", "deny", "dryrun", "warn", "refuse"))}
        if self.chance(0.2):
            points = [{"name": self.pick(("validation.gatekeeper.sh", "audit.gatekeeper.sh", "*"))}]
            spec = {"enforcementAction": "scoped",
                    "scopedEnforcementActions": [{"action": "deny", "enforcementPoints": points}]}  # fmt: skip
        if self.chance(0.2):
            spec["excludedNamespaces"] = ["lab"]  # here it means nothing
        images = {"exemptImages": ["trusted/*", "example.com/x:1"]} if self.chance(0.3) else None
        return constraint(kind, f"{kind.lower()}-{self.random.randrange(3)}", images, match=match, **spec)

    # What nobody can judge, and what answers

    def ready(self) -> Sequence[bool]:
        """The endpoints of a Service, each ready or not."""
        found: Sequence[bool] = self.pick(((True,), (True,), (True, False), (False,), ()))
        return found

    def hooks(self) -> list[Object]:
        """Another webhook: it may fail open, and what should answer may be gone."""
        policy = {"failurePolicy": self.pick(("Fail", "Ignore")), **self.selected()}
        policy.pop("excludeResourceRules", None)
        made = webhook(
            "check.example.com", "hooks/checker", bundle=authority(self.pick((PAST, FUTURE, FUTURE))), **policy
        )
        if self.chance(0.2):
            made["clientConfig"] = {"url": "https://check.example.com/"}
        return [webhooks("checker", made)] + (answering("hooks", "checker", self.ready()) if self.chance(0.8) else [])

    def opaque(self) -> list[Object]:
        """Policies whose refusals nobody can evaluate."""
        name = metadata("opaque")
        return [
            {"apiVersion": "policies.kubewarden.io/v1", "kind": "ClusterAdmissionPolicy", "metadata": name,
             "spec": {"mode": self.pick(("protect", "monitor")), "module": "registry://example.com/policy:v1",
                      "rules": [PODS], "mutating": False, "namespaceSelector": self.pick(SELECTORS)},
             "status": {"policyStatus": self.pick(("active", "unscheduled"))}},
            {"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy", "metadata": name,
             "spec": {"mode": self.pick(("enforce", "warn")), "images": [{"glob": "example.com/**"}],
                      "authorities": [{"static": {"action": self.pick(("pass", "fail"))}}]}},
        ]  # fmt: skip
