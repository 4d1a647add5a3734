"""The catalogue and its proofs together: no step is shipped that no real request shows."""

from __future__ import annotations

from tests.graph import test_proofs_admission as admission
from tests.graph import test_proofs_deputies as deputies
from tests.graph import test_proofs_identity as identity
from tests.graph import test_proofs_workloads as workloads
from tests.graph.proving import catalogue

ASKED_ELSEWHERE = {"cert-manager-approve", "request-node-certificate"}
"""A webhook and a controller ask for a verb that no request to the API server needs: tests of their own ask as they do
(test_proofs_deputies.py, test_refused_identity.py).
"""
NO_REQUEST = {("escape-by-log-mount", "", "nodes/log")}
"""What only a kubelet asks about: the API server has no path that is authorized as nodes/log
(kubernetes v1.36.3, pkg/kubelet/server/auth.go).
"""
PROOFS = [one for module in (admission, deputies, identity, workloads) for one in module.PROOFS]


def test_every_escalation_that_asks_for_a_permission_has_a_proof() -> None:
    """And every proof is of one that is shipped."""
    assert {one.edge for one in PROOFS} == {one.id for one in catalogue() if one.requests} - ASKED_ELSEWHERE


def test_every_resource_of_a_condition_is_asked_for_by_a_proof() -> None:
    """Each (group, resource) that an escalation names is granted in some proof of it."""
    granted = {
        (one.edge, group, resource)
        for one in PROOFS for grants in one.granted for _, given in grants
        for group in given.get("apiGroups", ()) for resource in given.get("resources", ())
    }  # fmt: skip
    named = {
        (one.id, group, resource)
        for one in catalogue() if one.id not in ASKED_ELSEWHERE
        for tree in one.trees for leaf in tree.leaves()
        for group in leaf.groups or () for resource in leaf.resources or ()
    }  # fmt: skip

    assert named - granted == NO_REQUEST


def test_every_request_of_an_escalation_is_shown_by_an_identity() -> None:
    """A proof has an identity for each, so that each can be the one that is missing."""
    requests = {one.id: len(one.requests) for one in catalogue()}

    assert [one for one in PROOFS if len(one.granted) != requests[one.edge]] == []


def test_what_only_uses_others_uses_what_is_proven() -> None:
    """Its condition is theirs, and what admission says."""
    proven = {one.edge for one in PROOFS}
    alone = {one.id for one in catalogue() if not one.requests}

    assert {name for one in catalogue() for name in one.uses} <= proven | alone | ASKED_ELSEWHERE
