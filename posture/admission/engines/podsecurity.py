"""Pod Security Admission: what it asks of each namespace, whose labels set the level and the version.

It is one policy of the level. Since versions are not ordered by strictness, a namespace that asks for another version
than the defaults may ask less of some pods and more of others: for less its label is an exemption, for more a policy
of its own, so that taking the label away is told of the label.

Source: k8s.io/pod-security-admission v0.36.3, admission/admission.go and api/helpers.go; kubernetes v1.36.3,
plugin/pkg/admission/security/podsecurity. Its defaults and exemptions are in a file of the API server that no API
shows: people declare them as `podSecurity` in posture's configuration, and the flags of the API server, where they can
be read, say whether there is such a file. Namespaces with labels that are no valid ones, which it refuses too, are not
asked about here.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from posture.admission.cel import Evaluator
from posture.admission.controls import BASELINE, CONTROLS, PRIVILEGED, RESTRICTED, Level
from posture.admission.pods import mapping, mappings, texts
from posture.admission.policy import (
    ADMITS,
    ANY,
    NONE,
    REFUSES,
    Asked,
    Exemption,
    Policy,
    Shape,
    Space,
    Variant,
    Verdict,
)
from posture.admission.pss import LATEST, clamped, standard, version_of, violations
from posture.admission.requests import Object, Request
from posture.kinds import API_SERVER_FLAGS
from posture.model import Gap, Key, Snapshot, Through

NAME = "podsecurity"
PLUGIN = "PodSecurity"
ENFORCE = "pod-security.kubernetes.io/enforce"
VERSION = f"{ENFORCE}-version"
SETTING = "podSecurity"
PODS = "pods"
READS: tuple[str, ...] = (API_SERVER_FLAGS, PODS)

_EMULATED = re.compile(r"(?:^|[\[,])(?:kube=)?v?1\.([0-9]{1,4})(?![0-9])")
_FILE = "admission-control-config-file"
_GATES = ("UserNamespacesPodSecurityStandards=true", "AllAlpha=true")
_RELAXED = ("procMount", "runAsNonRoot", "runAsUser")
_IGNORED = frozenset({"exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"})
_EPHEMERAL = "ephemeralContainers"
_LEVELS: tuple[Level, ...] = (PRIVILEGED, BASELINE, RESTRICTED)
_STEPS = tuple(sorted({variant.since for control in CONTROLS for variant in control.variants}))
"""The versions in which the standards change: every other one is as the one before it."""


# What is known of the API server ------------------------------------------------------------------------------------


class _Server(NamedTuple):
    """What the flags of the API server say, as far as they can be read; `file` None where they cannot.

    `disabled` is how many of those that were seen run without the plugin, `relaxed` whether a gate of 1.33 and 1.34
    spares pods in a user namespace of their own. `version` is the newest that is known to it.
    """

    version: int
    file: bool | None
    seen: int
    disabled: int
    relaxed: bool

    @classmethod
    def of(cls, snapshot: Snapshot) -> _Server:
        servers = _flags(snapshot)
        binary = snapshot.version.minor if snapshot.version else LATEST
        emulated = [
            int(minor)
            for flags in servers
            for minor in _EMULATED.findall(flags.get("emulated-version", ""))
            if binary >= 34  # before that the plugin did not look at it
        ]
        gates = [word.rpartition(":")[2] for flags in servers for word in _words(flags.get("feature-gates", ""))]
        return cls(
            min([binary, *emulated]),
            any(flags.get(_FILE) for flags in servers) if servers else None,
            len(servers),
            sum(map(_disabled, servers)),
            binary < 35 and any(gate in gates for gate in _GATES),
        )


def _disabled(flags: Mapping[str, str]) -> bool:
    """Also by the old flag that named all plugins that are wanted."""
    wanted = _words(flags.get("admission-control", ""))
    return PLUGIN in _words(flags.get("disable-admission-plugins", "")) or (bool(wanted) and PLUGIN not in wanted)


def _words(value: str) -> list[str]:
    """The items of a list as a flag takes it, `a,b`, or as it is printed, `[a,b]`."""
    return [word for word in re.split(r"[\[\],\s]+", value) if word]


def _flags(snapshot: Snapshot) -> list[dict[str, str]]:
    """The flags of each API server that says them: where one serves them, and in kubeadm's static pods."""
    served = {key.name: str(mapping(content).get("value") or "") for key, content in snapshot.objects(API_SERVER_FLAGS)}
    known = snapshot.derived_from(PODS)
    if NAME not in known:
        there = (Key(PODS, *name) for name in snapshot.index.get(PODS, {}) if name[0] == "kube-system")
        contents = (snapshot.get(key) for key in there)
        known[NAME] = [flags for content in contents if (flags := _arguments(mapping(content)))]
    return [*([served] if served else []), *known[NAME]]


