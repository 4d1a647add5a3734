"""The workloads of a snapshot as requests at admission: the pods that their templates make, and those that stand alone.

Source: kubernetes v1.36.3, pkg/controller: GetPodFromTemplate, and what each controller adds to a template. A workload
is one request, whoever runs it: that of the controller in the end. Pods are asked for themselves where no template that
is read stands for them: bare ones, those of controllers of other kinds, and those that were given containers on their
way in that the template lacks (a sidecar). What else was changed on the way in is not seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from posture import selectors
from posture.model import Content, Key, Snapshot, canonical

from . import defaults
from .pods import CONTAINERS, mapping, mappings
from .policy import Space
from .requests import PODS, SUFFIX, Object, Request, pod_creation


class User(NamedTuple):
    """Who asks: a user's name, and the groups that the server knows him by."""

    name: str | None
    groups: tuple[str, ...] = ()


def controller(name: str) -> User:
    """A controller of Kubernetes itself, as it authenticates with `--use-service-account-credentials`."""
    groups = ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")
    return User(f"system:serviceaccount:kube-system:{name}", groups)


ANYBODY = User(None)
POD = "pods"
ACCOUNTS = "serviceaccounts"


class _Kind(NamedTuple):
    """A kind with a pod template: where that is, and what is made of it.

    `user` makes the pods, `owner` is what they then belong to, `named` its name; `labels` are added to them. A pod's
    name begins with its owner's. `hidden` are fields that its controller sets, and nobody knows to what.
    """

    kind: str
    template: tuple[str, ...]
    user: User
    owner: tuple[str, str]
    named: str = "{name}"
    labels: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


_TEMPLATE = ("spec", "template")
_JOB_TEMPLATE = ("spec", "jobTemplate", "spec", "template")
_REPLICAS, _JOBS = controller("replicaset-controller"), controller("job-controller")
_REPLICA_SET, _JOB = ("apps/v1", "ReplicaSet"), ("batch/v1", "Job")
_OF_JOBS = ("batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name")
_REVISION = "controller-revision-hash"
_KINDS: Mapping[str, _Kind] = {
    "replicationcontrollers": _Kind(
        "ReplicationController", _TEMPLATE, controller("replication-controller"), ("v1", "ReplicationController")),
    "replicasets.apps": _Kind("ReplicaSet", _TEMPLATE, _REPLICAS, _REPLICA_SET),
    "deployments.apps": _Kind(
        "Deployment", _TEMPLATE, _REPLICAS, _REPLICA_SET, f"{{name}}-{SUFFIX}", ("pod-template-hash",)),
    "statefulsets.apps": _Kind(
        "StatefulSet", _TEMPLATE, controller("statefulset-controller"), ("apps/v1", "StatefulSet"),
        labels=("apps.kubernetes.io/pod-index", _REVISION, "statefulset.kubernetes.io/pod-name"),
        hidden=("hostname", "subdomain")),
    "daemonsets.apps": _Kind(
        "DaemonSet", _TEMPLATE, controller("daemon-set-controller"), ("apps/v1", "DaemonSet"),
        labels=(_REVISION, "pod-template-generation"), hidden=("affinity",)),
    "jobs.batch": _Kind("Job", _TEMPLATE, _JOBS, _JOB, labels=_OF_JOBS),
    "cronjobs.batch": _Kind("CronJob", _JOB_TEMPLATE, _JOBS, _JOB, f"{{name}}-{SUFFIX}", _OF_JOBS),
}  # fmt: skip
WORKLOADS = (*_KINDS, POD)
"""The kinds that make pods."""
_READ = (*WORKLOADS, ACCOUNTS, "namespaces")
_BY_KIND = {one.kind: resource for resource, one in _KINDS.items()}
_USERS = {one.owner[1]: one.user for one in _KINDS.values()}
_CONTROLLED = {
    POD: frozenset(_USERS),
    "replicasets.apps": frozenset({"Deployment"}),
    "jobs.batch": frozenset({"CronJob"}),
}
"""The kinds that control what: anybody may write any owner reference, and no controller believes it."""
_ENDED = ("Succeeded", "Failed")
_TAINTS = {
    "not-ready": "NoExecute", "unreachable": "NoExecute", "disk-pressure": "NoSchedule",
    "memory-pressure": "NoSchedule", "pid-pressure": "NoSchedule", "unschedulable": "NoSchedule",
}  # fmt: skip
"""What the pods of a DaemonSet tolerate in any case."""

