"""Steps that some versions of Kubernetes do not have: where they end, or before they began, the requests are refused.

The accounts hold exactly what the escalation asks for. On versions that have it test_proofs_*.py show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus

import pytest

from tests.controlplane.client import RefusedError
from tests.graph.proving import Planes, Proof, Proving, account_of, catalogue, proving
from tests.graph.test_every_step_is_proven import PROOFS
from tests.rbac.accounts import NS

NOT_SERVED = r"^404: (404 page not found|the server could not find the requested resource)"
"""What the server says to a request for a kind that it does not serve."""


def without_it() -> dict[str, str]:
    """The minor version next to those that have a step, by its escalation."""
    before = {one.id: f"1.{one.since.minor - 1}" for one in catalogue() if one.since}
    return before | {one.id: f"1.{one.until.minor + 1}" for one in catalogue() if one.until}


NEXT_TO = [
    replace(one, minors=(minor,), newest=False)
    for edge, minor in without_it().items() for one in PROOFS if one.edge == edge
]  # fmt: skip


@pytest.fixture(scope="module")
def planes(control_plane_of: Planes) -> Iterator[Proving]:
    """An account for each proof, on the version that does not have the step."""
    with proving(control_plane_of, NEXT_TO) as found:
        yield found


def test_every_escalation_of_some_versions_is_asked_of_another() -> None:
    """None is left out here."""
    assert {one.edge for one in NEXT_TO} == {one.id for one in catalogue() if one.since or one.until}


@pytest.mark.prove
@pytest.mark.parametrize("one", NEXT_TO, ids=lambda one: f"{one.edge}-{one.name}-{one.minors[0]}")
def test_a_version_that_does_not_have_the_step_refuses_it(planes: Proving, one: Proof) -> None:
    """Some request is refused that the versions which have it accept, and posture does not say that the step holds."""
    place = planes.at(one.minors[0])

    with pytest.raises(RefusedError) as refused:
        place.answers(one)
    assert re.search(NOT_SERVED, str(refused.value)) or refused.value.status == HTTPStatus.FORBIDDEN
    for identity in range(len(one.granted)):
        assert (one.edge, identity, f"serviceaccount:{NS}/{account_of(one, identity)}") not in place.holds
