"""Proofs of escalations by real requests: accepted with exactly the condition, refused with any part of it missing.

Who lacks a part holds the same rule for another API group and for another resource, so that a condition that does not
say which it means is found out.

A module of proofs has a list of them, a fixture around `proving`, and two tests over `cases` and `partial`:

    @pytest.fixture(scope="module")
    def planes(control_plane_of: Planes) -> Iterator[Proving]:
        with proving(control_plane_of, PROOFS, objects()) as found:
            yield found

    @pytest.mark.parametrize(("one", "minor"), cases(PROOFS))
    def test_…(planes: Proving, one: Proof, minor: str) -> None:
        planes.accepted(one, minor)

    @pytest.mark.parametrize(("one", "minor", "without"), partial(PROOFS))
    def test_…(planes: Proving, one: Proof, minor: str, without: Part) -> None:
        planes.refused_without(one, minor, without)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from http import HTTPStatus
from typing import Any, NamedTuple

import pytest
import yaml

from posture import rbac, resources
from posture.graph.abilities import abilities
from posture.graph.catalogue import Escalation, escalation_of
from posture.graph.evaluate import DOMAINS, Graph, assembled
from posture.graph.nodes import CAN
from posture.kinds import API_RESOURCES
from tests.controlplane.build import NEWEST
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object
from tests.rbac.accounts import NS, Grant, accounts
from tests.rbac.agreement import read, settle
from tests.rbac.requests import Asked, sent

type Planes = Callable[[str], ControlPlane]
type Answers = Sequence[Any]
type Sender = int | Callable[[Answers], str]
"""The identity of this number, or who holds the token that is made of earlier answers ("" is anonymous)."""
type Request = Asked | Callable[[Answers], Asked]
"""What is sent, perhaps made of earlier answers."""


@dataclass(frozen=True)
class Proof:
    """What meets the condition of an escalation, and the requests that show its step.

    `granted` is what each identity is granted, one entry for each of the escalation's `requests`, every grant a part
    that the condition needs. `requests` are sent in order. `beyond` are statuses that the server gives once everything
    was allowed (no kubelet runs, nothing answers behind a proxy); `refusal` is the status with a part missing.
    `minors` are versions where it is shown too; `newest=False` says that it holds on those alone.
    """

    edge: str
    name: str
    granted: tuple[tuple[Grant, ...], ...]
    requests: tuple[tuple[Sender, Request], ...]
    minors: tuple[str, ...] = ()
    beyond: tuple[int, ...] = ()
    refusal: int = HTTPStatus.FORBIDDEN
    newest: bool = True

    def parts(self) -> Iterator[Part]:
        """Each part of the condition that one identity may lack."""
        for identity, grants in enumerate(self.granted):
            for number in range(len(grants)):
                yield Part(identity, number)

    def shown_on(self) -> tuple[str, ...]:
        """The minor versions."""
        return ((NEWEST,) if self.newest else ()) + self.minors


class Part(NamedTuple):
    """The grant of this number, of the identity of this number."""

    identity: int
    grant: int


@cache
def catalogue() -> tuple[Escalation, ...]:
    """The shipped escalations, by id."""
    folder = resources.checks().joinpath("escalations")
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".yaml")), key=lambda one: one.name)
    return tuple(escalation_of(yaml.safe_load(one.read_bytes())) for one in files)


def account_of(one: Proof, identity: int, without: Part | None = None) -> str:
    """The name of the ServiceAccount that is an identity of a proof, with its whole condition or without a part."""
    lacks = without is not None and without.identity == identity
    return f"{one.edge}-{one.name}-{identity}" + (f"-without-{without.grant}" if lacks and without else "")


def _decoys(grant: Grant) -> tuple[Grant, ...]:
    """What stands in for a part that is missing: the same rule for another API group, and for another resource."""
    where, rule = grant
    if "resources" not in rule:
        return ()
    return (where, {**rule, "apiGroups": ["decoy.example.com"]}), (where, {**rule, "resources": ["decoys"]})


def _rows(proofs: Iterable[Proof]) -> dict[str, tuple[Grant, ...]]:
    """The accounts that proofs need, and what each is granted."""
    found: dict[str, tuple[Grant, ...]] = {}
    for one in proofs:
        for identity, grants in enumerate(one.granted):
            whole = account_of(one, identity)
            assert whole not in found, f"two proofs are called {one.edge} {one.name}"
            found[whole] = grants
        for part in one.parts():
            grants = one.granted[part.identity]
            found[account_of(one, part.identity, part)] = (
                *grants[: part.grant], *_decoys(grants[part.grant]), *grants[part.grant + 1 :],
            )  # fmt: skip
    return found


class Place:
    """A control plane with the accounts of the proofs that are shown there, and the same as posture reads it."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane

    @cached_property
    def access(self) -> rbac.Access:
        """What is granted, as posture reads it."""
        return rbac.evaluate(read(self.plane))

    @cached_property
    def holds(self) -> frozenset[tuple[str, int, str]]:
        """Each escalation's requests that are met, as posture says: (escalation, number of the request, subject).

        Of escalations that hold for the server's version, about resources that it serves.
        """
        seen = self.access.snapshot
        served = {key.name for key, _ in seen.objects(API_RESOURCES)}
        applying = [
            one for one in catalogue()
            if one.applies(seen.version) and one.where.get("serves", "pods") in served
        ]  # fmt: skip
        return frozenset((one.escalation, one.request, one.subject) for one in abilities(self.access, applying))

    @cached_property
    def graph(self) -> Graph:
        """The graph of what there is, with the shipped escalations."""
        snapshot = self.access.snapshot
        results = {name: domain.evaluate(snapshot) for name, domain in DOMAINS.items()}
        return assembled(results, catalogue())

    def follows(self, escalation: str, *identities: str) -> list[str]:
        """What an escalation gives some accounts together, as nodes; not what follows from those in turn."""
        known = {f"serviceaccount:{NS}/{name}" for name in identities}
        while True:
            edges = {edge for node in known for edge in self.graph.edges(node) if known.issuperset(edge.tail)}
            more = {edge.head for edge in edges if edge.head.startswith(CAN)} - known
            if not more:
                return sorted({edge.head for edge in edges if edge.rule == escalation} - known)
            known |= more

    def answers(self, one: Proof, without: Part | None = None) -> list[Any]:
        """The answers to all requests of a proof. Raises RefusedError with the first that is refused."""
        found: list[Any] = []
        for sender, request in one.requests:
            token = self.plane.token(NS, account_of(one, sender, without)) if isinstance(sender, int) else sender(found)
            asked = request if isinstance(request, Asked) else request(found)
            try:
                found.append(sent(self.plane, asked, token))
            except RefusedError as error:
                if error.status not in one.beyond:
                    raise
                found.append(error.body)
        return found


