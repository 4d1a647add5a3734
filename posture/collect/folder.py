"""Folders of manifests, files and standard input as a source: what `kubectl apply -R -f` would send, and what not.

What posture does not read is counted and never kept. What it cannot read becomes a gap of what may be in it.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from posture.collect import Event, Facts, Page, Problem, ReadProblem, body_of, entry_of, objects
from posture.collect.document import Limits
from posture.collect.manifest import Broken, Cache, Document, documents
from posture.errors import UsageError
from posture.kinds import API_RESOURCES, BY_NAME, Kind, called, key_of, malformed
from posture.model import Gap, GapReason, Key
from posture.text import count, listed, visible

STDIN = "-"
PAGE = 500
_SUFFIXES = (".yaml", ".yml", ".json")
_WANTED = (*_SUFFIXES, *(suffix + ".gz" for suffix in _SUFFIXES))
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_KUSTOMIZE = "kustomize.config.k8s.io/"
_SKIPPED = ".git"  # a folder that nobody can commit
_NAME_A_PATH = "name a manifest, a folder of manifests, or - for standard input"


class FolderSource:
    """Manifests as a Source. Every path is a folder, a file of any name, or `-` for standard input.

    Folders are read recursively and sorted, as kubectl does: files named *.yaml, *.yml and *.json, also with .gz, and
    hidden ones too, since kubectl sends them. `cache` is shared by the sources of one run.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        *,
        limits: Limits | None = None,
        stdin: BinaryIO | None = None,
        cache: Cache | None = None,
    ) -> None:
        self._paths = tuple(paths)
        self._limits = limits or Limits()
        self._stdin = stdin
        self._cache = cache or Cache()
        self._facts = Facts()

    @property
    def title(self) -> str:
        """The paths."""
        return listed([_shown(path) for path in self._paths])

    @property
    def facts(self) -> Facts:
        """The uid of the namespace kube-system, if it is among the objects, and what a person may want to mend."""
        return self._facts

    def events(self) -> Iterator[Event]:
        """Pages of every kind mixed, and gaps. Raises UsageError when a path does not exist or holds nothing."""
        facts = self._facts = Facts()
        inputs = [found for path in self._paths for found in _inputs(path, facts.problems)]
        reading = _Reading(facts)
        for found in inputs:
            yield from self._read(found, reading)
        yield from reading.finish()
        if not reading.found:
            raise UsageError(
                f"{self.title} holds no Kubernetes object",
                "every object needs apiVersion and kind; templates and kustomizations must be rendered first",
            )

    def _read(self, found: _Input, reading: _Reading) -> Iterator[Event]:
        if found.trouble:
            yield from reading.broken(found.name, Broken(1, found.trouble, None))
        elif found.path is None:
            stream = self._stdin or sys.stdin.buffer
            yield from reading.file(found.name, documents(stream, self._limits, self._cache))
        else:
            try:
                with found.path.open("rb") as stream:
                    yield from reading.file(found.name, documents(stream, self._limits, self._cache))
            except OSError as error:
                yield from reading.broken(found.name, Broken(1, f"cannot be read: {error.strerror}", None))


class _Input(NamedTuple):
    """Something to read: `path` None is standard input. `trouble` says why it cannot be opened."""

    name: str
    path: Path | None
    trouble: str = ""


def _shown(path: Path | str) -> str:
    return "stdin" if str(path) == STDIN else visible(str(path), 300)


def _inputs(path: Path | str, problems: list[Problem]) -> list[_Input]:
    """What a path that a person named stands for. Raises UsageError when that is nothing."""
    name = _shown(path)
    if str(path) == STDIN:
        return [_Input(name, None)]
    path = Path(path)
    try:
        if not path.is_dir():
            mode = path.stat().st_mode
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):  # it may never end
                raise UsageError(f"{name} is a device", _NAME_A_PATH)
            return [_Input(name, path)]
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise UsageError(f"there is no file or folder {name}", _NAME_A_PATH) from error
    except OSError as error:
        return [_Input(name, path, f"cannot be read: {error.strerror}")]
    found = list(_walk(path, problems))
    if not found:
        raise UsageError(f"{name} holds no manifest", f"looked for {', '.join('*' + end for end in _WANTED)} in it")
    return found