def _arguments(pod: Mapping[str, Any]) -> dict[str, str]:
    """The flags of a pod that is an API server. One that is given twice has both values: lists add up."""
    if mapping(pod.get("labels")).get("component") != "kube-apiserver":
        return {}
    found: dict[str, str] = {}
    for container in mappings(mapping(pod.get("spec")).get("containers")):
        parts = [str(one) for field in ("command", "args") for one in texts(container.get(field))]
        words = " ".join(parts).split()  # a shell's command is one text
        for word, following in pairwise([*words, ""]):
            name, equals, value = word.partition("=")
            if name.startswith("--"):
                value = value if equals else following
                found[name[2:]] = ",".join(filter(None, (found.get(name[2:]), value)))
    return found


# What is declared ---------------------------------------------------------------------------------------------------


class _Declared(NamedTuple):
    """What people say that the file holds; the plugin's own defaults where they say nothing."""

    level: Level = PRIVILEGED
    version: int = LATEST
    namespaces: tuple[str, ...] = ()
    usernames: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, snapshot: Snapshot) -> _Declared | None:
        given = snapshot.settings.get(SETTING)
        if not isinstance(given, dict):
            return None
        defaults, exempt = mapping(given.get("defaults")), mapping(given.get("exemptions"))
        level, version = defaults.get("enforce", PRIVILEGED), defaults.get("enforceVersion", "latest")
        names = (tuple(dict.fromkeys(map(str, texts(exempt.get(field))))) for field in _FIELDS)
        return cls(_level(level), _version(version), *names)


_NAMESPACES = "namespaces"
_EXEMPTS = {
    _NAMESPACES: "exempts the namespace {}",
    "usernames": "exempts what {} makes",
    "runtimeClasses": "exempts pods of the runtime class {}",
}
_FIELDS = tuple(_EXEMPTS)


def _level(text: Any) -> Level:
    """What is no level is the strictest one, as the server takes it."""
    return next((level for level in _LEVELS if level == text), RESTRICTED)


def _version(text: Any) -> int:
    """What is no version is the newest one, as the server takes it."""
    found = version_of(text) if isinstance(text, str) else None
    return LATEST if found is None else found


class _Known(NamedTuple):
    """All that decides beside namespaces."""

    server: _Server
    declared: _Declared | None

    @property
    def doubt(self) -> str:
        """Why nobody can say what the defaults and exemptions are; empty where one can."""
        if self.declared is None and self.server.file:
            return f"the defaults are in the file of --{_FILE}, which is not declared"
        if self.declared is not None and self.server.file is False:
            return f"defaults are declared, but kube-apiserver runs without --{_FILE}"
        return ""


def _known(snapshot: Snapshot) -> _Known:
    return _Known(_Server.of(snapshot), _Declared.of(snapshot))


# What is asked of a namespace ---------------------------------------------------------------------------------------

LEVEL, PIN = 0, 1
"""The numbers of a namespace's own exemptions: the label of the level, and that of the version."""


class _Asks(NamedTuple):
    """A level in a version; in each of several, or where there is a doubt, in one of them."""

    level: Level
    versions: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Rule:
    """A policy as the engine has it. `named` are the numbers of the exemptions in the file, by field and name.

    `pins` is whether it is that of the version: what a namespace's own asks beyond that of the defaults.
    """

    defaults: _Asks
    server: _Server
    doubt: str
    named: Mapping[tuple[str, Any], int]
    everywhere: frozenset[int]
    pins: bool = False

    def asks(self, labels: Mapping[str, Any], without: frozenset[int] = NONE) -> _Asks:
        """What is asked of a namespace with these labels, or without some of them: an exemption only takes out, so that
        without its version a namespace asks what that asks, too.
        """
        level, versions = self.defaults
        if ENFORCE in labels and LEVEL not in without:
            level = _level(labels[ENFORCE])
        if VERSION in labels:
            pinned = _step(_version(labels[VERSION]), self.server.version)
            versions = (*versions, pinned) if PIN in without else (pinned,)
        return _Asks(level, versions)

    def tightens(self, labels: Mapping[str, Any]) -> bool:
        """Whether the version asks more of some pod than the defaults'; not told where nobody knows these."""
        if self.doubt or VERSION not in labels:
            return False
        level, (pinned,) = self.asks(labels)
        return _less(level, self.defaults.versions[0], pinned)

    def loosening(self, labels: Mapping[str, Any]) -> frozenset[int]:
        """The labels that make it less than the defaults; not told where nobody knows these."""
        if self.pins or self.doubt or (ENFORCE not in labels and VERSION not in labels):
            return NONE
        asked, (default, versions) = self.asks(labels), self.defaults
        lower = _LEVELS.index(asked.level) < _LEVELS.index(default)
        levels = {asked.level, default if lower else asked.level}
        older = VERSION in labels and any(_less(level, asked.versions[0], versions[0]) for level in levels)
        return frozenset(number for number, there in ((LEVEL, lower), (PIN, older)) if there)