class Proving:
    """The control planes of some proofs: one of each minor version, made ready when it is first asked for."""

    def __init__(
        self,
        planes: Planes,
        proofs: Sequence[Proof],
        objects: Sequence[Object],
        more: Mapping[str, tuple[Grant, ...]],
        stack: contextlib.ExitStack,
    ) -> None:
        self._planes, self._proofs, self._objects, self._more, self._stack = planes, proofs, objects, more, stack
        self._ready: dict[str, Place] = {}

    def at(self, minor: str) -> Place:
        """The control plane of a minor version."""
        if minor not in self._ready:
            rows = _rows(one for one in self._proofs if minor in one.shown_on())
            plane = self._planes(minor)
            plane.apply(one for one in self._objects if one["kind"] == "Namespace")
            self._stack.enter_context(accounts(plane, {**rows, **self._more}))
            plane.apply(self._objects)
            settle(plane)
            self._ready[minor] = Place(plane)
        return self._ready[minor]

    def accepted(self, one: Proof, minor: str) -> list[Any]:
        """Every request is accepted, and posture says that the escalation holds. Gives the answers."""
        place = self.at(minor)
        answers = place.answers(one)
        for identity in range(len(one.granted)):
            who = f"serviceaccount:{NS}/{account_of(one, identity)}"
            assert (one.edge, identity, who) in place.holds, f"posture does not say {one.edge}/{identity} of {who}"
        return answers

    def refused_without(self, one: Proof, minor: str, without: Part) -> None:
        """With a part missing some request is refused, for that reason, and posture does not say that it holds."""
        place = self.at(minor)
        with pytest.raises(RefusedError) as refused:
            place.answers(one, without)
        assert refused.value.status == one.refusal, refused.value
        who = f"serviceaccount:{NS}/{account_of(one, without.identity, without)}"
        assert (one.edge, without.identity, who) not in place.holds, f"posture says {one.edge} of {who}"


@contextlib.contextmanager
def proving(
    planes: Planes,
    proofs: Sequence[Proof],
    objects: Sequence[Object] = (),
    more: Mapping[str, tuple[Grant, ...]] | None = None,
) -> Iterator[Proving]:
    """Control planes with what the proofs need: an account for every condition, and for each part that is missing.

    `objects` are applied besides those of tests/rbac/accounts.py, `more` are other accounts and what they are granted.
    What is cluster-wide is taken away afterwards.
    """
    with contextlib.ExitStack() as stack:
        yield Proving(planes, proofs, objects, more or {}, stack)


def _marks(minor: str) -> tuple[pytest.MarkDecorator, ...]:
    return () if minor == NEWEST else (pytest.mark.prove,)


def cases(proofs: Iterable[Proof]) -> list[Any]:
    """Parameters `one`, `minor`. Other versions than the newest are asked by `make prove`."""
    return [
        pytest.param(one, minor, id=f"{one.edge}-{one.name}-{minor}", marks=_marks(minor))
        for one in proofs for minor in one.shown_on()
    ]  # fmt: skip


def partial(proofs: Iterable[Proof]) -> list[Any]:
    """Parameters `one`, `minor`, `without`: one for each part that may be missing."""
    return [
        pytest.param(one, minor, part, id=f"{account_of(one, part.identity, part)}-{minor}", marks=_marks(minor))
        for one in proofs for minor in one.shown_on() for part in one.parts()
    ]  # fmt: skip
