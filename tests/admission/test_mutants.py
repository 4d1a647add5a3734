"""The random pods tell the table of controls from every table that is wrong in one place.

So where they show no difference between the evaluator and the server's own (test_library.py), there is none of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from random import Random

import pytest

from posture.admission.controls import BASELINE, CONTROLS, RESTRICTED, Control, Level, Rule, Variant
from posture.admission.pods import CONTAINERS, Place, Pod, in_user_namespace, is_windows
from posture.admission.pss import judged, standard
from tests.generator.objects import Object
from tests.generator.pods import random_pods

type Table = tuple[Control, ...]

VERSIONS = range(37)
LEVELS: tuple[Level, ...] = (BASELINE, RESTRICTED)
NUMBER = 8000
POD_LEVEL = {"appArmorProfile", "runAsNonRoot", "runAsUser", "seLinuxOptions", "seccompProfile_baseline",
             "seccompProfile_restricted", "windowsHostProcess"}  # fmt: skip
"""The controls that read fields of the pod which containers have too."""
NOT_OF_CONTAINERS = {"hostNamespaces", "hostPathVolumes", "restrictedVolumes", "sysctls"}
"""The controls that read nothing of containers."""
ANNOTATIONS = {"appArmorProfile", "seccompProfile_baseline"}
MORE = {
    "appArmorProfile": "Unconfined", "capabilities_baseline": "NET_RAW", "capabilities_restricted": "CHOWN",
    "procMount": "Unmasked", "procMount_restricted": "Unmasked", "restrictedVolumes": "hostPath",
    "seLinuxOptions": "spc_t", "seccompProfile_baseline": "Unconfined", "seccompProfile_restricted": "Unconfined",
    "sysctls": "kernel.msgmax",
}  # fmt: skip
"""One more value, of the controls that allow some."""


@cache
def pods() -> list[Object]:
    """Always the same ones."""
    return list(random_pods(Random(2026), NUMBER))


def ids(pod: Object, level: Level, version: int, table: Table = CONTROLS) -> list[str]:
    return [found.control for found in judged(pod, standard(level, version, table))]


def noticed(table: Table) -> bool:
    """Whether some random pod has other violations by this table."""
    random = Random(1)
    asked = [(level, version) for level in LEVELS for version in VERSIONS]
    differ = [one for one in asked if standard(*one, table) != standard(*one)]
    assert differ, "this is no mutant"
    return any(ids(pod, *chosen) != ids(pod, *chosen, table) for pod in pods() for chosen in [random.choice(differ)])


# Mutants ------------------------------------------------------------------------------------------------------------


def mutants() -> Iterator[tuple[str, Table]]:
    """Every table that is wrong in one place."""
    for at, control in enumerate(CONTROLS):
        for what, others in mutants_of(control):
            yield f"{control.id}: {what}", (*CONTROLS[:at], *others, *CONTROLS[at + 1 :])


def mutants_of(control: Control) -> Iterator[tuple[str, Table]]:
    """What may stand in the place of a control."""
    yield "is not there", ()
    yield "is of the other level", (control._replace(level=BASELINE if control.level == RESTRICTED else RESTRICTED),)
    if control.overrides:
        yield "overrides nothing", (control._replace(overrides=""),)
    for what, variants in variants_of(control):
        yield what, (control._replace(variants=variants),)
    for what, blind in blinds(control):
        variants = tuple(one._replace(rule=seen(one.rule, blind)) for one in control.variants)
        yield f"does not see {what}", (control._replace(variants=variants),)


def variants_of(control: Control) -> Iterator[tuple[str, tuple[Variant, ...]]]:
    """What may be wrong in one variant: whether it is there, since when, what it allows, whom it spares."""
    for at, variant in enumerate(control.variants):
        before, after = control.variants[:at], control.variants[at + 1 :]
        for what, other in variants_like(variant, MORE.get(control.id, "")):
            yield f"{what}, in that of 1.{variant.since}", (*before, other, *after)
        if len(control.variants) > 1:
            yield f"has no variant of 1.{variant.since}", (*before, *after)


def variants_like(variant: Variant, more: str) -> Iterator[tuple[str, Variant]]:
    yield "began later", variant._replace(since=variant.since + 1)
    if variant.since:
        yield "began earlier", variant._replace(since=variant.since - 1)
    for value in variant.allowed:
        yield f"forbids {value!r}", variant._replace(allowed=tuple(one for one in variant.allowed if one != value))
    if more and variant.allowed != ("runtime/default", "docker/default"):
        yield f"allows {more}", variant._replace(allowed=(*variant.allowed, more))
    for spares in (None, is_windows, in_user_namespace):
        if spares is not variant.spares:
            yield f"spares {getattr(spares, '__name__', 'none')}", variant._replace(spares=spares)


type Blind = Callable[[Pod], Pod]


def blinds(control: Control) -> Iterator[tuple[str, Blind]]:
    """The parts of a pod that a control reads, each with what takes it out of sight."""
    if control.id not in NOT_OF_CONTAINERS:
        for kind in CONTAINERS:
            yield kind, partial(without_containers, kind)
    if control.id in POD_LEVEL:
        yield "the pod's own", lambda pod: pod._replace(places=[Place("spec", pod.spec, {}), *pod.containers])
    if control.id in ANNOTATIONS:
        yield "annotations", lambda pod: pod._replace(annotations={})


def without_containers(kind: str, pod: Pod) -> Pod:
    left = [one for one in pod.containers if not one.path.startswith(f"spec.{kind}[")]
    return pod._replace(places=[pod.places[0], *left], containers=left)


def seen(rule: Rule, blind: Blind) -> Rule:
    return lambda pod, allowed: rule(blind(pod), allowed)


MUTANTS = dict(mutants())


@pytest.mark.parametrize("name", MUTANTS)
def test_the_random_pods_notice_a_table_that_is_wrong_in_one_place(name: str) -> None:
    """Other violations of some pod, at a level and in a version that the place touches."""
    assert noticed(MUTANTS[name])
