"""A live cluster, read only: what is listed, in which order, and what could not be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from posture.collect import Event, Facts, Page, Problem, Restart
from posture.collect.client import JSON, Client, ahead
from posture.collect.discovery import Discovery, discover
from posture.collect.problem import RequestProblem
from posture.errors import CannotJudge, UsageError
from posture.kinds import API_RESOURCES, API_SERVER_FLAGS, KINDS, RBAC, Kind
from posture.model import Gap, Version
from posture.text import listed, visible

PODS, SERVICE_ACCOUNTS, NAMESPACES = "pods", "serviceaccounts", "namespaces"
FLAGS = (
    "admission-control-config-file", "disable-admission-plugins", "emulated-version", "enable-admission-plugins",
    "feature-gates",
)  # fmt: skip
"""The flags of the API server that bear on admission."""
FLAGS_AS_JSON = ",".join(f"{JSON};v={version};g=config.k8s.io;as=Flagz" for version in ("v1beta1", "v1alpha1"))
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123 label

type _Name = tuple[str, str]


class Reference(NamedTuple):
    """A kind (any namespaced one: "*") whose objects name an object of a kind that is listed before it.

    Where that object is missing it was made in between: its kind is listed once more. `target` gives (namespace,
    name), or None when an object refers to nothing. (Bindings refer to roles too, but those are listed after them.)
    """

    resource: str
    to: str
    target: Callable[[Mapping[str, Any]], _Name | None]

    def made_by(self, kind: Kind) -> bool:
        """Whether objects of this kind refer so."""
        return self.resource == kind.name or (self.resource == "*" and kind.namespaced)


def _namespace_of(item: Mapping[str, Any]) -> _Name | None:
    namespace = item["metadata"].get("namespace")
    return ("", namespace) if namespace else None


def _service_account_of(pod: Mapping[str, Any]) -> _Name | None:
    spec = pod.get("spec")
    name = spec.get("serviceAccountName") if isinstance(spec, dict) else None
    return (pod["metadata"].get("namespace") or "", name) if isinstance(name, str) and name else None


REFERENCES: tuple[Reference, ...] = (
    Reference("*", NAMESPACES, _namespace_of),
    Reference(PODS, SERVICE_ACCOUNTS, _service_account_of),
)


class _Part(NamedTuple):
    """A list that is a kind, or that is one with others: its resource, the versions to try in order, the only name that
    is asked for, and the kind of its objects where it is one of many.
    """

    resource: str
    versions: tuple[str, ...]
    name: str = ""
    kind: str = ""

    @property
    def called(self) -> str:
        """Which it is of several; "" where it is the only one."""
        return self.name or (self.resource if self.kind else "")

    def typed(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Objects with their kind, where it takes part in their names."""
        return [{**item, "kind": self.kind} for item in items] if self.kind else items