type Asking = tuple[str, Request]
"""A workload, `workload:NS/NAME[Kind]`, and the request that makes its pods."""


@dataclass
class _Known:
    """What was worked out. It outlives the snapshot: `maps` are the objects for which `valid` namespaces hold."""

    maps: tuple[Any, ...] = ()
    valid: set[str] = field(default_factory=set)
    found: dict[str, tuple[Any, list[Asking]]] = field(default_factory=dict)


def requests_once(snapshot: Snapshot, namespace: str) -> Iterator[Asking]:
    """The same requests one by one, for whom the first may be enough: 15,000 that are kept are 200 MB."""
    return _Namespace(snapshot, namespace).requests()


def requests_of(snapshot: Snapshot, namespace: str) -> list[Asking]:
    """The requests that make the pods of a namespace's workloads, in the order of their kinds and names.

    The list is shared: it must not be changed. A workload may have several requests. Never raises.
    """
    known: _Known = snapshot.derived_from("workloads as requests").setdefault("", _Known())
    maps = tuple(snapshot.index.get(resource) for resource in _READ)
    if len(known.maps) != len(maps) or any(one is not other for one, other in zip(known.maps, maps, strict=True)):
        known.maps = maps
        known.valid.clear()
    if namespace not in known.valid:
        mark = _mark(snapshot, namespace)
        if namespace not in known.found or known.found[namespace][0] != mark:
            known.found[namespace] = mark, [*_Namespace(snapshot, namespace).requests()]
        known.valid.add(namespace)
    return known.found[namespace][1]


def _names(snapshot: Snapshot, resource: str, namespace: str) -> list[str]:
    """The names of the objects of a resource in a namespace, sorted."""
    kept: dict[Any, dict[str, list[str]]] = snapshot.derived_from(resource)
    if "names by namespace" not in kept:
        found: dict[str, list[str]] = {}
        for where, name in sorted(snapshot.index.get(resource, ())):
            found.setdefault(where, []).append(name)
        kept["names by namespace"] = found
    return kept["names by namespace"].get(namespace, [])


def _mark(snapshot: Snapshot, namespace: str) -> Any:
    """All that the requests of a namespace are made of."""
    keys = [Key("namespaces", "", namespace)]
    keys += [Key(one, namespace, name) for one in (*WORKLOADS, ACCOUNTS) for name in _names(snapshot, one, namespace)]
    return tuple((key, entry.digest) for key in keys if (entry := snapshot.entry(key)))


# Whose a pod is -----------------------------------------------------------------------------------------------------


class _Link(NamedTuple):
    """A controller; `content` is None where it is not there, or of a kind that is not read."""

    kind: str
    key: Key
    content: Content | None


class _Owner(NamedTuple):
    """The workload that something belongs to in the end, by name; `key` is the last one on the way that is there.

    `user` made it, where it is a pod.
    """

    workload: str
    key: Key
    user: User


