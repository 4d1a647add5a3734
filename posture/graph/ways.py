"""Ways to take away what an edge needs: the edits of objects after which one of its facts no longer holds.

Each domain says how its own facts are edited (`edits`); what an edge uses of a fact is worked out here, so that no more
is taken away than it needs. What runs as whom and what leads in from outside is in `doors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

from posture import admission, network, rbac
from posture.admission.compare import LABEL, opening
from posture.admission.units import ordered, violated
from posture.admission.violations import ENFORCE
from posture.kinds import BY_NAME
from posture.model import CLUSTER_SCOPE, Change, Changed, Key, Through
from posture.network import addresses, endpoints
from posture.network.allowed import NON_ISOLATED, pieces_of
from posture.network.compare import representatives
from posture.network.policies import NETWORK_POLICIES, Direction
from posture.network.ports import span
from posture.network.portset import PortSet, common_ports
from posture.network.regions import Piece
from posture.network.units import unit_of
from posture.rbac.aggregate import contributors
from posture.rbac.compare import path
from posture.rbac.evaluate import (
    CLUSTER_ROLES,
    ROLES,
    SERVICE_ACCOUNTS,
    default_role,
    key_of,
    role_of,
    scopes,
    usable,
)
from posture.rbac.match import Permission, Sets, Tree, part, solve
from posture.rbac.rules import EMPTY, RuleSet, minus, parse, rule_set, units, units_in
from posture.rbac.sentences import phrase
from posture.text import listed

from . import crossing, doors, effects, guards, structure
from .abilities import granted
from .catalogue import IN_NEW
from .evaluate import Graph
from .nodes import CAN, ENGINE, ROLE, STRUCTURE, WORKLOAD, Edge, Fact, condition
from .nodes import role_of as role_named

_CHOICES = 16
"""How many ways to narrow one role are looked at where a condition has several alternatives."""
_EDITED = ("ClusterRole", "Role", *(BY_NAME[resource].kind for resource in crossing.WORKLOAD_KINDS))
_HTTP = PortSet(span("TCP", 80, 80))


class Way(NamedTuple):
    """Edits that take a fact away, in words; without any the words say what was not looked at. A last resort takes away
    what something may need to work at all; of two the one that ends it is the last.
    """

    text: str
    changed: tuple[Changed, ...]
    last: int = 0
    breaks: tuple[str, ...] = ()
    """What stops working and no domain speaks of."""


def needs(graph: Graph, edge: Edge) -> Iterator[frozenset[Fact]]:
    """What an edge needs, each by one of some facts: also what no edge carries and can be edited, the rules of a role
    on the way and the network of a workload.
    """
    yield from edge.needs
    if edge.tail[0].startswith(ROLE) or (edge.rule == crossing.METADATA and not edge.needs):
        found = structure.facts(edge, graph)
        yield from (frozenset({one}) for one in found if one.through.kind in _EDITED)


def ways(graph: Graph, edge: Edge, fact: Fact, *, whole: bool = False) -> Iterator[Way]:
    """How a fact that an edge needs can be edited away, the narrowest first; nothing where posture knows no way.

    With `whole` a role is narrowed by all that the edge may use of it, and not by as little as will do.
    """
    if fact.domain == rbac.NAME:
        yield from _of_grant(graph, edge, fact, whole=whole)
    elif fact.domain == network.NAME:
        yield from _of_flow(graph, edge, fact)
    elif fact.domain == admission.NAME:
        yield from _of_admitted(graph, edge, fact)
    elif edge.tail[0].startswith(ROLE):
        through, scope = role_named(edge.tail[0])
        yield from _of_grant(graph, edge, Fact(rbac.NAME, edge.tail[0], scope, through), whole=whole)
    elif fact.domain == STRUCTURE:
        account = edge.head.rpartition("/")[2]
        users = sorted(name for name, runs in graph.runs(fact.scope).items() if account in runs.accounts)
        yield from (Way(*one) for one in doors.ways(graph.snapshot, edge, fact, users))
    if edge.rule in (crossing.METADATA, crossing.EXPOSED):
        yield from (Way(*one) for one in doors.ending(graph.snapshot, edge))


def objects(graph: Graph, fact: Fact) -> frozenset[Key]:
    """Every object whose edit, by any of the ways, may take a fact away; perhaps more."""
    runs = filter(None, (endpoints.key_of(graph.snapshot, fact.subject),))
    if fact.domain == rbac.NAME:
        return frozenset(rbac.evidence(graph.results["rbac"], _grant(graph, fact, EMPTY)))
    if fact.domain == network.NAME:
        space = graph.results["network"].spaces[fact.scope]
        policies = (policy.key for policy in (*space.policies, *space.above))
        return frozenset({*policies, *runs, Key(NETWORK_POLICIES, fact.scope, "")})
    if fact.domain == admission.NAME:
        live = graph.results["admission"]
        found = {key for policy in live.policies for key in policy.keys}
        space = live.spaces.get(fact.scope)
        found |= {key for one in (space.profile.openings if space else ()) for key in one.exemption.keys}
        new = guards.LEVELS if fact.through.kind == IN_NEW else ()
        return frozenset({*found, *new, Key("namespaces", "", fact.scope)})
    if fact.through.kind in ("ClusterRole", "Role"):
        role = key_of(fact.through)
        return frozenset({role, *contributors(graph.snapshot, role)})
    how = graph.runs(fact.scope).get(fact.subject)
    accounts = how.accounts if how else ()
    own = filter(None, (crossing.key_of_fact(fact),))
    return frozenset({*own, *runs, *(Key(SERVICE_ACCOUNTS, fact.scope, name) for name in accounts)})


# Permissions --------------------------------------------------------------------------------------------------------


def _of_grant(graph: Graph, edge: Edge, fact: Fact, *, whole: bool) -> Iterator[Way]:
    live = graph.results["rbac"]
    for used in _used(graph, edge, fact, whole=whole):
        if used is None:
            yield Way("there are more ways to narrow a role", ())
            continue
        for text, changed in rbac.edits(live, _grant(graph, fact, used)):
            if changed and all(one.key.resource in (CLUSTER_ROLES, ROLES) for one in changed):
                yield Way(narrowed(changed), changed)
            elif changed:
                yield Way(text, changed)
        yield from _of_contributors(graph, fact, used)


def _of_contributors(graph: Graph, fact: Fact, used: RuleSet) -> Iterator[Way]:
    """A shipped role that is made of others stays as it is: one of these that Kubernetes does not ship is narrowed."""
    live = graph.results["rbac"]
    for key in contributors(live.snapshot, key_of(fact.through)) if default_role(fact.through) else ():
        change = _grant(graph, fact._replace(through=role_of(key)), used)
        for _, changed in () if key.name.startswith("system:") else rbac.edits(live, change):
            if changed and all(one.key == key for one in changed):
                yield Way(narrowed(changed), changed)


def _grant(graph: Graph, fact: Fact, used: RuleSet) -> Change:
    """A grant as if what is used of it had been gained: that is what is to be taken back."""
    bindings = graph.results["rbac"].own((fact.subject, fact.scope)).get(fact.through, frozenset())
    words, evidence = path(fact.through, bindings)
    return Change(rbac.NAME, "loosened", *fact[1:], units_in(used, fact.scope), path=words, evidence=evidence)


def narrowed(changed: Iterable[Changed]) -> str:
    """What is taken out of roles, in words."""
    words = []
    for key, old, new in changed:
        gone = minus(parse((old or {}).get("rules") or ()), frozenset({parse((new or {}).get("rules") or ())}))
        words.append(f"take {listed([phrase(unit) for unit in units(gone)])} out of {rbac.named(key)}")
    text = listed(words)
    return text[0].upper() + text[1:]


def _used(graph: Graph, edge: Edge, fact: Fact, *, whole: bool) -> Iterator[RuleSet | None]:
    """The parts of a role without any one of which an edge's condition is not met by it; None where there are more."""
    live = graph.results["rbac"]
    held, tree = live.roles.get(fact.through), _tree(graph, edge)
    if held is None or tree is None:
        yield EMPTY
        return
    inside = None if fact.scope == CLUSTER_SCOPE else scopes(live.snapshot)
    mine = usable(held, fact.scope, live.snapshot), inside
    beside = () if fact.subject.startswith(ROLE) else granted(live, fact.subject, _scope(edge, fact))
    sets = frozenset((one.held, one.inside) for one in beside)
    choices = [frozenset(tree.leaves())] if whole else _breaking(tree, mine, sets | {mine})
    for leaves in choices[:_CHOICES]:
        yield _least(held, [part(leaf, *mine) for leaf in leaves], leaves)
    if len(choices) > _CHOICES:
        yield None


