"""Everything that is judged with beside the cluster: checks, agreed files, owners. Parsed when it is first needed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from importlib.resources.abc import Traversable
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import posture
from posture import cel, files, graph, owners, reading, resources
from posture.config import Config
from posture.drift.agreed import Bound, Objects
from posture.errors import FileError, UsageError
from posture.graph.catalogue import Escalation, escalation_of, unknown_uses
from posture.kinds import BY_KIND, key_of, kind_of, malformed, project
from posture.model import INCOMPLETE, Check, Content, Key, Snapshot, Version
from posture.pipeline import DOMAINS, Rules, domain_of
from posture.text import listed, parse_time, visible

_FOR = re.compile(rb"""(?:^|[\s{,]|\xef\xbb\xbf)["']?for["']?\s*:""")


class Inputs:
    """What a run is judged with. `digest` names it: two runs with the same one judge alike."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.growth: Literal["like-peers", "review"] = config.new_namespaces
        self.peer_labels = config.peer_labels
        self._check_files = [*_shipped_checks()], [*files.yaml_files(resources.checks() / "escalations")]
        self._own_files = [item for folder in config.checks for item in _existing(folder, "a check", files.YAML)]
        suffixes = (*files.YAML, ".json")
        self._baseline_files = [item for path in config.baseline for item in _existing(path, "a baseline", suffixes)]

    @cached_property
    def digest(self) -> str:
        """A hash over posture's version, the settings that matter and every file's bytes."""
        config = self.config
        said = config.pods_by_ip, config.pod_security, config.annotations, cel.installed()
        hasher = hashlib.blake2b(
            repr((posture.__version__, config.new_namespaces, config.peer_labels, said)).encode(), digest_size=16
        )
        own = (*self._check_files[0], *self._check_files[1], *self._own_files)
        for item in (*own, *self._baseline_files, *filter(None, (config.owners, config.register))):
            hasher.update(f"\0{item}\0".encode("utf-8", "surrogateescape"))
            hasher.update(files.data(item))
        return hasher.hexdigest()

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """All checks, by id. Raises FileError for one that is wrong or that another has the id of."""
        return self._read(self._check_files[0], escalations=False)

    @cached_property
    def escalations(self) -> tuple[Escalation, ...]:
        """All escalations, by id. Raises FileError for one that is wrong, or uses another that is not there."""
        found: tuple[Escalation, ...] = self._read(self._check_files[1], escalations=True)
        for identity, used in unknown_uses(found):
            raise FileError(f"the escalation {visible(identity, 100)} uses {visible(used, 100)}, which is not there",
                            "name one of checks/escalations/, or one of your own")  # fmt: skip
        return found

    def _read(self, shipped: Sequence[Traversable], *, escalations: bool) -> tuple[Any, ...]:
        """What is shipped was held against the schema when it was released (tests/test_checks.py), and compiled."""
        made: Callable[[dict[str, Any]], Any] = escalation_of if escalations else check_of
        found: dict[str, tuple[Any, str]] = {}
        for own, item in (*((False, item) for item in shipped), *((True, item) for item in self._own_files)):
            written = files.read(item)
            its = isinstance(written.value, dict) and written.value.get("domain") == graph.NAME
            if own and its != escalations:
                continue
            if own:
                written = files.read(item, "posture.checks", f"{'escalation' if its else 'check'}.schema.json")
            one = made(written.value)
            try:
                if own and not its:
                    domain_of(one.domain).Matcher([one])
            except ValueError as error:  # an address or a port that is none: no schema says that
                raise written.error(["match"], f"cannot be used: {error}", "correct it") from error
            if one.id in found:
                raise written.error(["id"], f"{one.id} is the id of {found[one.id][1]} too", "give it another id")
            found[one.id] = one, written.name
        return tuple(one for _, (one, _) in sorted(found.items()))

    @cached_property
    def owners(self) -> owners.Owners:
        """The organisation's owners file; no rules when there is none."""
        return read_owners(self.config.owners) if self.config.owners else owners.Owners()

    @property
    def rules(self) -> Rules:
        """What people wrote, for a judgement."""
        return Rules(self.checks, self.owners, self.settings, lambda: self.escalations)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What is given beside a cluster's objects: what people say of it, and who evaluates expressions.

        Raises FileError for a register that is wrong.
        """
        config = self.config
        exceptions = {"annotations": config.annotations, "register": read_register(config.register)}
        given = {"podsByIp": config.pods_by_ip, "exceptions": exceptions, "cel": cel.evaluator()}
        return given | ({} if config.pod_security is None else {"podSecurity": config.pod_security})

    @cached_property
    def bounds(self) -> tuple[Bound, ...]:
        """The baseline files that speak for the namespaces they select, or for the cluster."""
        return tuple(read_bound(item) for item in self._baseline_files if item in self._bound_files)

    @cached_property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """The agreed state that baseline paths hold as plain manifests, if they hold any."""
        if not self.manifests:
            return ()
        found = reading.snapshot_of(reading.folder(self.manifests, self.config), self.shipped, offline=True)
        unread = [gap for gap in found.gaps if gap.reason in INCOMPLETE]
        if unread:
            raise FileError(unread[0].message, "what is agreed must be read completely; mend the file")
        return (found,)

    @cached_property
    def manifests(self) -> list[Path]:
        """The files of baseline paths that hold plain manifests."""
        return [item for item in self._baseline_files if item not in self._bound_files]

    @cached_property
    def _bound_files(self) -> frozenset[Path]:
        return frozenset(item for item in self._baseline_files if _is_bound(files.data(item), self.config))

    def shipped(self, version: Version | None) -> Objects:
        """The default objects of the supported minor that is nearest to a version."""
        return shipped(resources.nearest(version))


def _shipped_checks() -> Iterable[Traversable]:
    """The checks of every domain."""
    for domain in DOMAINS:
        yield from files.yaml_files(resources.checks() / domain.NAME)


def _existing(path: Path, what: str, suffixes: tuple[str, ...]) -> Iterable[Path]:
    named = visible(str(path), 300)
    try:
        if not path.exists():
            raise UsageError(f"there is no file or folder {named}", f"it was named as {what}")
        found = [item for item in files.yaml_files(path, suffixes) if isinstance(item, Path)]
        strange = [item for item in found if item.exists() and not item.is_file()]
    except OSError as error:
        raise UsageError(f"cannot read {named}: {error.strerror}", "check the path and its permissions") from error
    if strange:
        raise UsageError(f"{visible(str(strange[0]), 300)} is no file", f"it was named as {what}: write it to a file")
    if not found:
        looked = listed([f"*{suffix}" for suffix in suffixes])
        raise UsageError(f"{named} holds no file that could be {what}", f"looked for {looked}")
    return found


def _is_bound(text: bytes, config: Config) -> bool:
    """Whether a baseline file says `for` what it speaks; one whose start cannot be read might, and then says where."""
    from posture.collect.document import Limits  # noqa: PLC0415 - the parser is needed by few commands
    from posture.collect.manifest import Broken, documents  # noqa: PLC0415

    if not _FOR.search(text):  # spares manifests a second reading
        return False
    limits = Limits(document=config.document_bytes, nodes=config.nodes)
    for number, found in enumerate(documents(BytesIO(text), limits)):
        if isinstance(found, Broken):
            if number == 0:
                return True
        elif isinstance(found.value, dict) and "for" in found.value:
            return True
    return False


def check_of(given: dict[str, Any]) -> Check:
    """A check as its file says it; the value has been held against the schema."""
    versions = given.get("versions") or {}
    since, until = (Version.parse(versions[end]) if end in versions else None for end in ("since", "until"))
    return Check(
        given["id"], given["domain"], given["title"], given.get("can", ""), given["severity"], given["match"],
        " ".join(given["why"].split()), " ".join(given["remedy"].split()), tuple(given.get("references", ())),
        since, until,
    )  # fmt: skip


def read_owners(path: Path) -> owners.Owners:
    """An owners file. Raises FileError."""
    written = files.read(path, "posture", "owners.schema.json")
    given = written.value or {}
    rules = []
    for number, rule in enumerate(given.get("rules", ())):
        match = dict(rule.get("match") or {})
        labels = tuple(sorted((match.pop("labels", None) or {}).items()))
        line = written.line_of(("rules", number))
        rules.append(owners.Rule(rule["owner"], **match, labels=labels, tell=tuple(rule.get("tell", ())), line=line))
    labels = tuple(given.get("labels", owners.TEAM_LABELS))
    return owners.Owners(tuple(rules), labels, given.get("platform", "platform"))


def read_register(path: Path | None) -> list[dict[str, str]]:
    """The rows of a register of exceptions. Raises FileError."""
    if path is None:
        return []
    written = files.read(path, "posture", "register.schema.json")
    rows: list[dict[str, str]] = written.value["exceptions"]
    for number, row in enumerate(rows):
        try:
            parse_time(row.get("expires", "2000-01-01"))
        except ValueError as error:
            raise written.error(
                ["exceptions", number, "expires"], f"{row['expires']} is no date", "write 2027-01-31"
            ) from error
    return rows


APPLIED = "objects are manifests as kubectl apply takes them"


def read_bound(path: Path | Traversable) -> Bound:
    """A baseline file with `for`. Raises FileError, also for a kind that posture does not read."""
    from posture.collect import objects as shapes  # noqa: PLC0415 - the parser is needed by few commands

    written = files.read(path, "posture.baselines", "baseline.schema.json")
    objects: list[tuple[Key, Content]] = []
    for number, raw in enumerate(written.value["objects"]):
        kind = kind_of(raw["apiVersion"].rpartition("/")[0], raw["kind"])
        if kind is None:
            raise written.error(["objects", number, "kind"], f"{raw['kind']} is no kind that posture reads", APPLIED)
        try:
            wrong = malformed(kind, raw) or shapes.misshapen(kind, raw)
            given = {} if wrong else shapes.normal(kind, raw, home="")
            content = {} if wrong else project(kind, given)
        except (AttributeError, KeyError, TypeError, ValueError):
            wrong = "a field has not the type that the API requires"
        if wrong:
            raise written.error(["objects", number], wrong, APPLIED)
        objects.append((key_of(kind, given), content))
    return Bound(written.name, written.value["for"].get("namespaceSelector"), tuple(objects))


@lru_cache(maxsize=8)
def shipped(version: Version) -> Objects:
    """The default roles and bindings of a supported minor."""
    from posture.collect.manifest import Document, documents  # noqa: PLC0415 - the parser is needed by few commands

    found: list[tuple[Key, Content]] = []
    data = (resources.baselines() / "defaults" / f"{version}.yaml").read_bytes()
    for document in documents(BytesIO(data)):
        assert isinstance(document, Document)
        raw = document.value
        kind = BY_KIND[raw["apiVersion"].rpartition("/")[0], raw["kind"]]
        key = Key(kind.name, raw["metadata"].get("namespace", ""), raw["metadata"]["name"])
        found.append((key, project(kind, raw)))
    return tuple(found)