class _Owners:
    """Whose what is, in one namespace. Most pods share their controllers."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._known: dict[tuple[Any, ...], tuple[_Link, ...]] = {}

    def of(self, key: Key, content: Content) -> _Owner:
        """A pod that a controller on the way does not select is none of its pods."""
        chain = self._above(key, content) if content.get("ownerReferences") else ()
        if key.resource == POD:
            labels = mapping(content.get("labels"))
            if not all(_selects(link, labels) for link in chain if link.content is not None):
                chain = ()
        if not chain:
            kind = _KINDS[key.resource].kind if key.resource in _KINDS else "Pod"
            return _Owner(f"workload:{key.namespace}/{key.name}[{kind}]", key, ANYBODY)
        last = next((link.key for link in reversed(chain) if link.content is not None), key)
        name = f"workload:{key.namespace}/{chain[-1].key.name}[{chain[-1].kind}]"
        return _Owner(name, last, _USERS.get(chain[0].kind, ANYBODY))

    def _above(self, key: Key, content: Content) -> tuple[_Link, ...]:
        """What controls an object, and what controls that. Only pods, ReplicaSets and Jobs have controllers that are
        read, so that it ends.
        """
        given = next((one for one in mappings(content.get("ownerReferences")) if one.get("controller")), {})
        kind, name, group = (str(given.get(field) or "") for field in ("kind", "name", "apiVersion"))
        mark = (key.resource, kind, name, group)
        if mark not in self._known:
            resource = _BY_KIND.get(kind)
            chain: tuple[_Link, ...] = ()
            if kind and name and kind != "Pod" and _controls(resource, given, key.resource):
                above = Key(resource or "", key.namespace, name)
                found = self._snapshot.get(above) if resource else None
                chain = (_Link(kind, above, found), *(() if found is None else self._above(above, found)))
            self._known[mark] = chain
        return self._known[mark]


def _controls(resource: str | None, given: Mapping[str, Any], below: str) -> bool:
    """Whether an owner reference may be true; of kinds that are not read nobody can say otherwise."""
    if resource is None:
        return True
    group = str(given.get("apiVersion") or "").rpartition("/")[0]
    return group == resource.partition(".")[2] and given.get("kind") in _CONTROLLED.get(below, ())


def _selects(link: _Link, labels: Mapping[str, Any]) -> bool:
    """Whether a controller selects a pod; true where its selector is not kept, or is none."""
    selector = mapping(mapping(mapping(link.content).get("spec")).get("selector"))
    if link.key.resource == "replicationcontrollers":
        selector = {"matchLabels": selector}
    try:
        return not selector or selectors.matches(selector, labels)
    except (AttributeError, TypeError, ValueError):  # no selector
        return True


# Requests -----------------------------------------------------------------------------------------------------------


class _Namespace:
    """A namespace whose workloads become requests."""

    def __init__(self, snapshot: Snapshot, name: str) -> None:
        self.snapshot = snapshot
        self.name = name
        there = snapshot.get(Key("namespaces", "", name))
        self.object = None if there is None else Space.of(name, there).object
        self.owners = _Owners(snapshot)
        self.templates: dict[Key, frozenset[str]] = {}
        """The workloads whose pods are asked for, each with the names of its containers."""
        self.seen: set[tuple[str, bytes]] = set()

    def requests(self) -> Iterator[Asking]:
        """One for each template, then those of pods."""
        for resource in _KINDS:
            for key, content in self._objects(resource):
                owner = self.owners.of(key, content)
                template = _template(key, content)
                if template is not None and owner.key == key:
                    self.templates[key] = _containers(mapping(template.get("spec")))
                    kind = _KINDS[resource]
                    yield owner.workload, self._creation(_made(kind, key.name, template), kind.user, kind.hidden)
        for key, content in self._objects(POD):
            if mapping(content.get("status")).get("phase") not in _ENDED:
                yield from self._of_pod(key, content)

    def _objects(self, resource: str) -> Iterator[tuple[Key, Content]]:
        for name in _names(self.snapshot, resource, self.name):
            key = Key(resource, self.name, name)
            content = self.snapshot.get(key)
            if isinstance(content, Mapping):
                yield key, content

    def _of_pod(self, key: Key, content: Content) -> Iterator[Asking]:
        """What made a pod, unless a template stands for it, and what gave it ephemeral containers."""
        owner, spec = self.owners.of(key, content), mapping(content.get("spec"))
        template = self.templates.get(owner.key)
        added = mappings(spec.get("ephemeralContainers"))
        if not added and template is not None and _containers(spec) <= template:
            return
        metadata = {field: content[field] for field in ("labels", "annotations", "ownerReferences") if field in content}
        pod = {"metadata": {"name": key.name, **metadata}, "spec": _created(spec)}
        request = self._creation(pod, owner.user)
        if (template is None or not _containers(spec) <= template) and self._is_new(owner.workload, pod):
            yield owner.workload, request
        if added:
            whole = {"metadata": request.object["metadata"], "spec": {**pod["spec"], "ephemeralContainers": added}}  # type: ignore[index]
            debugged = defaults.pod(whole, token=self._token(spec))
            yield owner.workload, Request(
                "UPDATE", PODS, "ephemeralcontainers", self.name, key.name, debugged, request.object, None, (),
                self.object, False, tuple(dict.fromkeys((*request.hidden, *_hidden(whole["spec"])))),
            )  # fmt: skip

    def _is_new(self, workload: str, pod: Object) -> bool:
        """Whether no pod of the workload like this one was asked for: they differ in their names, and by rollout."""
        try:
            digest = canonical({"spec": pod["spec"]})[0]
        except TypeError:  # no JSON of 64-bit numbers
            return True
        known = (workload, digest) in self.seen
        self.seen.add((workload, digest))
        return not known

    def _creation(self, pod: Object, user: User, hidden: tuple[str, ...] = ()) -> Request:
        spec = mapping(pod["spec"])
        return pod_creation(
            pod, self.name, self.object, user=user.name, groups=user.groups, token=self._token(spec),
            hidden=(*hidden, *_hidden(spec)),
        )  # fmt: skip

    def _token(self, spec: Mapping[str, Any]) -> bool:
        """Whether a pod gets its ServiceAccount's token: what the pod says outranks what the account says."""
        if spec.get("automountServiceAccountToken") is True:
            return True
        name = str(spec.get("serviceAccountName") or spec.get("serviceAccount") or "default")
        account = mapping(self.snapshot.get(Key(ACCOUNTS, self.name, name)))
        return account.get("automountServiceAccountToken") is not False