def _least(held: RuleSet, parts: Iterable[RuleSet], leaves: Iterable[Permission]) -> RuleSet:
    """What to take out of a role: the permissions, or the whole rules where they allow more than can be left without
    them, as a star does.
    """
    used = rule_set(frozenset(rule for one in parts for rule in one.resources),
                    frozenset(rule for one in parts for rule in one.urls))  # fmt: skip
    left = minus(held, frozenset({used}))
    alone = [rule_set(frozenset({rule})) for rule in left.resources]
    alone += [rule_set(frozenset(), frozenset({rule})) for rule in left.urls]
    more = [one for one in alone if any(part(leaf, one, None) for leaf in leaves)]
    return rule_set(
        used.resources.union(*(one.resources for one in more)), used.urls.union(*(one.urls for one in more))
    )


def _scope(edge: Edge, fact: Fact) -> str:
    """Where a condition is met: in a namespace, though what meets it may be granted cluster-wide."""
    place = edge.head.rpartition("@")[2]
    return place if fact.scope == CLUSTER_SCOPE else fact.scope


def _tree(graph: Graph, edge: Edge) -> Tree | None:
    """The permissions that an edge into a condition asks for."""
    if not edge.head.startswith(CAN):
        return None
    met = condition(edge.head)
    return graph.catalogue.all[met.escalation].trees[met.number or 0]


