"""Pods of any shape, and as a server stores them: what the evaluator makes of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from random import Random
from typing import Any

import pytest

from posture.admission import defaults
from posture.admission.controls import BASELINE, PRIVILEGED, RESTRICTED, Field, Level
from posture.admission.pss import LATEST, Violation, violations
from tests.admission.changes import CONTAINERS, changed, put, steps
from tests.generator.pods import random_pods

LEVELS: tuple[Level, ...] = (PRIVILEGED, BASELINE, RESTRICTED)


def controls(given: Mapping[str, Any], level: Level) -> list[str]:
    return [found.control for found in violations(given, level)]


# Shapes -------------------------------------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    None,
    "x",
    "",
    5,
    0,
    5.5,
    True,
    False,
    [],
    ["x"],
    [None],
    [[]],
    [{}],
    {},
    {"x": "y"},
    {"x": None},
)


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything inside a value, itself first."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inside:
        yield from nodes(below, (*path, key))


def test_no_shape_raises() -> None:
    """Each node of random pods becomes a value of every type of JSON, one after another."""
    random = Random(7)
    for given in random_pods(random, 150):
        for path in random.sample(every := list(nodes(given)), min(len(every), 12)):
            made: Any = {"pod": deepcopy(given)}
            *above, last = ("pod", *path)
            holder = made
            for step in above:
                holder = holder[step]
            holder[last] = random.choice(ODD)
            for level in LEVELS:
                for version in (0, 18, 30, LATEST):
                    violations(made["pod"], level, version)
            violations(defaults.pod(made["pod"]), RESTRICTED)


@pytest.mark.parametrize("given", [None, {}, {"spec": None, "metadata": None}, {"spec": {"containers": None}}, [], "x"])
def test_what_holds_nothing_violates_nothing(given: Any) -> None:
    """There is no container that would have to say something."""
    assert [violations(given, level) for level in LEVELS] == [[], [], []]


@pytest.mark.parametrize(
    ("control", "path"),
    [
        ("hostNamespaces", "spec.hostNetwork"),
        ("hostPorts", "spec.containers[0].ports[0].hostPort"),
        ("privileged", "spec.containers[0].securityContext.privileged"),
        ("windowsHostProcess", "spec.securityContext.windowsOptions.hostProcess"),
        ("seLinuxOptions", "spec.securityContext.seLinuxOptions.type"),
        ("appArmorProfile", "spec.securityContext.appArmorProfile.type"),
        ("capabilities_restricted", "spec.containers[0].securityContext.capabilities.drop"),
        ("runAsUser", "spec.containers[0].securityContext.runAsUser"),
        ("allowPrivilegeEscalation", "spec.containers[0].securityContext.allowPrivilegeEscalation"),
        ("seccompProfile_restricted", "spec.securityContext.seccompProfile.type"),
    ],
)
@pytest.mark.parametrize("value", ["x", {"x": "y"}, [[]], [{}]])
def test_a_value_of_another_type_is_not_allowed(control: str, path: str, value: Any) -> None:
    """No server takes it, and nobody is to read it as allowed."""
    assert controls(changed((path, value)), RESTRICTED) == [control]


def test_an_item_that_is_null_is_an_empty_one() -> None:
    """As the server decodes it: a container without anything, a volume without a source."""
    given = {"spec": {"containers": [None], "volumes": [None], "securityContext": {"sysctls": [None]}}}
    assert controls(given, BASELINE) == ["sysctls"]
    assert controls(given, RESTRICTED) == [
        "sysctls", "allowPrivilegeEscalation", "capabilities_restricted", "restrictedVolumes", "runAsNonRoot",
        "seccompProfile_restricted",
    ]  # fmt: skip


def test_fields_are_where_they_are_said_to_be() -> None:
    """In random pods: the path leads to the value; where there is none, it is None."""
    told = 0
    for given in random_pods(Random(11), 1500):
        for version in (18, LATEST):
            for found in violations(given, RESTRICTED, version):
                assert len({field.path for field in found.fields}) == len(found.fields) > 0
                for field in found.fields:
                    told += 1
                    assert reached(given, field.path) == field.value, (found.control, field, given)
    assert told > 3000


def reached(given: Any, path: str) -> Any:
    """What is at a path, None where something on the way is absent; a capability that is null is an empty one."""
    for step in steps(path):
        if given is None or (isinstance(given, dict) and step not in given):
            return None
        given = given[step]
    return "" if given is None and ".add[" in path else {} if given is None and "volumes[" in path else given


# Defaults -----------------------------------------------------------------------------------------------------------


def test_a_port_on_the_hosts_network_is_a_port_of_the_host() -> None:
    """The server sets it, for containers and init containers, before it judges."""
    given = changed(("spec.hostNetwork", True), *((f"{place}.ports[0].containerPort", 80) for place in CONTAINERS))
    assert controls(given, BASELINE) == ["hostNamespaces"]
    fields = tuple(
        Field(f"{place}.ports[0].hostPort", 80) for place in ("spec.initContainers[0]", "spec.containers[0]")
    )
    assert violations(defaults.pod(given, token=False), BASELINE)[1] == Violation("hostPorts", fields)
    put(given, "spec.hostNetwork", False)
    assert controls(defaults.pod(given, token=False), BASELINE) == []


def test_a_volume_without_a_source_is_an_empty_directory() -> None:
    """The server makes it one; one with a source stays what it is."""
    given = changed(("spec.volumes[0].name", "v"), ("spec.volumes[1].hostPath", {}))
    assert [field.path for field in violations(given, RESTRICTED)[0].fields] == [
        "spec.volumes[0]",
        "spec.volumes[1].hostPath",
    ]
    assert [field.path for field in violations(defaults.pod(given, token=False), RESTRICTED)[0].fields] == [
        "spec.volumes[1].hostPath"
    ]


def test_defaults_leave_what_is_given_as_it_is() -> None:
    """Nothing is changed in place, and a pod that has its defaults keeps them."""
    for given in random_pods(Random(3), 300):
        before = deepcopy(given)
        once = defaults.pod(given)
        assert given == before
        assert defaults.pod(once) == once
