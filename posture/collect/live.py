"""A live cluster, read only: what is listed, in which order, and what could not be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from posture.collect import Event, Facts, Page, Problem, Restart
from posture.collect.access import Access
from posture.collect.client import JSON, Client, ahead
from posture.collect.collection import NAMESPACES, Collection, collections_of, pages_of
from posture.collect.discovery import Discovery, discover
from posture.collect.problem import RequestProblem
from posture.errors import CannotJudge, UsageError
from posture.kinds import API_RESOURCES, API_SERVER_FLAGS, KINDS, Kind
from posture.model import Version
from posture.text import visible

PODS, SERVICE_ACCOUNTS = "pods", "serviceaccounts"
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


class LiveSource:
    """A cluster as a Source. With `namespaces` only these are read, and all else is a gap `not collected`."""

    def __init__(
        self, client: Client, *, namespaces: Sequence[str] = (), kinds: Sequence[Kind] = KINDS, limit: int = 500
    ) -> None:
        """`limit` is the number of objects in a page. Raises UsageError for a name that no namespace can have."""
        self._client = client
        self._namespaces = namespaces_of(namespaces)
        self._kinds = tuple(kinds)
        self._limit = limit
        self._facts = Facts(name=client.access.name)

    @property
    def title(self) -> str:
        """The cluster's name and address."""
        return title_of(self._client.access)

    @property
    def facts(self) -> Facts:
        """See Source. The cluster's id is the uid of the namespace kube-system, "" without permission to read it."""
        return self._facts

    def events(self) -> Iterator[Event]:
        """See Source. The next page is read while the caller works on one; who stops early closes the client."""
        return ahead(self._events(), self._client.close)

    def _events(self) -> Iterator[Event]:
        try:
            self._facts = introduced(self._client)
            discovery = discover(self._client)
        except RequestProblem as problem:
            raise CannotJudge(str(problem), problem.hint) from problem
        if discovery.resources:
            yield Page(API_RESOURCES, "", discovery.resources)
        yield from discovery.gaps
        if flags := flags_of(self._client):
            yield Page(API_SERVER_FLAGS, "", flags)
        reading = _Reading(self._client, discovery, self._namespaces, self._limit)
        for kind in self._kinds:
            yield from reading.read(kind)
        yield from reading.again()
        self._facts.problems += reading.problems
        if reading.problem is not None and not reading.lists:
            hint = reading.problem.hint or "`posture clusterrole` prints the permissions that posture needs"
            raise CannotJudge(f"nothing can be read from {self.title}: {reading.problem}", hint)


def namespaces_of(names: Sequence[str]) -> tuple[str, ...]:
    """Names of namespaces, sorted, each once. Raises UsageError for a name that no namespace can have."""
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise UsageError(f"{visible(name, 100)} is no name of a namespace")
    return tuple(sorted(set(names)))


def title_of(access: Access) -> str:
    """A cluster's name and address, for people."""
    name, server = visible(access.name, 200), visible(access.server, 200)
    return name if name in server else f"{name} ({server})"


def introduced(client: Client) -> Facts:
    """What a server says about itself and its cluster. Raises RequestProblem where it is of no use to go on."""
    access, facts = client.access, Facts(name=client.access.name)

    def note(place: str, message: str) -> None:
        facts.problems.append(Problem(visible(place, 300), message))

    if not access.verified:
        note(access.server, "the server's certificate is not verified: anyone may answer in its place")
    try:
        facts.version = version_of(client)
    except RequestProblem as problem:
        if problem.fatal:
            raise
        note("/version", str(problem))
    else:
        if facts.version is None:
            note("/version", "the server names no version")
    path = "/api/v1/namespaces/kube-system"
    try:
        facts.cluster = str(client.named(path)["metadata"].get("uid") or "")
    except RequestProblem as problem:
        # Where it may be read, a moment's failure must not make another cluster of this one.
        if problem.status not in (403, 404):
            raise
        note(path, f"the cluster has no id: {problem}")
    return facts


def flags_of(client: Client) -> list[dict[str, Any]]:
    """The flags that bear on admission. Few servers show them and few people may see them: that is no gap.

    Source: KEP-4828; as JSON since Kubernetes 1.35, beta and on since 1.36. The text is made not to be parsed.
    """
    try:
        shown = client.get("/flagz", accept=FLAGS_AS_JSON).get("flags")
    except RequestProblem:
        return []
    flags = shown if isinstance(shown, Mapping) else {}
    return [{"metadata": {"name": name}, "value": str(flags[name])} for name in FLAGS if name in flags]


def version_of(client: Client) -> Version | None:
    """The minor version of the server; None when it names none. Raises RequestProblem."""
    return _version(client.get("/version"))


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
        collections, gaps = collections_of(kind, self._discovery, self._namespaces)
        yield from self._lists(kind, collections)
        yield from gaps

    def again(self) -> Iterator[Event]:
        """The lists that turned out to lack an object that others refer to, once more."""
        for name, kind in list(self._complete.items()):
            if name in self._stale:
                yield from self._lists(kind, collections_of(kind, self._discovery, self._namespaces)[0], again=True)

    def _lists(self, kind: Kind, collections: Sequence[Collection], *, again: bool = False) -> Iterator[Event]:
        for one in collections:
            if again:
                yield Restart(*one.listing)
            try:
                if self._lost is not None:
                    raise self._lost
                yield from self._list(kind, one)
            except RequestProblem as problem:
                yield Restart(*one.listing)
                self._lost = self._lost or (problem if problem.fatal else None)
                self.problem = self.problem or problem
                yield one.gap(problem)

    def _list(self, kind: Kind, one: Collection) -> Iterator[Event]:
        for _, page in pages_of(self._client, one, self._limit):
            if page.restarted:
                yield Restart(*one.listing)
            if one.alone and not page.items:
                self.problems.append(Problem(one.paths[0], f"there is no namespace {one.listing.part}"))
            self._note(kind, page.items)
            yield Page(one.listing.resource, one.listing.namespace, page.items, one.listing.part)
        if not one.alone:
            self.lists += 1
            self._complete[kind.name] = kind

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
