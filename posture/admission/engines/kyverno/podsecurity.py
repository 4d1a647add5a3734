"""A rule with `podSecurity`: the Pod Security Standards as Kyverno evaluates them, and what it leaves out of them.

Source: kyverno v1.19.0, pkg/pss/evaluate.go and utils/mapping.go, with its fork of the library of 1.34. It is not Pod
Security Admission: at `restricted` the baseline's controls are asked too, even those that a stricter one takes the
place of, and before the version in which a control came its first form is asked. Releases differ in what a version
pins, and in whether pods in user namespaces are spared: where they disagree nobody can say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from posture.admission import pss
from posture.admission.controls import BASELINE, CONTROLS, RESTRICTED, Control, Field, Level
from posture.admission.controls import Variant as Form
from posture.admission.pods import CONTAINERS, Pod, mapping, mappings, read
from posture.admission.policy import ADMITS, NONE, REFUSES, Space, Verdict
from posture.admission.requests import Object, Request

from .ways import Asking
from .wildcards import any_matches, strings

NAMES: Mapping[str, tuple[str, ...]] = {
    "Capabilities": ("capabilities_baseline", "capabilities_restricted"),
    "Seccomp": ("seccompProfile_baseline", "seccompProfile_restricted"),
    "Privileged Containers": ("privileged",),
    "Host Ports": ("hostPorts",),
    "/proc Mount Type": ("procMount",),
    "HostProcess": ("windowsHostProcess",),
    "SELinux": ("seLinuxOptions",),
    "Host Namespaces": ("hostNamespaces",),
    "HostPath Volumes": ("hostPathVolumes",),
    "Sysctls": ("sysctls",),
    "AppArmor": ("appArmorProfile",),
    "Privilege Escalation": ("allowPrivilegeEscalation",),
    "Running as Non-root": ("runAsNonRoot",),
    "Running as Non-root user": ("runAsUser",),
    "Volume Types": ("restrictedVolumes",),
}
"""The controls as Kyverno calls them. The host's probes and hooks have no name: nothing leaves them out."""

_NO_LIST = "hostProbesAndHostLifecycle"
_USER_NAMESPACES = 35
"""From this version on the standards spare pods in user namespaces, as newer releases of Kyverno know."""


class Error(NamedTuple):
    """What a control says of one field: its path with `*` for numbers, the container, and the values found."""

    field: str
    container: str
    values: tuple[str, ...]


class PodSecurity:
    """The body of a rule. Its parts are entries of `exclude`."""

    by_user = by_name = by_metadata = False

    def __init__(self, given: Mapping[str, Any]) -> None:
        """`given` is `validate.podSecurity`."""
        level, version = given.get("level"), given.get("version")
        self.why = ""
        if level not in ("privileged", BASELINE, RESTRICTED):
            self.why = "its level is none of the Pod Security Standards"
        number = pss.LATEST if version in (None, "") else pss.version_of(str(version))
        if number is None:
            self.why = self.why or "its version is none of the Pod Security Standards"
        self._standards = () if self.why else _standards(level, number or 0)

    def mark(self, _: Space) -> Hashable:
        """Nothing of a namespace matters."""
        return None

    def judge(self, request: Request, parts: Mapping[int, Any]) -> Asking[tuple[Verdict, frozenset[int]]]:
        """Whether it refuses a pod, and which entries left something out."""
        yield from ()
        if request.operation == "DELETE":
            return ADMITS, NONE
        if self.why:
            return Verdict(None, self.why), NONE
        pod = request.object if request.object is not None else mapping(request.old)
        if parts:
            said = [_left(pod, standard, parts) for standard in self._standards]
        else:
            seen = read(pod)
            said = [({control for control, _ in islice(_violated(seen, one), 1)}, NONE) for one in self._standards]
        used = frozenset[int]().union(*(numbers for _, numbers in said))
        refused = {bool(left) for left, _ in said}
        if len(refused) > 1:
            return Verdict(None, "releases of Kyverno differ in what they ask in this version"), used
        return (REFUSES if refused == {True} else ADMITS), used


type Standard = tuple[tuple[str, Form], ...]


@lru_cache(256)
def _standards(level: Level | Any, version: int) -> tuple[Standard, ...]:
    """What releases ask at a level, in a version."""
    if level == "privileged":
        return ((),)
    asked = [one for one in CONTROLS if level == RESTRICTED or one.level == BASELINE]
    known = [one for one in map(_before_user_namespaces, asked) if one is not None]
    found = [_selected(known, version), _selected(asked, version)]
    if version != pss.LATEST:  # before 1.19 every form up to the version was asked
        every = tuple((one.id, form) for one in known for form in one.variants if form.since <= version)
        found.append(every)
    return tuple(dict.fromkeys(found))


def _before_user_namespaces(control: Control) -> Control | None:
    forms = tuple(one for one in control.variants if one.since < _USER_NAMESPACES)
    return control._replace(variants=forms) if forms else None


def _selected(controls: Sequence[Control], version: int) -> Standard:
    return tuple(
        (one.id, next((form for form in reversed(one.variants) if form.since <= version), one.variants[0]))
        for one in controls
    )


# What is left out ----------------------------------------------------------------------------------------------------


def _left(pod: Object, standard: Standard, parts: Mapping[int, Any]) -> tuple[set[str], frozenset[int]]:
    """The controls that a pod still violates, and the entries that left something out."""
    found = dict(_errors(pod, standard))
    used: set[int] = set()
    for number, entry in parts.items():
        for exclude in entry:
            if _leave_out(found, pod, standard, mapping(exclude)):
                used.add(number)
    return set(found), frozenset(used)