def _breaking(node: Permission | Tree, mine: tuple[RuleSet, Any], sets: Sets) -> list[frozenset[Permission]]:
    """Sets of permissions, each as small as it can be, the smallest first: without all of one set, what one role holds
    meets no part of the tree any more. Where there are more than are looked at, one more than these.
    """
    if isinstance(node, Permission):
        return [frozenset({node})] if part(node, *mine) else []
    if next(solve(node, sets, {}), None) is None:
        return []
    below = [found for one in node.parts if (found := _breaking(one, mine, sets))]
    if node.every:
        return _smallest(leaves for found in below for leaves in found)
    return reduce(lambda found, more: _smallest(one | two for one in found for two in more), below) if below else []


def _smallest(given: Iterable[frozenset[Permission]]) -> list[frozenset[Permission]]:
    """Those sets that hold none of the others."""
    found: list[frozenset[Permission]] = []
    for one in sorted(dict.fromkeys(given), key=len):
        if len(found) <= _CHOICES and not any(other <= one for other in found):
            found.append(one)
    return found


# Flows --------------------------------------------------------------------------------------------------------------


def _of_flow(graph: Graph, edge: Edge, fact: Fact) -> Iterator[Way]:
    live = graph.results["network"]
    direction: Direction = "ingress" if edge.rule == crossing.EXPOSED else "egress"
    if fact.through.kind == NON_ISOLATED:
        # To isolate pods from others than the metadata service takes knowing what they need.
        if direction == "egress":
            yield from (Way(*one) for one in guards.of_metadata(graph, edge.tail[0], fact.scope))
        return
    pieces = [*_pieces(graph, edge, fact, direction)]
    change = Change(network.NAME, "loosened", *fact[1:], tuple(unit_of(piece, direction) for piece in pieces))
    what = guards.METADATA if direction == "egress" else "addresses of the outside"
    if any(piece.who is not None for piece in pieces):
        what = "pods of other namespaces"
    for text, changed in network.edits(live, change):
        if changed and pieces:
            yield Way(text.replace("what was gained", what), changed)


def _pieces(graph: Graph, edge: Edge, fact: Fact, direction: Direction) -> Iterator[Piece]:
    """What a policy lets through to the metadata service, or in from outside."""
    space = graph.results["network"].spaces[fact.scope]
    workload = edge.tail[0] if direction == "egress" else edge.head
    wanted = crossing.METADATA_ADDRESS if direction == "egress" else crossing.PUBLIC
    new = not workload.startswith(WORKLOAD)  # pods that somebody makes
    classes = (one for one, _ in representatives(space)) if new else space.classes
    for one in classes:
        for piece in pieces_of(space, one, direction, present=not new) if new or one.workload == workload else ():
            if piece.through != fact.through:
                continue
            ranges = addresses.common(piece.ranges, wanted)
            if piece.who is None and ranges:
                ports = piece.ports if direction == "ingress" else common_ports(piece.ports, _HTTP)
                yield piece._replace(ranges=ranges, ports=ports)
            elif piece.who is not None and direction == "ingress":
                yield piece


# Admission ----------------------------------------------------------------------------------------------------------


def _of_admitted(graph: Graph, edge: Edge, fact: Fact) -> Iterator[Way]:
    live = graph.results["admission"]
    space, word = live.spaces.get(fact.scope), fact.through.kind
    if word == IN_NEW:
        yield from (Way(*one) for one in guards.of_new_namespaces(graph.snapshot))
    if space is None:
        return  # a namespace that may come has no object
    off = next((node.removeprefix(ENGINE) for node in edge.tail if node.startswith(ENGINE)), "")
    asked = (edge.rule, *graph.catalogue.all[edge.rule].uses)
    wanted = (mask for one in asked if (mask := graph.catalogue.wanted.get((one, word))))
    found_by = (effects.admitted(live, word, fact.scope, one, off).sure for one in wanted)
    mask = next(one for one in found_by if one and effects.named(one) == fact.through.name)
    found = [(through, keys) for through, _, keys in opening(space, mask)]
    label = Through(LABEL, fact.scope, ENFORCE)
    if all(through != label for through, _ in found):
        found.append((label, ()))
    for through, keys in found:
        subject, scope = space.where
        change = Change(admission.NAME, "loosened", subject, scope, through, ordered(violated(mask)), evidence=keys)
        yield from (Way(_named(text, changed), changed) for text, changed in admission.edits(live, change) if changed)


def _named(text: str, changed: Sequence[Changed]) -> str:
    """What to do about an exception, by the name of its object."""
    what = text.removeprefix("Take it away")
    if what == text:
        return text
    gone = all(one.new is None for one in changed)
    return f"{'Delete' if gone else 'Edit'} {listed([admission.named(one.key) for one in changed])}{what}"