def _step(version: int, server: int) -> int:
    """The version of the standards that a server evaluates."""
    return _STEPS[bisect_right(_STEPS, clamped(version, server)) - 1]


@lru_cache(maxsize=1024)
def _less(level: Level, version: int, than: int) -> bool:
    """Whether a level in one version asks less of some pod than in another; it may ask more of others."""
    there = [one for _, one in standard(level, version)]
    return not all(
        any(
            one.rule is other.rule and set(one.allowed) <= set(other.allowed) and one.spares in (None, other.spares)
            for one in there
        )
        for _, other in standard(level, than)
    )


# The policy ---------------------------------------------------------------------------------------------------------


def policies(snapshot: Snapshot) -> Iterable[Policy]:
    """That of the level, also where no namespace asks for anything, then that of the version."""
    known = _known(snapshot)
    server, declared = known.server, known.declared or _Declared()
    exemptions = [
        Exemption(Through("Label", "", ENFORCE), (), "lowers the level of the cluster's defaults", local=True),
        Exemption(Through("Label", "", VERSION), (), "asks only for what an older version asks", local=True),
    ]
    names = [(field, name) for field, names in zip(_FIELDS, declared[2:], strict=True) for name in names]
    named = {one: number for number, one in enumerate(names, len(exemptions))}
    exemptions += [_configured(field, name) for field, name in names]
    everywhere = frozenset(number for (field, _), number in named.items() if field != _NAMESPACES)
    if known.doubt:
        defaults = _Asks(PRIVILEGED, tuple(step for step in _STEPS if step <= server.version))
    else:
        defaults = _Asks(declared.level, (_step(declared.version, server.version),))
    some = 0 < server.disabled < server.seen
    rule, content = _Rule(defaults, server, known.doubt, named, everywhere), (*defaults, server.version, server.relaxed)
    made = Policy(
        NAME, Through("Label", "", ENFORCE), (), rule, (*content, known.doubt),
        denies=some or not server.disabled, up=None if some else True, open=some, why=_off(server),
        exemptions=tuple(exemptions), users=bool(declared.usernames), local=True, names=False,
    )  # fmt: skip
    yield made
    if not server.disabled and not known.doubt:
        yield replace(made, through=Through("Label", "", VERSION), rule=replace(rule, pins=True),
                      content=("version", *content), rows={})  # fmt: skip


def _off(server: _Server) -> str:
    if not server.disabled:
        return ""
    return f"{'one ' if server.disabled < server.seen else ''}kube-apiserver runs without the plugin {PLUGIN}"


def _configured(field: str, name: str) -> Exemption:
    through = Through("PodSecurityConfiguration", "", f"exemptions.{field}/{name}")
    shape = {_NAMESPACES: ANY, "usernames": Shape(user=name)}.get(field)
    return Exemption(through, (), _EXEMPTS[field].format(name), shape=shape)


def variant(policy: Policy, space: Space) -> Variant | None:
    """The level and the version that hold in a namespace, and those that would without its own exemptions.

    None where it asks for nothing with or without them, and for what is made in no namespace.
    """
    rule: _Rule = policy.rule
    if not space.name:
        return None
    numbers = rule.everywhere
    if (_NAMESPACES, space.name) in rule.named:
        numbers |= {rule.named[_NAMESPACES, space.name]}
    if rule.doubt and ENFORCE not in space.labels:
        return Variant(None, numbers, rule.doubt)
    if rule.pins and not rule.tightens(space.labels):
        return None
    asked, own = rule.asks(space.labels), rule.loosening(space.labels)
    if own:
        return Variant(_mark(rule.asks(space.labels, own)), numbers | own, within=_mark(asked))
    return None if asked.level == PRIVILEGED else Variant(_mark(asked), numbers)


def _mark(asks: _Asks) -> tuple[Any, ...]:
    """Of nothing there are no versions."""
    return (PRIVILEGED,) if asks.level == PRIVILEGED else asks


def gaps(snapshot: Snapshot) -> Iterator[Gap]:
    """What the flags of the API server say of its file, beside what was declared of it."""
    known = _known(snapshot)
    if known.doubt and known.declared is None:
        said = f"kube-apiserver runs with --{_FILE}, and no API shows that file: "
        wanted = f"declare its defaults and exemptions of Pod Security as `{SETTING}` in posture's configuration"
        yield Gap(NAME, "", "not collected", said + wanted)
    elif known.doubt:
        said = f"posture's configuration declares `{SETTING}`, but kube-apiserver runs without --{_FILE}: "
        yield Gap(NAME, "", "not collected", f"{said}what namespaces without labels of their own ask is unknown")