def _walk(root: Path, problems: list[Problem]) -> Iterator[_Input]:
    """The manifests in a folder in kubectl's order, but for those of Git itself.

    Links to folders are not followed, as kubectl does not.
    """
    stack = [root]
    while stack:
        path = stack.pop()
        wanted = path.name.endswith(_WANTED)
        try:
            mode = path.lstat().st_mode
            if path is root or stat.S_ISDIR(mode):
                if path is root or path.name != _SKIPPED:
                    stack += sorted(path.iterdir(), reverse=True)
                continue
            if stat.S_ISLNK(mode):
                mode = path.stat().st_mode
        except OSError as error:
            if wanted or not path.is_symlink():
                yield _Input(_shown(path), path, f"cannot be read: {error.strerror}")
            continue
        if stat.S_ISDIR(mode):
            problems.append(Problem(_shown(path), "a link to a folder is not followed: name the folder itself"))
        elif wanted:
            yield _Input(_shown(path), path, "" if stat.S_ISREG(mode) else "is no regular file")


class _Reading:
    """One pass over all inputs: what was seen so far, and the pages that are being filled."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.found = False  # an object of any kind, or a gap that may hold one
        self._pages: dict[str, list[dict[str, Any]]] = {}
        self._seen: dict[Key, tuple[bytes, str, tuple[Any, ...]]] = {}
        self._unread: dict[tuple[str, str], list[str]] = {}
        self._strangers: list[str] = []
        self._homeless: list[str] = []

    def file(self, name: str, parts: Iterator[Document | Broken]) -> Iterator[Event]:
        """Everything in one input."""
        for part in parts:
            if isinstance(part, Broken):
                yield from self.broken(name, part)
                continue
            for remark in part.remarks:
                self._problem(f"{name}:{remark.line}", remark.message)
            if part.value is not None:
                for raw, line in objects.unfold(part):
                    yield from self._object(raw, f"{name}:{line}")
        self._sum_up(Path(name).name)

    def broken(self, name: str, broken: Broken) -> Iterator[Gap]:
        """A text that cannot be read: a gap of every kind that it may hold."""
        place, reason = f"{name}:{broken.line}", broken.reason
        if broken.text and b"{{" in broken.text:
            reason += " (if this is a template, render it first)"
        self._problem(place, reason)
        for resource in sorted(objects.hidden(broken.text)):
            self.found = True
            yield Gap(resource, "", broken.gap, visible(f"{place}: {reason}"))

    def finish(self) -> Iterator[Page]:
        """The pages that are not full yet."""
        for resource in sorted(self._pages):
            yield Page(resource, "", self._pages[resource])
        for (kind, version), places in sorted(self._unread.items()):
            number = count(len(places), "object")
            self._problem(places[0], f"{number} of kind {kind} ({version}) not read: posture does not judge this kind")

    def _problem(self, place: str, message: str) -> None:
        self.facts.problems.append(Problem(place, visible(message)))

    def _sum_up(self, base: str) -> None:
        if self._strangers:
            others = f"{count(len(self._strangers), 'document')} without apiVersion and kind: no Kubernetes object"
            if base in _KUSTOMIZATIONS:
                others = "a kustomization is not built here: read the output of `kubectl kustomize` instead"
            self._problem(self._strangers[0], others)
        if self._homeless:
            without = f"{count(len(self._homeless), 'object')} without a namespace: taken as `default`"
            self._problem(self._homeless[0], without)
        self._strangers, self._homeless = [], []

    def _object(self, raw: Any, place: str) -> Iterator[Event]:
        kind, version = (raw.get("kind"), raw.get("apiVersion")) if isinstance(raw, dict) else (None, None)
        version = version if isinstance(version, str) else ""
        if not isinstance(kind, str) or not kind:
            self._strangers.append(place)
        elif meant := objects.meant(version, kind):
            if objects.wanted(meant, raw):
                yield from self._known(meant, version, raw, place)
            self.found = True
        elif kind == objects.DEFINITION and version.startswith(objects.DEFINITION_GROUP):
            yield from self._definition(raw, place)
        elif near := objects.nearly(version, kind):
            yield from self._misspelt(near, version, raw, place)
        elif "items" in raw and objects.names_list(raw):
            yield from self._misshapen_list(version, kind, place)
        elif not version or version.startswith(_KUSTOMIZE):
            self._strangers.append(place)
        else:
            self.found = True
            self._unread.setdefault((kind, version), []).append(place)

    def _refuse(
        self, resource: str, namespace: str, place: str, why: str, reason: GapReason = "failed"
    ) -> Iterator[Gap]:
        self.found = True
        self._problem(place, why)
        yield Gap(resource, namespace, reason, visible(f"{place}: {why}"))

    def _misspelt(self, resource: str, version: str, raw: Mapping[str, Any], place: str) -> Iterator[Gap]:
        known = BY_NAME.get(resource)
        if known and not objects.wanted(known, raw):
            return
        right = (known.group if known.kind == "*" else known.kind) if known else objects.DEFINITION
        why = f"{visible(version, 80)} has no kind {visible(repr(raw['kind']), 80)}: it is written {right}"
        yield from self._refuse(resource, _namespace(known, raw) if known else "", place, why)

    def _misshapen_list(self, version: str, kind: str, place: str) -> Iterator[Gap]:
        item = objects.meant(version, kind.removesuffix("List"))
        yield from self._refuse(item.name if item else "*", "", place, f"the items of this {kind} are not a list")

    def _known(self, kind: Kind, version: str, raw: Mapping[str, Any], place: str) -> Iterator[Event]:
        served = objects.served(kind)
        if version not in served:
            # Kubernetes refuses another version of its own kinds; a custom resource may well have one more.
            reason: GapReason = "not modelled" if kind.custom else "failed"
            is_known = "known" if kind.custom else "served"
            why = f"{_called(kind, raw)}: the kind is {is_known} as {listed(served)}, not as {version or 'nothing'}"
            yield from self._refuse(kind.name, _namespace(kind, raw), place, why, reason)
            return
        try:
            why = _unnamed(raw) or malformed(kind, raw) or objects.misshapen(kind, raw)
            if not why:
                given = objects.normal(kind, raw)
                digest, _ = body_of(kind, given)
                entry_of(digest, given["metadata"])
        except (AttributeError, KeyError, TypeError, ValueError, ReadProblem):
            why = "a field has not the type that the API requires"
        if why:
            yield from self._refuse(kind.name, _namespace(kind, raw), place, f"{_called(kind, raw)}: {why}")
            return
        if kind.namespaced and not raw["metadata"].get("namespace"):
            self._homeless.append(place)
        metadata = given["metadata"]
        key = key_of(kind, given)
        if key == ("namespaces", "", "kube-system"):
            self.facts.cluster = metadata.get("uid") or ""
        yield from self._keep(key, given, digest, place)

    def _definition(self, raw: Mapping[str, Any], place: str) -> Iterator[Event]:
        """A CustomResourceDefinition: what it defines, as discovery would name it."""
        item = objects.defined(raw)
        if isinstance(item, str):
            yield from self._refuse(API_RESOURCES, "", place, f"{objects.DEFINITION}: {item}")
            return
        digest, _ = body_of(None, item)
        yield from self._keep(Key(API_RESOURCES, "", item["metadata"]["name"]), item, digest, place)

    def _keep(self, key: Key, raw: dict[str, Any], digest: bytes, place: str) -> Iterator[Event]:
        """An object, unless it would change of an earlier one what the server lets nobody change."""
        self.found = True
        earlier, fixed = self._seen.get(key), objects.fixed(key.resource, raw)
        if earlier is not None:
            resource, _, name = called(key)
            twice = f"{'/'.join(filter(None, (resource, key.namespace, name)))} is also at {earlier[1]}"
            if earlier[2] != fixed:
                field = "scope" if key.resource == API_RESOURCES else "roleRef"
                why = f"{twice}, with another {field}: the server refuses the later one"
                yield from self._refuse(key.resource, key.namespace, place, why)
                return
            what = "the same again" if earlier[0] == digest else "with other content: the last one counts"
            self._problem(place, f"{twice}, {what}")
        self._seen[key] = digest, place, fixed
        page = self._pages.setdefault(key.resource, [])
        page.append(raw)
        if len(page) >= PAGE:
            del self._pages[key.resource]
            yield Page(key.resource, "", page)


def _namespace(kind: Kind, raw: Mapping[str, Any]) -> str:
    """Where an object that cannot be read may be: "" is anywhere."""
    metadata = raw.get("metadata")
    if not kind.namespaced or not isinstance(metadata, dict):
        return ""
    namespace = metadata.get("namespace") or "default"
    return namespace if isinstance(namespace, str) else ""


def _called(kind: Kind, raw: Mapping[str, Any]) -> str:
    """An object that may have no name, for people."""
    metadata = raw.get("metadata")
    given = [metadata.get(field) for field in ("namespace", "name")] if isinstance(metadata, dict) else []
    name = "/".join(part for part in given if isinstance(part, str) and part)
    which = visible(raw["kind"], 80) if kind.kind == "*" else kind.kind
    return f"{which} {visible(name, 200)}" if name else which


def _unnamed(raw: Mapping[str, Any]) -> str:
    metadata = raw.get("metadata")
    if isinstance(metadata, dict) and not metadata.get("name") and metadata.get("generateName"):
        return "generateName without a name: the server names it when it is created, so nobody can follow it"
    return ""
