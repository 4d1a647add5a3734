"""The tightest edit that closes one flow: applied in memory, evaluated again, and all else that stops with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from posture.model import Changed, Content, Key

from . import addresses
from .connectivity import ACCEPTED, DENIED, Connectivity, Party, worlds
from .difference import Different, everywhere
from .endpoints import Endpoint
from .evaluate import evaluate
from .flow import Answer, Question, answer, flows
from .gaps import named
from .policies import FIELDS, NETWORK_POLICIES, Direction, Peer, Policy, Ports, Rule, compiled
from .ports import EVERY, span
from .portset import PortSet, port_set
from .units import ports_written

_IN: Direction = "ingress"
_OUT: Direction = "egress"


class Closing(NamedTuple):
    """An edit in words and as objects, and what else it stops: `stops` may hold other ports of the same two ends."""

    text: str
    changed: tuple[Changed, ...]
    stops: tuple[Different, ...]


def tightest(live: Connectivity, question: Question, said: Answer) -> Closing | None:
    """The edit that closes a flow, opens nothing and stops the fewest other connections; None where none was found."""
    found: list[tuple[tuple[int, ...], Closing]] = []
    for text, changed in _ways(live, question, said):
        new = evaluate(live.snapshot.replaced((one.key, one.new) for one in changed), live, changed)
        if answer(new, question).allowed is not False:
            continue
        different = [*everywhere(live, new)]
        if any(one.after.accept & ~one.before.accept for one in different):
            continue
        others = tuple(rest for one in different if (rest := _without(one, live, question)))
        found.append((_weight(others), Closing(text, changed, others)))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _weight(stops: tuple[Different, ...]) -> tuple[int, ...]:
    """Pairs of workloads, then addresses, then ports."""
    pairs = ports = hosts = 0
    for one in stops:
        cidr = next((end.removeprefix("external:") for end in one[:2] if end.startswith("external:")), "")
        if cidr:
            first, last = addresses.network(cidr)
            hosts += last - first + 1
        else:
            pairs += 1
        ports += (one.before.accept & ~one.after.allowed).bit_count()
    return pairs, hosts, ports


def _without(one: Different, live: Connectivity, question: Question) -> Different | None:
    """What stops beside the flow itself."""
    asked = [{party.endpoint.workload for party in flows(live).end(name).parties if party.endpoint}
             for name in (question.source, question.destination)]  # fmt: skip
    asking = zip(one[:2], asked, (question.source, question.destination), strict=True)
    if not all(end in names if names else _is_address(end, text) for end, names, text in asking):
        return one
    port = span(question.protocol, question.port, question.port)
    rest = one._replace(before=one.before._replace(accept=one.before.accept & ~port))
    return rest if rest.before.accept & ~rest.after.accept else None


def _is_address(end: str, name: str) -> bool:
    """Whether a range is this one address."""
    if not end.startswith("external:"):
        return False
    first, last = addresses.network(end.removeprefix("external:"))
    return first == last == addresses.number(name)


# Candidates ---------------------------------------------------------------------------------------------------------


def _ways(live: Connectivity, question: Question, said: Answer) -> Iterator[tuple[str, tuple[Changed, ...]]]:
    sources, destinations = (flows(live).end(name).parties for name in (question.source, question.destination))
    both = [pair for here in sources for there in destinations for pair in live.pairs(here, there)]
    ends = [tuple(pair[side] for pair in both) for side in (0, 1)]
    port = span(question.protocol, question.port, question.port)
    shown = f"{question.protocol} {question.port}"
    for way, subjects, others in ((_OUT, ends[0], ends[1]), (_IN, ends[1], ends[0])):
        steps = [step for step in said.by if step.direction == way and step.action == "accept"]
        keys = dict.fromkeys(step.policy for step in steps if step.policy is not None)
        if any(step.tier == "default" and step.policy is None for step in steps):
            yield from _isolating(live, subjects, way, question, port)
            continue
        for words, edit in ((_address(others), _excepting), (shown, _narrowing)):
            changed = tuple(
                Changed(key, content, new)
                for key in keys if (content := live.snapshot.get(key)) is not None
                and (new := edit(_Ends(live, subjects, others, way, port), key, content)) != content
            )  # fmt: skip
            if changed:
                yield f"Take {words} out of {', '.join(named(one.key) for one in changed)}", changed


def _address(others: tuple[Party, ...]) -> str:
    return next((addresses.cidrs(((one.address, one.address),))[0] for one in others if one.address is not None), "")


class _Ends(NamedTuple):
    """One direction of a flow: at which end, who is at the other, and the port."""

    live: Connectivity
    subjects: tuple[Party, ...]
    others: tuple[Party, ...]
    direction: Direction
    port: int

    def is_about(self, peer: Peer) -> bool:
        """Whether a peer is, or may be, the other end."""
        return any(
            worlds(lambda world, other=other: ACCEPTED if self.live.matches(world, peer, other) else DENIED).accept  # type: ignore[misc]
            for other in self.others
        )

    def left(self, ports: Ports) -> Ports:
        """Ports without the one that is closed, under its names too."""
        targets = self.subjects if self.direction == "ingress" else self.others
        names = tuple(
            (name, protocol) for name, protocol in ports.named
            if not any(span(its, number, number) & self.port for target in targets if target.endpoint
                       for its, number in target.endpoint.port(name, protocol))
        )  # fmt: skip
        return Ports(ports.numbered & ~self.port, names)


def _rules(ends: _Ends, key: Key, content: Content) -> Iterator[tuple[dict[str, Any], Rule]]:
    """The rules of a policy as they are written and as they are understood."""
    policy: Policy = compiled(key, content)
    return zip(content["spec"].get(ends.direction) or (), policy.rules(ends.direction) or (), strict=True)


def _peers(ends: _Ends, raw: Mapping[str, Any], rule: Rule) -> list[tuple[dict[str, Any], bool]] | None:
    """The peers of a rule, each with whether it is the other end; None for a rule that is not to be edited: it lets
    nothing through, or cannot be read whole.
    """
    written, read = raw.get(FIELDS[ends.direction][1]) or (), rule.peers or ()
    if rule.action != "accept" or len(written) != len(read) or ends.left(rule.ports) == rule.ports:
        return None
    return [(peer, ends.is_about(one)) for peer, one in zip(written, read, strict=True)]


def _made(ends: _Ends, content: Content, rules: list[dict[str, Any]]) -> Content:
    return {**content, "spec": {**content["spec"], ends.direction: rules}}


def _excepting(ends: _Ends, key: Key, content: Content) -> Content:
    """The address of the other end as an exception of the blocks that it lies in."""
    others = {other.address for other in ends.others if not other.judged}
    if len(others) != 1 or key.resource != NETWORK_POLICIES:
        return content
    address = others.pop()
    field = FIELDS[ends.direction][1]
    rules: list[dict[str, Any]] = []
    for raw, rule in _rules(ends, key, content):
        peers = _peers(ends, raw, rule)
        if not peers:
            rules.append(raw)
            continue
        kept = [_excepted(peer, address) if hit and "ipBlock" in peer else peer for peer, hit in peers]
        if any(kept):
            rules.append({**raw, field: [peer for peer in kept if peer is not None]})
    return _made(ends, content, rules)


def _excepted(peer: Mapping[str, Any], address: int | None) -> dict[str, Any] | None:
    assert address is not None
    (own,) = addresses.cidrs(((address, address),))
    block = peer["ipBlock"]
    if addresses.network(block["cidr"]) == (address, address):
        return None
    return {"ipBlock": {**block, "except": [*(block.get("except") or ()), own]}}


def _narrowing(ends: _Ends, key: Key, content: Content) -> Content:
    """The port out of the rules that allow it to the other end; the whole peer where a rule cannot say that."""
    field = FIELDS[ends.direction][1]
    rules: list[dict[str, Any]] = []
    for raw, rule in _rules(ends, key, content):
        peers, left = _peers(ends, raw, rule), ends.left(rule.ports)
        hit = [peer for peer, found in peers or () if found]
        if peers is None or (peers and not hit):
            rules.append(raw)
            continue
        kept = [peer for peer, found in peers if not found]
        if kept:
            rules.append({**raw, field: kept})
        if key.resource == NETWORK_POLICIES and (left.numbered or left.named):
            rules.append({**raw, **({field: hit} if hit else {}), "ports": ports_written(port_set(left))})
    return _made(ends, content, rules)


def _isolating(
    live: Connectivity, subjects: tuple[Party, ...], direction: Direction, question: Question, port: int
) -> Iterator[tuple[str, tuple[Changed, ...]]]:
    """A NetworkPolicy that isolates the pods and allows all but the port."""
    classes = [party.endpoint for party in subjects if party.endpoint is not None and not party.endpoint.node]
    if not classes:
        return
    one: Endpoint = classes[0]
    labels = dict(set.intersection(*(set(each.labels) for each in classes)))
    short = one.workload.partition("/")[2].partition("[")[0]
    name = f"{short}-{direction}-without-{question.protocol.lower()}-{question.port}"
    key = Key(NETWORK_POLICIES, one.namespace, name)
    if live.snapshot.entry(key) is not None or not labels:
        return
    spec = {
        "podSelector": {"matchLabels": dict(sorted(labels.items()))},
        "policyTypes": [FIELDS[direction][0]],
        direction: [{"ports": ports_written(PortSet(EVERY & ~port))}],
    }
    text = f"Add {named(key)}, which isolates {short} for {direction} and allows all but {question.protocol}"
    yield f"{text} {question.port}", (Changed(key, None, {"spec": spec}),)
