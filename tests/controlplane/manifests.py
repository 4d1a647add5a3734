"""Manifest folders into a running server, fast and in an order that the server takes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import yaml

from tests.controlplane.client import Client, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Object = dict[str, Any]

THREADS: Final = 8
SETTLE_SECONDS: Final = 15.0
SUFFIXES: Final = (".yaml", ".yml", ".json")

# What must be there before the rest, and what may refuse the rest, as quota and policies do, after it.
ORDER: Final = {
    "Namespace": 0,
    "CustomResourceDefinition": 1,
    "Pod": 3,
    "ResourceQuota": 4,
    "ValidatingAdmissionPolicy": 5,
    "ValidatingAdmissionPolicyBinding": 5,
    "MutatingAdmissionPolicy": 5,
    "MutatingAdmissionPolicyBinding": 5,
    "ValidatingWebhookConfiguration": 5,
    "MutatingWebhookConfiguration": 5,
}
OTHERS: Final = 2

# What the server writes itself and refuses, or takes as a condition, in an object that is applied.
SERVERS_OWN: Final = (
    "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
    "managedFields", "selfLink",
)  # fmt: skip
STATUS_OF_SERVER: Final = ("Namespace", "CustomResourceDefinition", "APIService")
NOT_SERVED: Final = "the server does not have this kind"


class LoadError(RuntimeError):
    """Some objects were refused; the message names the first ten of them with the server's reasons."""


class _Loader(yaml.SafeLoader):
    """Leaves timestamps as the text that they are in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_manifests(path: Path) -> list[Object]:
    """Reads the objects of a file, or of all YAML and JSON files below a folder in the order of their paths.

    Lists are taken apart. LoadError for a document that is no Kubernetes object; OSError and yaml.YAMLError pass.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
    if not files:
        raise LoadError(f"{path}: no {', '.join(SUFFIXES)} file there")
    return [found for file in files for document in _documents(file) for found in _objects(document, file)]


def _documents(file: Path) -> Iterator[Any]:
    with file.open(encoding="utf-8") as text:
        yield from (document for document in yaml.load_all(text, Loader=_Loader) if document is not None)


def _objects(document: Any, file: Path) -> Iterator[Object]:
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str) or "apiVersion" not in document:
        raise LoadError(f"{file}: a document has no apiVersion and kind")
    if document["kind"].endswith("List") and isinstance(document.get("items"), list):
        for item in document["items"]:
            # The items of a typed list (PodList) need not repeat what the list says.
            filled = {"apiVersion": document["apiVersion"], "kind": document["kind"].removesuffix("List"), **item}
            yield from _objects(filled, file)
    else:
        yield document


def apply(client: Client, token: str, objects: Iterable[Object], *, manager: str) -> int:
    """Applies objects server-side as a field manager and gives how many there were.

    Objects that only differ in what the server fills in are unchanged by it. A `status` in a manifest is written too,
    because nobody else writes one here. Refusals that pass by themselves (a resource that is not served yet, a default
    ServiceAccount that is not there yet) are tried again for a bounded time. LoadError if any object was refused.
    """
    steps: dict[int, list[Object]] = {}
    for found in objects:
        steps.setdefault(ORDER.get(found["kind"], OTHERS), []).append(found)
    applier = _Applier(client, token, manager)
    with ThreadPoolExecutor(THREADS) as pool:
        for step in sorted(steps):
            # One for the step: a thousand objects of a kind that nobody serves must not wait one after the other.
            deadline = time.monotonic() + SETTLE_SECONDS
            refused = [text for text in pool.map(applier.put, steps[step], repeat(deadline)) if text]
            if refused:
                more = f"\nand {len(refused) - 10} more" if len(refused) > 10 else ""
                raise LoadError(
                    f"{len(refused)} of {len(steps[step])} objects refused:\n" + "\n".join(refused[:10]) + more
                )
    return sum(len(found) for found in steps.values())


class _Applier:
    def __init__(self, client: Client, token: str, manager: str) -> None:
        self._client = client
        self._token = token
        self._query = f"?fieldManager={quote(manager, safe='')}&force=true"
        self._served: dict[str, dict[str, Object]] = {}

    def put(self, found: Object, deadline: float) -> str:
        """Applies one object, again until the deadline; gives nothing, or the sentence that says why it was refused."""
        metadata = found.get("metadata") or {}
        name = metadata.get("name") or metadata.get("generateName")
        while True:
            try:
                self._put(found)
            except RefusedError as error:
                if not _passes(error) or time.monotonic() > deadline:
                    return f"{found['kind']} {metadata.get('namespace', '')}/{name}: {error}"
                self._served.pop(found["apiVersion"], None)
                time.sleep(0.1)
            else:
                return ""

    def _put(self, found: Object) -> None:
        resource = self._resource(found["apiVersion"], found["kind"])
        metadata = {key: value for key, value in (found.get("metadata") or {}).items() if key not in SERVERS_OWN}
        sent = {key: value for key, value in found.items() if key != "status"} | {"metadata": metadata}
        where = f"/namespaces/{quote(metadata.get('namespace') or 'default')}" if resource["namespaced"] else ""
        path = f"{_root(found['apiVersion'])}{where}/{resource['name']}"
        if "name" not in metadata and "generateName" in metadata:
            self._client.request("POST", f"{path}{self._query.partition('&')[0]}", sent, token=self._token)
            return
        path += f"/{quote(str(metadata.get('name', '')))}"
        self._patch(path, sent)
        if found.get("status") and resource["status"] and found["kind"] not in STATUS_OF_SERVER:
            named = {key: metadata[key] for key in ("name", "namespace") if key in metadata}
            status = {key: found[key] for key in ("apiVersion", "kind", "status")} | {"metadata": named}
            self._patch(f"{path}/status", status)

    def _patch(self, path: str, body: Object) -> None:
        kind = {"Content-Type": "application/apply-patch+yaml"}  # which any JSON is, too
        self._client.request("PATCH", path + self._query, body, token=self._token, headers=kind)

    def _resource(self, version: str, kind: str) -> Object:
        """Finds out how the server calls a kind: {name, namespaced, status: whether it has that subresource}."""
        served = self._served.get(version)
        if served is None:  # or another thread is looking too, or found that it has to look again
            try:
                listed = self._client.request("GET", _root(version), token=self._token)["resources"]
            except RefusedError as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    raise RefusedError(error.status, f"{NOT_SERVED}: {version}") from error
                raise
            names = {resource["name"] for resource in listed}
            served = self._served[version] = {
                resource["kind"]: {**resource, "status": f"{resource['name']}/status" in names}
                for resource in listed
                if "/" not in resource["name"]
            }
        if kind not in served:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"{NOT_SERVED}: {version} {kind}")
        return served[kind]


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _passes(error: RefusedError) -> bool:
    """Says whether a refusal may pass by itself: the handler of a new CRD and a default account take a moment."""
    text = str(error)
    waits_for_resource = error.status == 404 and (NOT_SERVED in text or "404 page not found" in text)
    waits_for_account = error.status == 403 and "error looking up service account" in text
    return waits_for_resource or waits_for_account or error.status in (429, 503)