def strays(snapshot: Snapshot) -> Iterable[Exemption]:  # noqa: ARG001 - every exemption is of the one policy
    """None."""
    return ()


# What a request is told ---------------------------------------------------------------------------------------------

type _Memo = dict[tuple[int, Level, int, bool], bool]
"""Whether a pod, by its identity, violates a level in a version."""


def judged(asked: Sequence[Asked], cel: Evaluator) -> list[Verdict]:  # noqa: ARG001 - nothing here is CEL
    """For each question, in order, whether the pod violates what its namespace asks. Other requests are admitted.

    A request of nobody in particular (`user` None) is one of a user that is not exempt.
    """
    memo: _Memo = {}
    return [_judged(one, memo) if _evaluated(one.request) else ADMITS for one in asked]


def _evaluated(request: Request) -> bool:
    """Whether the plugin looks at a request: it enforces on pods, not on what makes them."""
    return (
        (request.resource.group, request.resource.resource) == ("", PODS)
        and request.operation in ("CREATE", "UPDATE")
        and request.subresource not in _IGNORED
    )


def _judged(asked: Asked, memo: _Memo) -> Verdict:
    """By the labels, then by what the file exempts: each that suffices took the request out."""
    request, rule = asked.request, asked.policy.rule
    pod, before = request.object, request.old
    if pod is None or (before is None and request.operation == "UPDATE"):
        return Verdict(None, "the pod is not known")
    if before is not None and request.operation == "UPDATE" and not _significant(pod, before):
        return ADMITS
    if request.namespace_object is None:
        return Verdict(None, f"namespace {request.namespace} is not known")
    labels = mapping(mapping(request.namespace_object.get("metadata")).get("labels"))
    if rule.doubt and ENFORCE not in labels:
        return Verdict(None, rule.doubt)
    loosening = rule.loosening(labels)

    def told(counted: frozenset[int]) -> Verdict:
        asks = rule.asks(labels, loosening - counted)
        if rule.pins and _told(pod, asks._replace(versions=rule.defaults.versions), rule, memo).refuses:
            return ADMITS
        return _told(pod, asks, rule, memo)

    own, bare = loosening & asked.exemptions, told(NONE)
    found = told(own) if own else bare
    exempt = _exempt(rule, request) & asked.exemptions
    if found.refuses is False and bare.refuses is False:
        return ADMITS
    if found.refuses is False:
        enough = frozenset(number for number in own if told(frozenset({number})).refuses is False)
        return Verdict(False, excused=exempt | (enough or own))
    if exempt:
        return Verdict(None, rule.doubt) if rule.doubt else Verdict(False, excused=exempt)
    return found


def _told(pod: Object, asks: _Asks, rule: _Rule, memo: _Memo) -> Verdict:
    found = {_violates(pod, asks.level, version, rule.server.relaxed, memo) for version in asks.versions}
    if rule.doubt and len(found) > 1:
        return Verdict(None, rule.doubt)
    return REFUSES if True in found else ADMITS


def _violates(pod: Object, level: Level, version: int, relaxed: bool, memo: _Memo) -> bool:
    if level == PRIVILEGED:
        return False
    key = (id(pod), level, version, relaxed)
    if key not in memo:
        spared = _RELAXED if relaxed and mapping(pod.get("spec")).get("hostUsers") is False else ()
        memo[key] = any(one.control not in spared for one in violations(pod, level, version))
    return memo[key]


def _exempt(rule: _Rule, request: Request) -> frozenset[int]:
    """The exemptions that the file names, by exact texts."""
    runtime = mapping(mapping(request.object).get("spec")).get("runtimeClassName")
    made = zip(_FIELDS, (request.namespace, request.user, runtime), strict=True)
    return frozenset(rule.named[one] for one in made if isinstance(one[1], str) and one in rule.named)


def _significant(pod: Object, before: Object) -> bool:
    """Whether an update is looked at: containers came or went, or run another image."""
    now, was = mapping(pod.get("spec")), mapping(before.get("spec"))
    for field in ("containers", "initContainers"):
        images, old = ([one.get("image") or "" for one in mappings(spec.get(field))] for spec in (now, was))
        if images != old:
            return True
    known = {str(one.get("name")): one.get("image") or "" for one in mappings(was.get(_EPHEMERAL))}
    return any(known.get(str(one.get("name"))) != (one.get("image") or "") for one in mappings(now.get(_EPHEMERAL)))