def _template(key: Key, content: Content) -> Mapping[str, Any] | None:
    """The pod template of a workload; None where none is kept."""
    at: Any = content
    for part in _KINDS[key.resource].template:
        at = mapping(at).get(part)
    return at if isinstance(at, Mapping) else None


def _made(kind: _Kind, name: str, template: Mapping[str, Any]) -> Object:
    """The pod as its controller asks for it. What it makes up (a hash, a number) is made up here too."""
    of, spec = mapping(template.get("metadata")), mapping(template.get("spec"))
    owner = kind.named.format(name=name)
    pod = {"name": f"{owner}-0"} if kind.kind == "StatefulSet" else {"generateName": f"{owner}-"}
    values = {"statefulset.kubernetes.io/pod-name": f"{owner}-0", "apps.kubernetes.io/pod-index": "0"}
    values |= {label: owner for label in _OF_JOBS if label.endswith("job-name")}
    added = {label: values.get(label, SUFFIX) for label in kind.labels}
    metadata: dict[str, Any] = {**pod, "labels": {**mapping(of.get("labels")), **added}}
    version, above = kind.owner
    metadata["ownerReferences"] = [
        {"apiVersion": version, "kind": above, "name": owner, "controller": True, "blockOwnerDeletion": True}
    ]
    if annotations := mapping(of.get("annotations")):
        metadata["annotations"] = annotations
    if kind.kind == "DaemonSet":
        spec = _tolerant(spec)
    elif kind.kind == "StatefulSet":
        spec = _with_claims(spec, f"{owner}-0")
    return {"metadata": metadata, "spec": spec}


def _tolerant(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    network = {"network-unavailable": "NoSchedule"} if spec.get("hostNetwork") is True else {}
    added = [
        {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": effect}
        for taint, effect in (_TAINTS | network).items()
    ]
    there = mappings(spec.get("tolerations"))
    return {**spec, "tolerations": [*there, *(one for one in added if one not in there)]}


def _with_claims(spec: Mapping[str, Any], pod: str) -> Mapping[str, Any]:
    """What is mounted and is no volume of the template has a claim template, which is not kept."""
    volumes = mappings(spec.get("volumes"))
    there = {str(one.get("name")) for one in volumes}
    used = dict.fromkeys(
        str(mount["name"])
        for kind in ("initContainers", "containers") for one in mappings(spec.get(kind))
        for field in ("volumeMounts", "volumeDevices") for mount in mappings(one.get(field))
        if mount.get("name") and str(mount["name"]) not in there
    )  # fmt: skip
    claims = [{"name": name, "persistentVolumeClaim": {"claimName": f"{name}-{pod}"}} for name in used]
    return {**spec, "volumes": [*claims, *volumes]} if claims else spec


def _containers(spec: Mapping[str, Any]) -> frozenset[str]:
    """The names of the containers that a pod is created with."""
    return frozenset(
        str(one.get("name")) for kind in ("containers", "initContainers") for one in mappings(spec.get(kind))
    )


def _created(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a pod's specification was when it was created: no node, no token's volume, no ephemeral containers."""
    found = {name: one for name, one in spec.items() if name not in ("nodeName", "ephemeralContainers")}
    names = (str(one.get("name")) for one in mappings(spec.get("volumes")))
    token = {name for name in names if name.startswith("kube-api-access-")}
    if token:
        found["volumes"] = _without(spec["volumes"], token)
        for kind in ("containers", "initContainers"):
            if kind in found:
                found[kind] = [
                    {**one, "volumeMounts": _without(one.get("volumeMounts"), token)} for one in mappings(found[kind])
                ]
    return found


def _without(given: Any, names: Collection[str]) -> list[Mapping[str, Any]]:
    return [one for one in mappings(given) if str(one.get("name")) not in names]


def _hidden(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """`value`, if a container may have an environment variable of which no value is kept."""
    literal = any(
        "valueFrom" not in variable
        for kind in CONTAINERS for one in mappings(spec.get(kind)) for variable in mappings(one.get("env"))
    )  # fmt: skip
    return ("value",) if literal else ()
