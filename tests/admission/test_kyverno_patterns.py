"""Kyverno's patterns and wildcards, by the cases of its documentation and of its own tests (v1.19.0, pkg/engine)."""

from __future__ import annotations

from typing import Any

import pytest

from posture.admission.engines.kyverno.patterns import Unanswered, judged, judged_any, unsupported
from posture.admission.engines.kyverno.wildcards import KindSelector, kind_selector, matches, selects

PRIVILEGED = {"spec": {"containers": [{"=(securityContext)": {"=(privileged)": "false"}}]}}
HOST_PATH = {"spec": {"=(volumes)": [{"X(hostPath)": "null"}]}}
HOST_PORTS = {"spec": {"containers": [{"=(ports)": [{"=(hostPort)": 0}]}]}}
LATEST = {"spec": {"containers": [{"(image)": "*:latest", "imagePullPolicy": "Always"}]}}
REGISTRY = {"spec": {"containers": [{"<(image)": "corp/*"}], "imagePullSecrets": [{"name": "corp"}]}}


def containers(*items: Any, **spec: Any) -> Any:
    """A pod with some containers."""
    return {"spec": {"containers": list(items)} | spec}


@pytest.mark.parametrize(
    ("pattern", "resource", "result"),
    [
        (PRIVILEGED, containers({}), "pass"),
        (PRIVILEGED, containers({"securityContext": {}}), "pass"),
        (PRIVILEGED, containers({"securityContext": {"privileged": False}}), "pass"),
        (PRIVILEGED, containers({"securityContext": {"privileged": True}}), "fail"),
        (PRIVILEGED, containers({}, {"securityContext": {"privileged": True}}), "fail"),
        (PRIVILEGED, {"spec": {}}, "fail"),
        (HOST_PATH, {"spec": {}}, "pass"),
        (HOST_PATH, {"spec": {"volumes": [{"emptyDir": {}}]}}, "pass"),
        (HOST_PATH, {"spec": {"volumes": [{"emptyDir": {}}, {"hostPath": {"path": "/"}}]}}, "fail"),
        (HOST_PORTS, containers({"ports": [{"containerPort": 80}]}), "pass"),
        (HOST_PORTS, containers({"ports": [{"hostPort": 0}]}), "pass"),
        (HOST_PORTS, containers({"ports": [{"hostPort": 80}]}), "fail"),
        (LATEST, containers({"image": "a:latest", "imagePullPolicy": "Always"}), "pass"),
        (LATEST, containers({"image": "a:latest", "imagePullPolicy": "Never"}), "fail"),
        (LATEST, containers({"image": "a:1", "imagePullPolicy": "Never"}), "skip"),
        (LATEST, containers({"image": "a:1"}, {"image": "a:latest", "imagePullPolicy": "Never"}), "fail"),
        (LATEST, containers({"image": "a:1"}, {"image": "a:latest", "imagePullPolicy": "Always"}), "pass"),
        (LATEST, containers({}), "skip"),
        (REGISTRY, containers({"image": "corp/a"}, imagePullSecrets=[{"name": "corp"}]), "pass"),
        (REGISTRY, containers({"image": "corp/a"}), "fail"),
        (REGISTRY, containers({"image": "other/a"}), "skip"),
        ({"^(items)": [{"name": "a"}]}, {"items": [{"name": "b"}, {"name": "a"}]}, "pass"),
        ({"^(items)": [{"name": "a"}]}, {"items": [{"name": "b"}]}, "fail"),
        ({"^(items)": [{"name": "a"}]}, {}, "pass"),
        ({"^(items)": [{"name": "a"}]}, {"items": {"name": "a"}}, "fail"),
        ({"(kind)": "Pod", "name": "a"}, {"kind": "Pod", "name": "a"}, "pass"),
        ({"(kind)": "Pod", "name": "a"}, {"kind": "Job", "name": "b"}, "skip"),
        ({"(kind)": "Pod", "X(name)": "null"}, {"kind": "Pod", "name": "b"}, "fail"),
        ({"(kind)": "Pod", "(role)": "x", "name": "a"}, {"kind": "Pod", "name": "b"}, "skip"),
        ({"a": {"(b)": 1, "c": 2}, "d": 3}, {"a": {"c": 2}, "d": 4}, "skip"),
        ({"=(a)": {"(b)": 1, "c": 2}, "d": 3}, {"d": 4}, "fail"),
        ({"^(a)": [{"(b)": 1}], "c": 1}, {"c": 2}, "error"),
        ({"a": [[1, 2], [3]]}, {"a": [[1, 1]]}, "error"),
        ({"a": []}, {"a": [1]}, "fail"),
        ({"a": [1]}, {"a": [1, 1]}, "pass"),
        ({"a": ["x*"]}, {"a": ["x1", "y"]}, "fail"),
        ({"a": {"b": 1}}, {"a": [1]}, "fail"),
    ],
)
def test_what_a_pattern_gives(pattern: Any, resource: Any, result: str) -> None:
    """Anchors: () and <() are conditions, =() holds if it is there, ^() for one item at least, X() forbids."""
    assert unsupported(pattern) == ""
    assert judged(pattern, resource) == result