class LiveSource:
    """A cluster as a Source. With `namespaces` only these are read, and all else is a gap `not collected`."""

    def __init__(
        self, client: Client, *, namespaces: Sequence[str] = (), kinds: Sequence[Kind] = KINDS, limit: int = 500
    ) -> None:
        """`limit` is the number of objects in a page. Raises UsageError for a name that no namespace can have."""
        for name in namespaces:
            if not _NAMESPACE.fullmatch(name):
                raise UsageError(f"{visible(name, 100)} is no name of a namespace")
        self._client = client
        self._namespaces = tuple(sorted(set(namespaces)))
        self._kinds = tuple(kinds)
        self._limit = limit
        self._facts = Facts(name=client.access.name)

    @property
    def title(self) -> str:
        """The cluster's name and address."""
        name, server = visible(self._client.access.name, 200), visible(self._client.access.server, 200)
        return name if name in server else f"{name} ({server})"

    @property
    def facts(self) -> Facts:
        """See Source. The cluster's id is the uid of the namespace kube-system, "" without permission to read it."""
        return self._facts

    def events(self) -> Iterator[Event]:
        """See Source. The next page is read while the caller works on one; who stops early closes the client."""
        return ahead(self._events(), self._client.close)

    def _events(self) -> Iterator[Event]:
        self._facts = Facts(name=self._client.access.name)
        try:
            self._introduce()
            discovery = discover(self._client)
        except RequestProblem as problem:
            raise CannotJudge(str(problem), problem.hint) from problem
        if discovery.resources:
            yield Page(API_RESOURCES, "", discovery.resources)
        yield from discovery.gaps
        if flags := self._flags():
            yield Page(API_SERVER_FLAGS, "", flags)
        reading = _Reading(self._client, discovery, self._namespaces, self._limit)
        for kind in self._kinds:
            yield from reading.read(kind)
        yield from reading.again()
        self._facts.problems += reading.problems
        if reading.problem is not None and not reading.lists:
            hint = reading.problem.hint or "`posture clusterrole` prints the permissions that posture needs"
            raise CannotJudge(f"nothing can be read from {self.title}: {reading.problem}", hint)

    def _introduce(self) -> None:
        access = self._client.access
        if not access.verified:
            self._problem(access.server, "the server's certificate is not verified: anyone may answer in its place")
        try:
            self._facts.version = _version(self._client.get("/version"))
        except RequestProblem as problem:
            if problem.fatal:
                raise
            self._problem("/version", str(problem))
        else:
            if self._facts.version is None:
                self._problem("/version", "the server names no version")
        path = "/api/v1/namespaces/kube-system"
        try:
            self._facts.cluster = str(self._client.named(path)["metadata"].get("uid") or "")
        except RequestProblem as problem:
            # Where it may be read, a moment's failure must not make another cluster of this one.
            if problem.status not in (403, 404):
                raise
            self._problem(path, f"the cluster has no id: {problem}")

    def _flags(self) -> list[dict[str, Any]]:
        """The flags that bear on admission. Few servers show them and few people may see them: that is no gap.

        Source: KEP-4828; as JSON since Kubernetes 1.35, beta and on since 1.36. The text is made not to be parsed.
        """
        try:
            shown = self._client.get("/flagz", accept=FLAGS_AS_JSON).get("flags")
        except RequestProblem:
            return []
        flags = shown if isinstance(shown, Mapping) else {}
        return [{"metadata": {"name": name}, "value": str(flags[name])} for name in FLAGS if name in flags]

    def _problem(self, place: str, message: str) -> None:
        self._facts.problems.append(Problem(visible(place, 300), message))


def _version(document: Mapping[str, Any]) -> Version | None:
    """The minor version of the server's binary (the emulated one says only which features it hides)."""
    for text in (document.get("gitVersion"), f"{document.get('major')}.{document.get('minor')}"):
        try:
            return Version.parse(str(text))
        except ValueError:
            continue
    return None


