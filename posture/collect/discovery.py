"""Which resources an API server serves, in which versions.

One document for all groups (aggregated discovery, KEP-3352); where a server or something in front of it does not know
that, one document for each group and version, as before Kubernetes 1.26.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from posture.collect import api_resource
from posture.collect.client import JSON, Client
from posture.collect.problem import RequestProblem
from posture.kinds import API_RESOURCES, Kind
from posture.model import Gap
from posture.text import visible

_AGGREGATED = "g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
ACCEPT = ",".join([f"{JSON};{_AGGREGATED.format('v2')}", f"{JSON};{_AGGREGATED.format('v2beta1')}", JSON])
CORE = ""
"""The name of the group that /api serves."""


class Discovery(NamedTuple):
    """What is served: `versions` by GroupResource, the server's preferred one first.

    `resources` are the objects of `apiresources`, sorted by name. `unknown` holds the groups of which something may be
    served that discovery did not name; "*" is every group. `gaps` say why.
    """

    versions: Mapping[str, tuple[str, ...]]
    resources: list[dict[str, Any]]
    unknown: frozenset[str]
    gaps: tuple[Gap, ...]

    def may_serve(self, kind: Kind) -> bool:
        """Whether the server may serve a kind that discovery does not name."""
        return "*" in self.unknown or kind.group in self.unknown

    def over(self, before: Discovery) -> Discovery:
        """The same, completed by what was known before of groups that cannot be asked now: they are not gone."""

        def lacking(name: str) -> bool:
            return name not in self.versions and ("*" in self.unknown or name.partition(".")[2] in self.unknown)

        versions = {name: served for name, served in before.versions.items() if lacking(name)}
        resources = [each for each in before.resources if lacking(each["metadata"]["name"])]
        merged = sorted([*self.resources, *resources], key=lambda each: each["metadata"]["name"])
        return self._replace(versions={**versions, **self.versions}, resources=merged)

    def kinds(self, group: str) -> dict[str, str]:
        """The kinds of a group by their resources, those that discovery names."""
        names = ((each["metadata"]["name"].partition("."), each["kind"]) for each in self.resources)
        return {resource: kind for (resource, _, of), kind in names if of == group}


def discover(client: Client) -> Discovery:
    """Ask an API server what it serves. A part that cannot be read is a gap, and its groups are unknown.

    Raises RequestProblem only where asking anything else is pointless.
    """
    found = _Reading(client)
    for root, group, what in (("/api", CORE, "the core group"), ("/apis", "*", "all other groups")):
        try:
            found.read(root)
        except RequestProblem as problem:
            if problem.fatal:
                raise
            found.miss(group, problem, what)
    return found.result()


def unchanged(client: Client) -> bool | None:
    """Whether a server serves what it did when this client last asked; None where only reading it all tells.

    Raises RequestProblem.
    """
    said = [client.unchanged(root, accept=ACCEPT) for root in ("/api", "/apis")]
    return None if None in said else all(said)


class _Reading:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._versions: dict[str, list[str]] = {}
        self._objects: dict[str, dict[str, Any]] = {}
        self._unknown: set[str] = set()
        self._gaps: list[Gap] = []

    def result(self) -> Discovery:
        return Discovery(
            {name: tuple(versions) for name, versions in self._versions.items()},
            [self._objects[name] for name in sorted(self._objects)],
            frozenset(self._unknown),
            tuple(self._gaps),
        )

    def _serve(self, group: str, version: str, resource: str, kind: str, *, namespaced: bool) -> None:
        found = api_resource(str(resource), str(group), str(kind), namespaced=namespaced)
        name = found["metadata"]["name"]
        self._objects.setdefault(name, found)
        self._versions.setdefault(name, []).append(str(version))

    def miss(self, group: str, problem: RequestProblem, what: str) -> None:
        self._unknown.add(group)
        self._gaps.append(problem.gap(API_RESOURCES, "", f"discovery of {visible(what, 200)}"))

    def read(self, root: str) -> None:
        document = self._client.get(root, accept=ACCEPT)
        try:
            if document.get("kind") == "APIGroupDiscoveryList":
                for item in document.get("items") or ():
                    self._aggregated(item)
            elif root == "/api":
                for version in document["versions"]:
                    self._alone(CORE, version, f"/api/{version}")
            else:
                for group in document["groups"]:
                    for version in _preferred_first(group):
                        self._alone(group["name"], version, f"/apis/{group['name']}/{version}")
        except (KeyError, TypeError, AttributeError) as error:
            raise RequestProblem(f"GET {root}: the answer is no discovery document") from error
        if root == "/api" and not self._objects:
            raise RequestProblem(f"GET {root}: the answer names no core resources")

    def _aggregated(self, item: Mapping[str, Any]) -> None:
        group = item["metadata"].get("name", CORE)
        for version in item["versions"]:
            if version.get("freshness") == "Stale":
                problem = RequestProblem("the API server behind it does not answer")
                self.miss(group, problem, f"{group}/{version['version']}")
            for each in version.get("resources") or ():
                kind = (each.get("responseKind") or {}).get("kind", "")
                namespaced = each["scope"] == "Namespaced"
                self._serve(group, version["version"], each["resource"], kind, namespaced=namespaced)

    def _alone(self, group: str, version: str, path: str) -> None:
        try:
            document = self._client.get(path)
        except RequestProblem as problem:
            if problem.fatal:
                raise
            self.miss(group, problem, f"{group}/{version}" if group else version)
            return
        for each in document["resources"]:
            if "/" not in each["name"]:  # a subresource
                self._serve(group, version, each["name"], each["kind"], namespaced=bool(each["namespaced"]))


def _preferred_first(group: Mapping[str, Any]) -> Iterator[str]:
    preferred = (group.get("preferredVersion") or {}).get("version")
    names = [each["version"] for each in group["versions"]]
    yield from sorted(names, key=lambda name: name != preferred)
