"""What decides and changed is never silent: where no test request shows a change it is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from posture import admission
from posture.model import Comparison
from tests.generator import vap
from tests.generator.engines import cluster_policy, exception, kyverno, kyverno_rule, pod_security
from tests.generator.objects import Object, namespace

from .clusters import evaluated

type Settings = Mapping[str, Any]

PAY = namespace("pay")
NO_PRIVILEGED = ("object.spec.containers.all(c, !has(c.securityContext) || !has(c.securityContext.privileged) "
                 "|| !c.securityContext.privileged)")  # fmt: skip


def policy(
    name: str = "p", text: str = NO_PRIVILEGED, actions: Sequence[str] = ("Deny",), **bound: Any
) -> list[Object]:
    """A policy with its binding."""
    return [vap.policy(name, text), vap.binding(name, actions, **bound)]


def compared(before: list[Object], after: list[Object], settings: Settings) -> Comparison:
    """Two states of a namespace with these objects."""
    return admission.compare(evaluated([PAY, *before], settings), evaluated([PAY, *after], settings))


LABELLED: dict[str, Any] = {"matchResources": {"objectSelector": {"matchLabels": {"k1": "v1"}}}}
NARROWER: dict[str, Any] = {"matchResources": {"objectSelector": {"matchLabels": {"k1": "v1", "k2": "v2"}}}}
WEAKER = f"object.metadata.name == 'evil' || ({NO_PRIVILEGED})"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(policy(**LABELLED), [], id="a policy for labelled objects is deleted"),
        pytest.param(policy(**LABELLED), policy(actions=("Audit",), **LABELLED), id="it only audits"),
        pytest.param(policy(**LABELLED), policy(**NARROWER), id="it is for fewer objects"),
        pytest.param(policy(), policy("q", WEAKER), id="a weaker one of another name takes its place"),
        pytest.param(policy(), policy(text=WEAKER), id="its expression spares a name"),
    ],
)
def test_what_test_requests_do_not_show_is_unknown(
    before: list[Object], after: list[Object], settings: Settings
) -> None:
    """Loosened or unknown, and never nothing."""
    found = compared(before, after, settings)

    assert found.unknown or any(change.direction == "loosened" for change in found.changes)


def test_an_exception_that_names_more_is_unknown(settings: Settings) -> None:
    """Its first example is what it was."""
    base = [*kyverno(), cluster_policy("cp", kyverno_rule("r", pod_security()))]
    few, more = (exception("e", "kyverno", [("cp", ["r"])], {"namespaces": ["pay"], "names": names})
                 for names in (["web-*"], ["web-*", "evil"]))  # fmt: skip
    found = compared([*base, few], [*base, more], settings)

    assert found.unknown or any(change.direction == "loosened" for change in found.changes)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(policy(), policy("q"), id="another name"),
        pytest.param(policy(), [*policy(), *policy("q")], id="one more of the same"),
        pytest.param(policy(), [{**one, "metadata": {**one["metadata"], "labels": {"a": "b"}}} for one in policy()],
                     id="a label"),
    ],
)  # fmt: skip
def test_what_means_the_same_is_silent(before: list[Object], after: list[Object], settings: Settings) -> None:
    """Neither loosened nor unknown."""
    found = compared(before, after, settings)

    assert not found.unknown
    assert not [change for change in found.changes if change.direction == "loosened"]