class _Reading:
    """One pass over the kinds of a cluster."""

    def __init__(self, client: Client, discovery: Discovery, namespaces: tuple[str, ...], limit: int) -> None:
        self._client = client
        self._discovery = discovery
        self._namespaces = namespaces
        self._limit = limit
        self._lost: RequestProblem | None = None
        self._known: dict[str, set[_Name]] = {}
        self._complete: dict[str, Kind] = {}
        self._stale: set[str] = set()
        self.lists = 0
        self.problem: RequestProblem | None = None
        self.problems: list[Problem] = []

    def read(self, kind: Kind) -> Iterator[Event]:
        """All events of a kind."""
        parts, gaps = self._parts(kind)
        yield from gaps
        if not parts:
            return
        if not self._namespaces:
            yield from self._lists(kind, "", parts)
            return
        names = listed(list(self._namespaces))
        only = (
            f"only namespace {names} was read" if len(self._namespaces) == 1 else f"only namespaces {names} were read"
        )
        if kind.name == NAMESPACES:
            yield from self._named_namespaces()
        elif not kind.namespaced:
            yield Gap(kind.name, "", "not collected", f"{kind.name} are cluster-scoped; {only}")
            return
        else:
            for namespace in self._namespaces:
                yield from self._lists(kind, namespace, parts)
        yield Gap(kind.name, f"!{','.join(self._namespaces)}", "not collected", only)

    def again(self) -> Iterator[Event]:
        """The lists that turned out to lack an object that others refer to, once more."""
        for name, kind in list(self._complete.items()):
            if name in self._stale:
                for namespace in self._namespaces or ("",):
                    yield Restart(name, namespace)
                    yield from self._lists(kind, namespace, self._parts(kind)[0])

    def _parts(self, kind: Kind) -> tuple[list[_Part], list[Gap]]:
        """The lists that make up a kind; none, perhaps with a gap, when it is not served."""
        if kind.resource != "*":
            versions, gap = self._versions(kind, kind.resource)
            names = kind.named or ("",) if versions else ()
            return [_Part(kind.resource, versions, name) for name in names], [gap] if gap else []
        parts: list[_Part] = []
        gaps: list[Gap] = []
        for resource, of in self._discovery.kinds(kind.group).items():
            versions, gap = self._versions(kind, resource)
            parts += [_Part(resource, versions, kind=of)] if versions else []
            gaps += [gap] if gap else []
        if self._discovery.may_serve(kind):
            gaps.append(Gap(kind.name, "", "failed", f"which kinds {kind.group} has is not known: see {API_RESOURCES}"))
        return parts, gaps

    def _versions(self, kind: Kind, resource: str) -> tuple[tuple[str, ...], Gap | None]:
        """The versions of a resource to try, in order; none, perhaps with a gap, when it is not served."""
        name = f"{resource}.{kind.group}" if kind.group else resource
        served = self._discovery.versions.get(name, ())
        readable = tuple(version for version in kind.versions if version in served)
        if readable:
            return readable[:1], None
        if served:
            text = f"{visible(name, 300)} is served only as {visible(', '.join(served), 100)}"
            return (), Gap(kind.name, "", "not modelled", text)
        if self._discovery.may_serve(kind):
            return kind.versions, None
        if kind.group == RBAC:
            return (), Gap(kind.name, "", "failed", "the RBAC API is not served: who may do what is decided elsewhere")
        return (), None

    def _lists(self, kind: Kind, namespace: str, parts: Sequence[_Part]) -> Iterator[Event]:
        for part in parts:
            if self._lost is not None:
                yield self._gap(kind.name, namespace, self._lost)
                return
            yield from self._list(kind, namespace, part)

    def _list(self, kind: Kind, namespace: str, part: _Part) -> Iterator[Event]:
        for version in part.versions:
            root = f"/apis/{kind.group}/{version}" if kind.group else f"/api/{version}"
            path = f"{root}/namespaces/{namespace}/{part.resource}" if namespace else f"{root}/{part.resource}"
            try:
                yield from self._pages(kind, namespace, part, path)
            except RequestProblem as problem:
                if problem.status == 404 and version != part.versions[-1]:
                    continue
                yield Restart(kind.name, namespace, part.called)
                yield self._gap(kind.name, namespace, problem)
            return

    def _pages(self, kind: Kind, namespace: str, part: _Part, path: str) -> Iterator[Event]:
        for page in self._client.pages(path, self._limit, part.name):
            if page.restarted:
                yield Restart(kind.name, namespace, part.called)
            self._note(kind, page.items)
            yield Page(kind.name, namespace, part.typed(page.items), part.called)
        self.lists += 1
        self._complete[kind.name] = kind

    def _named_namespaces(self) -> Iterator[Event]:
        """The namespaces that were asked for, one by one: listing them takes a permission in the whole cluster."""
        found = []
        for name in self._namespaces:
            path = f"/api/v1/namespaces/{name}"
            try:
                if self._lost is not None:
                    raise self._lost
                found.append(self._client.named(path))
            except RequestProblem as problem:
                if problem.status == 404:
                    self.problems.append(Problem(path, f"there is no namespace {name}"))
                else:
                    yield self._gap(NAMESPACES, name, problem)
        yield Page(NAMESPACES, "", found)

    def _gap(self, resource: str, namespace: str, problem: RequestProblem) -> Gap:
        self._lost = self._lost or (problem if problem.fatal else None)
        self.problem = self.problem or problem
        return problem.gap(resource, namespace)

    def _note(self, kind: Kind, items: list[dict[str, Any]]) -> None:
        """Remember what may be referred to, and which lists lack something that is."""
        for reference in REFERENCES:
            if reference.to == kind.name:
                names = {(item["metadata"].get("namespace") or "", item["metadata"]["name"]) for item in items}
                self._known.setdefault(kind.name, set()).update(names)
            if reference.to in self._complete and reference.made_by(kind):
                targets = {reference.target(item) for item in items} - {None}
                if not targets <= self._known[reference.to]:
                    self._stale.add(reference.to)