@pytest.mark.parametrize(
    ("pattern", "value", "holds"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a*", "abc", True),
        ("?*", "", False),
        ("?*", "x", True),
        ("*", "x", True),
        ("*", None, False),
        ("a | b", "b", True),
        ("a|b", "c", False),
        ("a* & *z", "abz", True),
        ("a* & *z", "aby", False),
        ("!a", "b", True),
        ("!a", "a", False),
        ("!a*", "abc", False),
        ("!a", None, False),
        ("!a & !b", "c", True),
        ("true", True, True),
        ("false", True, False),
        ("!true", False, True),
        (True, True, True),
        (True, "true", False),
        (1, 1, True),
        (1, "1", True),
        (1, True, False),
        (1, None, False),
        (1, "x", False),
        (">1", 2, True),
        (">1", 1, False),
        (">=1", 1, True),
        ("<1", None, True),
        ("<=1Gi", "1000Mi", True),
        ("<1Gi", "1024Mi", False),
        (">500m", "1", True),
        ("1", "1000m", True),
        (">1h", "90m", True),
        ("<1h", "90m", False),
        (">10s", "1m30s", True),
        ("1-3", 2, True),
        ("1-3", 4, False),
        ("1!-3", 4, True),
        ("1!-3", 2, False),
        (">1", "x", False),
        ("0", None, True),
        ("0", False, False),
        (None, None, True),
        (None, "", True),
        (None, 0, True),
        (None, False, True),
        (None, "x", False),
        (None, {}, False),
        ("x", {"a": 1}, False),
        ("x", ["x", "x"], True),
        ("x", ["x", "y"], False),
        ("x", [], True),
    ],
)
def test_what_a_value_is_compared_with(pattern: Any, value: Any, holds: bool) -> None:
    """Lengths of time first, then quantities, then texts with wildcards; nothing is 0, and is never `!` something."""
    assert judged({"a": pattern}, {} if value is None else {"a": value}) == ("pass" if holds else "fail")


