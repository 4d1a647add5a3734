"""Questions: may this pod, workload or address reach that one, on this port, and what decides it?

What a question shares with others is worked out once: who has an address, and what a set of policies does with a port
for those whom the same peers are about. Only where both ends depend on what nobody knows are they asked together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from posture.model import Gap, Key
from posture.text import listed

from . import addresses
from .connectivity import UNKNOWN, Connectivity, Outcome, Party, Profile
from .decide import DENIES, LETS, Memo, Port, Step, decide
from .endpoints import PODS, WORKLOADS, Pod
from .exposure import SERVICES
from .gaps import hidden, unread
from .opaque import may_select
from .policies import Direction
from .ports import span


class Question(NamedTuple):
    """`source` and `destination` are `NS/POD`, a workload (`workload:NS/NAME[Kind]`, or NS/NAME where no pod is called
    so) or an IP address; `port` is the pod's, not a Service's.
    """

    source: str
    destination: str
    protocol: str
    port: int

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Question:
        """A question from JSON. Raises ValueError for one that is none."""
        for name in given:
            if name not in cls._fields:
                raise ValueError(f"{name} is no key of a question")
        for name in ("source", "destination"):
            if not isinstance(given.get(name), str) or not given[name]:
                raise ValueError(f"{name} is missing, or no text")
        protocol, port = given.get("protocol") or "TCP", given.get("port")
        if not isinstance(protocol, str):
            raise ValueError("protocol is no text")  # noqa: TRY004 - one error for a question that is wrong
        if not isinstance(port, int) or isinstance(port, bool):
            raise ValueError("port is missing, or no number")  # noqa: TRY004
        span(protocol, port, port)
        return cls(given["source"], given["destination"], protocol, port)


class Answer(NamedTuple):
    """`allowed` None is unknown. `why` says what decided beside policies, or why nobody knows; `by` what policies do at
    both ends, in order.
    """

    allowed: bool | None
    why: str = ""
    by: tuple[Step, ...] = ()


def answer(result: Connectivity, question: Question) -> Answer:
    """May it? Raises ValueError for a question that is none: no address, no port, a pod that is not there."""
    return flows(result).answer(question)


def flows(result: Connectivity) -> Flows:
    """The questions to a result; made once."""
    found: Flows | None = result.__dict__.get("_flows")
    if found is None:
        found = result.__dict__["_flows"] = Flows(result)
    return found


class Flows:
    """Questions to one result."""

    def __init__(self, result: Connectivity) -> None:
        self.of = result
        self._ends: dict[str, _End] = {}
        self._gaps: dict[str, Gap | None] = {}
        self._decided: Memo = {}

    def answer(self, question: Question) -> Answer:
        """May it? Raises ValueError for a question that is none."""
        span(question.protocol, question.port, question.port)
        port = Port(question.protocol, question.port)
        source, destination = self.end(question.source), self.end(question.destination)
        for end in (source, destination):
            if end.why:
                return Answer(end.allowed, end.why)
        if source.pod and source.pod == destination.pod:
            return Answer(True, "a pod always reaches itself")
        found = [self._between(here, there, port) for here in source.parties for there in destination.parties]
        best = max(found, key=lambda one: (one.allowed is not None) + bool(one.allowed))
        if any(one.allowed is None for one in found) and not best.allowed:
            best = next(one for one in found if one.allowed is None)
        if best.allowed and not all(one.allowed for one in found):
            return best._replace(why="not for all pods of the workloads: their labels or ports differ")
        return best

    def _between(self, source: Party, destination: Party, port: Port) -> Answer:
        if not source.judged and not destination.judged:
            return Answer(None, "no policy speaks of either end")
        by: dict[Step, None] = {}
        verdicts: set[bool | None] = set()
        for here, there in self.of.pairs(source, destination):
            out, steps = self._at(here, "egress", there, port)
            into, more = self._at(there, "ingress", here, port)
            by |= dict.fromkeys((*steps, *more))
            verdicts.add(False if DENIES in (out, into) else True if out == into == LETS else None)
        if True in verdicts or verdicts <= {False}:
            return Answer(True in verdicts, "" if verdicts else "their addresses are of different families", (*by,))
        gap = self._gap(source) or self._gap(destination)
        if gap is not None:
            return Answer(None, f"{gap.resource}{f' in {gap.namespace}' * bool(gap.namespace)}: {gap.reason}, "
                          f"{gap.message}", (*by,))  # fmt: skip
        found = self.of.between(source, destination)
        said = self._said(found, span(*port, port.number))
        doubts = dict.fromkeys(step.reason for step in by if not step.sure)
        why = "" if said is not None else "; ".join(doubts) or "what decides it is not known"
        return Answer(said, why, (*by,))

    @staticmethod
    def _said(found: Outcome, port: int) -> bool | None:
        if found == UNKNOWN:
            return None
        return True if found.allowed & port else None if found.accept & port else False

    def _at(self, subject: Party, direction: Direction, other: Party, port: Port) -> tuple[int, tuple[Step, ...]]:
        """What one end does with a port: LETS, DENIES or both, and the steps to it."""
        if not subject.judged:
            return LETS, ()
        assert subject.endpoint is not None
        gap = self._gap(subject)
        if gap is not None:
            return LETS | DENIES, (
                Step(direction, "", None, None, "unknown", f"{gap.resource}: {gap.reason}, {gap.message}", sure=False),
            )
        profile = self.of.profile(subject.endpoint, direction)
        return decide(self.of, profile, subject, other, port, self._decided, lambda: self._opaque(subject, profile))

    def _opaque(self, subject: Party, profile: Profile) -> list[tuple[Key, str]]:
        """The policies because of which nobody knows what happens to a pod, each with why."""
        one = subject.endpoint
        assert one is not None
        space = self.of.spaces[one.namespace]
        found = [(policy.key, policy.error) for policy in profile.broken]
        found += [(policy.key, "it is not modelled") for policy in space.opaque
                  if profile.unmodelled and may_select(policy, space.name, space.labels, dict(one.labels))]  # fmt: skip
        return found

    def _gap(self, party: Party) -> Gap | None:
        """The gap that may hide a policy which selects a pod, or the labels that decide whether one does."""
        if not party.judged or not self.of.snapshot.gaps:
            return None
        assert party.endpoint is not None
        name = party.endpoint.namespace
        if name not in self._gaps:
            self._gaps[name] = hidden(self.of.snapshot, name)
        return self._gaps[name]

    # Ends -----------------------------------------------------------------------------------------------------------

    def end(self, name: str) -> _End:
        """An end of a question. Raises ValueError for what is none."""
        if name not in self._ends:
            self._ends[name] = self._found(name)
        return self._ends[name]

    def _found(self, name: str) -> _End:
        namespace, slash, short = name.removeprefix("workload:").partition("/")
        if not slash:
            return self._at_address(name)
        pod = self.of.pod(namespace, short)
        if pod is not None and not name.startswith("workload:"):
            return self._pod(name, pod)
        space = self.of.spaces.get(namespace)
        classes = [one for one in (space.classes if space else ())
                   if name in (one.workload, one.workload.removeprefix("workload:").partition("[")[0])]  # fmt: skip
        workloads = sorted({one.workload for one in classes})
        if len(workloads) > 1:
            raise ValueError(f"{name} is {' and '.join(workloads)}: write which")
        if workloads:
            return _End(tuple(self.of.party(one) for one in classes))
        gap = next((gap for one in (PODS, *WORKLOADS) if (gap := unread(self.of.snapshot, one, namespace))), None)
        if gap is not None:
            return _End(why=f"{name} may be there: {gap.resource}: {gap.reason}, {gap.message}")
        raise ValueError(f"there is no pod {name}, and no workload of that name")

    def _at_address(self, name: str) -> _End:
        """The pods that have an address; the address of a pod is that pod, there."""
        number = addresses.number(name)
        held = self._holders.get(number, ())
        ends = [end for place, pod in held if (end := self._pod(place, pod)).parties]
        if len({end.parties[0].endpoint for end in ends}) > 1:
            pods = listed(sorted(end.pod for end in ends))
            return _End(why=f"several pods have the address {name}: {pods}")
        if ends:
            return _End((ends[0].parties[0]._replace(address=number),), ends[0].pod)
        service = self._services.get(number)
        if service is not None:
            return _End(why=f"{name} is the address of Service {service.namespace}/{service.name}, not of a pod: "
                        "ask for its pods")  # fmt: skip
        gap = unread(self.of.snapshot, PODS, "")
        if gap is not None:
            return _End(why=f"{name} may be a pod's: {gap.resource}: {gap.reason}, {gap.message}")
        return _End((Party(None, address=number),))

    @cached_property
    def _holders(self) -> Mapping[int, list[tuple[str, Pod]]]:
        """The pods by their addresses, without those in the network of their node and those that have ended."""
        found: dict[int, list[tuple[str, Pod]]] = {}
        for space in self.of.spaces.values():
            for name, pod in space.pods.items():
                if pod.endpoint is not None and not pod.endpoint.node:
                    for address in pod.addresses:
                        found.setdefault(address, []).append((f"{space.name}/{name}", pod))
        return found

    @cached_property
    def _services(self) -> Mapping[int, Key]:
        found: dict[int, Key] = {}
        for key, content in self.of.snapshot.objects(SERVICES):
            spec = content.get("spec") or {}
            for text in (spec.get("clusterIP"), *_texts(spec.get("clusterIPs"))):
                try:
                    found[addresses.number(text or "")] = key
                except (TypeError, ValueError):
                    continue  # None is no address, and what is malformed neither
        return found

    def _pod(self, name: str, pod: Pod) -> _End:
        if pod.endpoint is None:
            return _End(allowed=False, why="a pod that has ended neither sends nor receives")
        own = pod.hosts if pod.endpoint.node else pod.addresses
        labels = self.of.labels_of(pod.endpoint.namespace)
        return _End((Party(pod.endpoint._replace(addresses=own), labels, None, pod.hosts, name),), name)


class _End(NamedTuple):
    """One end of a question: a pod by its name, the classes of a workload, an address of nobody's, or why it is none of
    these and what the answer is then.
    """

    parties: tuple[Party, ...] = ()
    pod: str = ""
    allowed: bool | None = None
    why: str = ""


def namespaces_of(result: Connectivity, question: Question) -> list[str]:
    """The namespaces of the two ends."""
    ends = (flows(result).end(name) for name in (question.source, question.destination))
    return sorted({party.endpoint.namespace for end in ends for party in end.parties if party.endpoint})


def _texts(given: object) -> Iterable[Any]:
    return given if isinstance(given, list) else ()


__all__ = ["Answer", "Flows", "Question", "Step", "answer", "flows", "namespaces_of"]