def _leave_out(
    found: dict[str, Counter[tuple[str, str]] | None], pod: Object, standard: Standard, exclude: Mapping[str, Any]
) -> bool:
    """Take out of what was found what an entry leaves out: as often as it finds the like of it itself."""
    images = strings(exclude.get("images"))
    seen = _with_images(pod, images) if images else _without_containers(pod)
    field, values = exclude.get("restrictedField") or "", strings(exclude.get("values"))
    did = False
    for control, form in standard:
        if control not in NAMES.get(str(exclude.get("controlName")), ()):
            continue
        for error in _errors_of(control, form, read(seen)):
            there = found.get(control)
            if there is None or (field and error.field != field):
                continue
            if values and not all(any_matches(values, value) for value in error.values):
                continue
            alike = (one for one in there if one[0] == error.field and (not images or one[1] == error.container))
            where = next(alike, None)
            if where is not None:
                did = True
                there[where] -= 1
                if there[where] <= 0:
                    del there[where]
            if not there:
                del found[control]
    return did


def _without_containers(pod: Object) -> Object:
    """The pod as an entry without images sees it: its containers give way to one that says nothing."""
    spec = {name: value for name, value in mapping(pod.get("spec")).items() if name not in CONTAINERS}
    return {**pod, "spec": {**spec, "containers": [{"name": "fake"}]}}


def _with_images(pod: Object, images: tuple[str, ...]) -> Object:
    """The pod as an entry with images sees it: the containers that have them, and nothing else."""
    spec = mapping(pod.get("spec"))
    return {
        "spec": {
            field: [one for one in mappings(spec.get(field)) if any_matches(images, str(one.get("image") or ""))]
            for field in CONTAINERS
        }
    }


# Errors as the library counts them -----------------------------------------------------------------------------------


def _errors(pod: Object, standard: Standard) -> Iterator[tuple[str, Counter[tuple[str, str]] | None]]:
    """The controls that a pod violates, with their errors by field and container; None where they are not counted."""
    seen = read(pod)
    for control, form in _violated(seen, standard):
        counted = Counter((one.field, one.container) for one in _errors_of(control, form, seen))
        yield control, None if control == _NO_LIST else counted


def _violated(pod: Pod, standard: Standard) -> Iterator[tuple[str, Form]]:
    """The controls that a pod violates, in the forms in which they are asked."""
    for control, form in standard:
        if not (form.spares is not None and form.spares(pod)) and any(True for _ in form.rule(pod, form.allowed)):
            yield control, form


def _errors_of(control: str, form: Form, pod: Pod) -> list[Error]:
    if form.spares is not None and form.spares(pod):
        return []
    fields = list(form.rule(pod, form.allowed))
    if control == "runAsNonRoot":
        fields = list(_run_as_non_root(pod))
    elif control == "seccompProfile_restricted":
        said = [one for one in fields if one.path.endswith(".type")]
        fields = said or [one._replace(path=f"{one.path}.type") for one in fields]
    elif control == "allowPrivilegeEscalation":
        fields = [one._replace(value=_escalation(one, pod)) for one in fields]
    elif control == "restrictedVolumes":
        fields = [one._replace(value=None) for one in fields]
    elif control.startswith("capabilities"):
        return _capabilities(fields, pod)
    return [Error(_numberless(one.path), _container(one.path, pod), _texts(one.value)) for one in fields]


def _run_as_non_root(pod: Pod) -> Iterator[Field]:
    """Containers that say nothing count even where the pod says that it may run as root."""
    for one in pod.places:
        if one.security.get("runAsNonRoot") is False:
            yield Field(f"{one.path}.securityContext.runAsNonRoot", False)
    if pod.places[0].security.get("runAsNonRoot") is not True:
        for one in pod.containers:
            if not isinstance(one.security.get("runAsNonRoot"), bool):
                yield Field(f"{one.path}.securityContext.runAsNonRoot", None)


def _escalation(found: Field, pod: Pod) -> Any:
    """What is not said is the text `nil` where there is a security context, and no value where there is none."""
    place = next(one for one in pod.containers if found.path.startswith(f"{one.path}."))
    there = found.value is None and place.raw.get("securityContext") is not None
    return "nil" if there else found.value


def _capabilities(fields: Sequence[Field], pod: Pod) -> list[Error]:
    """One error for each container's list, with all that is wrong in it."""
    found: dict[str, list[str]] = {}
    for path, value in fields:
        place = found.setdefault(re.sub(r"\[\d+\]$", "", path), [])
        place += [str(one) for one in value] if isinstance(value, list) else [str(value)] if value is not None else []
    return [Error(_numberless(path), _container(path, pod), tuple(values)) for path, values in found.items()]


def _numberless(path: str) -> str:
    return re.sub(r"\d+", "*", path)


def _container(path: str, pod: Pod) -> str:
    """The name of the container that a path is in; "" for the pod's own fields."""
    return next((str(one.raw.get("name") or "") for one in pod.containers if path.startswith(f"{one.path}.")), "")


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if isinstance(value, int):
        return (str(value),)
    if isinstance(value, Mapping):
        path = value.get("path")
        return (path,) if isinstance(path, str) and path else ()
    return (value,) if isinstance(value, str) and value else ()