@pytest.mark.parametrize(
    ("patterns", "resource", "result"),
    [
        ([{"a": 1}, {"b": 1}], {"b": 1}, "pass"),
        ([{"a": 1}, {"b": 1}], {"c": 1}, "fail"),
        ([{"(a)": 1, "b": 1}, {"(c)": 1}], {}, "skip"),
        ([{"(a)": 1, "b": 1}, {"c": 1}], {}, "fail"),
        ([], {}, "pass"),
    ],
)
def test_one_of_several_patterns_is_enough(patterns: list[Any], resource: Any, result: str) -> None:
    """All skipped is a skip; one failure is enough that it fails."""
    assert judged_any(patterns, resource) == result


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ({"a": "{{ request.name }}"}, "its pattern has variables"),
        ({"a": "$(./../b)"}, "its pattern has variables"),
        ({"{{ x }}": 1}, "its pattern has variables"),
        ({"a": {"+(b)": 1}}, "its pattern adds fields"),
        ({"a": 1.5}, "its pattern has numbers with fractions"),
        ({"metadata": {"labels": {"a/*": "?*"}}}, "its pattern has wildcards in the keys of labels or annotations"),
        ({"=(metadata)": {"=(annotations)": {"=(a/*)": "x"}}},
         "its pattern has wildcards in the keys of labels or annotations"),
        ({"metadata": {"labels": {"a": "?*"}}}, ""),
    ],
)  # fmt: skip
def test_what_is_not_evaluated(pattern: Any, why: str) -> None:
    """Variables, additions, fractions and keys with wildcards."""
    assert unsupported(pattern) == why


def test_a_deep_pattern_is_not_evaluated() -> None:
    """A hostile one costs nothing."""
    pattern: Any = 1
    for _ in range(5000):
        pattern = {"a": pattern}
    assert unsupported(pattern) == "its pattern is nested deeply"


@pytest.mark.parametrize(("pattern", "value"), [(1, "1.0"), ("1", 1.5), ("1", "1e300")])
def test_what_cannot_be_compared_is_not_guessed(pattern: Any, value: Any) -> None:
    """Go reads such numbers in ways of its own."""
    with pytest.raises(Unanswered):
        judged({"a": pattern}, {"a": value})


@pytest.mark.parametrize(
    ("pattern", "text", "holds"),
    [
        ("*", "", True), ("", "", True), ("", "x", False), ("a", "a", True), ("a?", "a", False), ("a?", "ab", True),
        ("?", "é", True), ("a*c", "abbc", True), ("a*c", "abcd", False), ("*a*b*", "xxaxxbxx", True), ("**", "", True),
        ("my-bucket/mnop*?and", "my-bucket/mnopand", False), ("my-bucket/mnop*??", "my-bucket/mnopqrst", True),
        ("[a]", "a", False), ("a.c", "abc", False),
    ],
)  # fmt: skip
def test_wildcards(pattern: str, text: str, holds: bool) -> None:
    """`*` is any text, `?` one character."""
    assert matches(pattern, text) is holds


def test_a_hostile_wildcard_costs_little() -> None:
    """Many stars over a long text that does not match."""
    assert not matches("a*" * 40 + "b", "a" * 4000)


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("Pod", ("*", "*", "Pod", "")), ("*", ("*", "*", "*", "")), ("*/*", ("*", "*", "*", "*")),
        ("*/exec", ("*", "*", "*", "exec")), ("v1/Pod", ("*", "v1", "Pod", "")), ("*/Pod", ("*", "*", "Pod", "")),
        ("Pod/exec", ("*", "*", "Pod", "exec")), ("Pod.exec", ("*", "*", "Pod", "exec")),
        ("apps/v1/Deployment", ("apps", "v1", "Deployment", "")), ("v1/Pod/exec", ("*", "v1", "Pod", "exec")),
        ("apps/v1/Deployment/scale", ("apps", "v1", "Deployment", "scale")), ("a/b/c/d/e", ("", "", "", "")),
    ],
)  # fmt: skip
def test_kinds(text: str, selector: tuple[str, str, str, str]) -> None:
    """Group, version, kind and subresource."""
    assert kind_selector(text) == KindSelector(*selector)


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        ({"matchLabels": {"team": "p*"}}, True), ({"matchLabels": {"t*": "pay"}}, True),
        ({"matchLabels": {"t*": "shop"}}, False), ({"matchLabels": {"team": "pay", "x": "y"}}, False),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["pay"]}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, False), ({}, True), ("x", True),
    ],
)  # fmt: skip
def test_selectors(selector: Any, holds: bool) -> None:
    """matchLabels may have wildcards in keys and values."""
    assert selects(selector, {"team": "pay"}) is holds
