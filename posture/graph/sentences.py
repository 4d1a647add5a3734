"""Sentences of the graph, as a person would say them: nodes, edges, and a path in as few lines as still are a proof."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from posture.admission.sentences import phrase as violated
from posture.model import CLUSTER_SCOPE, AttackPath, Through
from posture.network.allowed import HOST_NETWORK, NON_ISOLATED
from posture.rbac.sentences import phrase as permitted
from posture.text import count, listed

from . import crossing
from .catalogue import Escalation
from .evaluate import MEMBER, ONE_OF
from .following import EVERYWHERE, HOLDS
from .nodes import (
    ABSENT,
    ACCOUNT,
    CAN,
    CLOUD,
    ENGINE,
    EVERY_NODE,
    GROUP,
    MACHINE,
    NAMESPACE_ADMIN,
    NODE,
    NODE_IDENTITY,
    OUTSIDE,
    REWRITE,
    ROLE,
    SECRETS,
    STRUCTURE,
    USER,
    WORKLOAD,
    Edge,
    Fact,
    condition,
    role_of,
)

IMPLIED = "everything"
"""The rule of what cluster-admin has: all there is."""
_KINDS = {ACCOUNT: "ServiceAccount", ABSENT: "ServiceAccount", WORKLOAD: "workload", USER: "User", GROUP: "Group"}
_OF_NAMESPACE = re.compile(r"\b(of|in|from|across) (?:a|the) namespace\b|\ba namespace(?='s\b)")
_OWN = "one's own"
_SHOWN = 2

type Titles = Mapping[str, str]
"""What escalations are called, by id; what their single requests ask, by `ID#NUMBER`; and what only a graph knows of a
step (`words`), by `escape_of` and `opening_of`.
"""
NONE: Titles = {}


def escape_of(workload: str) -> str:
    """The key of by what a workload has a node's root."""
    return f"escape {workload}"


def opening_of(namespace: str, violation: str) -> str:
    """The key of what takes a violation out of the policies that would refuse it in a namespace."""
    return f"opening {namespace} {violation}"


# Nodes --------------------------------------------------------------------------------------------------------------


def name(node: str, titles: Titles = NONE) -> str:
    """A node for people: `ServiceAccount pay/web`, `Deployment pay/web`, `every node`, `whoever can create pods`."""
    if node == OUTSIDE:
        return "the outside"
    if node.startswith(CAN):
        return f"whoever can {ability(node, titles)}"
    if node.startswith(ROLE):
        return f"whoever is granted {_role(node)}"
    if node.startswith(REWRITE):
        return f"whoever may give {_role(node)} any rule"
    for kind, word in _KINDS.items():
        if node.startswith(kind):
            return _named(word, node.removeprefix(kind)) + (" that does not exist yet" if kind == ABSENT else "")
    return _target(node)


def _named(word: str, name: str) -> str:
    """One identity or workload, or a set of them."""
    namespace, slash, rest = name.partition("/")
    if word in ("User", "Group"):
        return f"any {word} that grants name" if name == "*" else f"{word} {name}"
    if slash and rest == "*":
        return f"any {word}" + ("" if namespace == CLUSTER_SCOPE else f" of {namespace}")
    bare, bracket, kind = name.removesuffix("]").rpartition("[")
    return f"{kind} {bare}" if word == "workload" and bracket and name.endswith("]") else f"{word} {name}"


def with_others(source: str, others: int) -> str:
    """A source, and how many more there are: `the outside and 2 other sources`."""
    return name(source) + (f" and {count(others, 'other source')}" if others else "")


def reaching(path: AttackPath, can: str = "can") -> str:
    """A path in one sentence, which begins with a name: `User eve and 1 other source can reach every Secret`."""
    return f"{with_others(path.source, path.others)} {can} reach {name(path.target)}"


def _target(node: str) -> str:
    """A target, or a node of the cluster."""
    if node in (NODE, EVERY_NODE):
        return "a node" if node == NODE else "every node"
    if node.startswith(MACHINE):
        return f"node {node.removeprefix(MACHINE)}"
    if node == SECRETS:
        return "every Secret"
    if node.startswith(f"{SECRETS}/"):
        return f"the Secrets of {node.partition('/')[2]}"
    if node.startswith(NAMESPACE_ADMIN):
        name = node.removeprefix(NAMESPACE_ADMIN)
        return f"namespace-admin of {'every namespace' if name == CLUSTER_SCOPE else name}"
    if node.startswith(ENGINE):
        return f"engine {node.removeprefix(ENGINE)}"
    if node == NODE_IDENTITY:
        return "the cloud identity of a node"
    return f"cloud identity {node.removeprefix(CLOUD)}" if node.startswith(CLOUD) else node


def _role(node: str) -> str:
    (kind, _, name), scope = role_of(node)
    which = {"*": f"any {kind}", "": f"a {kind} that does not exist yet"}.get(name, f"{kind} {name}")
    return which if scope == CLUSTER_SCOPE else f"{which} in {scope}"


def titled(escalations: Iterable[Escalation]) -> Titles:
    """The titles of escalations and of their requests."""
    found: dict[str, str] = {}
    for one in escalations:
        found[one.id] = one.title
        found |= {f"{one.id}#{number}": _asked(request) for number, request in enumerate(one.requests)}
    return found


def ability(node: str, titles: Titles) -> str:
    """What whoever meets the condition of an escalation, or one request of it, can do and where."""
    identity, number, scope, names = condition(node)
    if number is None:
        text = titles.get(identity, identity)
    else:
        text = titles.get(f"{identity}#{number}") or f"{titles.get(identity, identity)}, part {number + 1}"
    text = text[:1].lower() + text[1:] if text[1:2].islower() else text
    return _placed(text, scope) + (f" ({listed(sorted({*names.values()}))} only)" if names else "")


def _placed(text: str, scope: str) -> str:
    """What can be done, and where; a text that speaks of a namespace names it."""
    where = "every namespace" if scope == CLUSTER_SCOPE else scope
    placed = _OF_NAMESPACE.sub(lambda found: f"{found[1]} {where}" if found[1] else where, text)
    if placed != text or (scope == CLUSTER_SCOPE and "cluster" in text.lower()):
        return placed
    return f"{text} cluster-wide" if scope == CLUSTER_SCOPE else f"{text} in {scope}"


def _asked(tree: Mapping[str, Any]) -> str:
    """A tree of permissions: `patch namespaces`, `create pods or create jobs`."""
    for word, between in (("all", " and "), ("any", " or ")):
        if word in tree:
            parts = list(dict.fromkeys(map(_asked, _least(tree[word]) if word == "any" else tree[word])))
            return between.join(parts[:_SHOWN]) + (between + "more" if len(parts) > _SHOWN else "")
    names = [name for name in tree.get("resourceNames", ()) if not name.startswith("$")]
    kept = {field: value for field, value in tree.items() if field != "resourceNames"}
    return permitted({"apiGroups": (), "resources": (), **kept} | ({"resourceNames": names} if names else {}))


def _least(trees: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Alternatives without those that say another one and more: to create by name takes patch besides."""
    said = {_asked(tree) for tree in trees}
    return [tree for tree in trees if not (said & set(map(_asked, tree.get("all", ()))))]


# Facts --------------------------------------------------------------------------------------------------------------


def _through(through: Through) -> str:
    return f"{through.kind} {f'{through.namespace}/' if through.namespace else ''}{through.name}"


def _fact(fact: Fact, edge: Edge, titles: Titles) -> str:
    """What gives an edge."""
    through = fact.through
    if fact.domain == "admission":
        what = violated(through.name.partition(":")[0])
        if through.kind == "admitsUnlabelled":
            return f"without its Pod Security labels Namespace {fact.scope} would admit {what}"
        if through.kind == "admitsInNewNamespace":
            return f"a new namespace admits {what}"
        engine = next((node for node in edge.tail if node.startswith(ENGINE)), "")
        if engine:
            return f"without {name(engine)} Namespace {fact.scope} would admit {what}"
        by = titles.get(opening_of(fact.scope, through.name)) if through.kind == "admits" else None
        return f"{_admits(fact.scope)}{what}" + (f", by {by}" if by else "")
    if fact.domain == "network":
        if through.kind == HOST_NETWORK:
            return "it is in its node's network"
        if through.kind == NON_ISOLATED:
            return f"no policy isolates it for {through.name}"
        return f"{_through(through)} lets it {'in' if edge.rule == crossing.EXPOSED else 'out'}"
    if edge.rule == crossing.EXPOSED and through.kind not in crossing.DOOR_KINDS:
        return "a port of its nodes (hostPort)"
    text = _through(through)
    whose = fact.domain != STRUCTURE and fact.subject not in edge.tail and fact.subject.startswith(GROUP)
    return f"{text} of {name(fact.subject, titles)}" if whose else text


def _admits(namespace: str) -> str:
    return f"Namespace {namespace} admits "


def _need(need: Iterable[Fact], edge: Edge, titles: Titles) -> str:
    """One need: what gives it, or the first of several that do."""
    found = sorted({_fact(fact, edge, titles) for fact in need})
    more = [f"{len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return " or ".join([*found[:_SHOWN], *more])


def _needs(edge: Edge, titles: Titles, domains: Sequence[str] = ()) -> list[str]:
    """The needs of an edge in words, those of some domains only if they are given."""
    chosen = [need for need in edge.needs if not domains or any(fact.domain in domains for fact in need)]
    found = list(dict.fromkeys(_need(need, edge, titles) for need in chosen))
    for start in {_admits(fact.scope) for need in chosen for fact in need if fact.domain == "admission"}:
        mine = [text for text in found if text.startswith(start)]  # of one namespace they are one clause
        if len(mine) > 1:
            found[found.index(mine[0])] = ", and ".join((mine[0], *(text.removeprefix(start) for text in mine[1:])))
            found = [text for text in found if text not in mine[1:]]
    return found


# Edges --------------------------------------------------------------------------------------------------------------


def sentence(edge: Edge, titles: Titles = NONE) -> str:
    """One edge in one sentence: who holds its tail, and what follows, by what."""
    return _sentence([edge], titles)


def steps(
    edges: Sequence[Edge], titles: Titles = NONE, whose: Callable[[Edge], Any] = lambda _: None
) -> list[tuple[str, tuple[Edge, ...]]]:
    """A proof in order, in as few sentences as it takes, each with its edges.

    An edge that says little is told with the one that uses it, and what one identity does by itself is told of it,
    unless several made it possible: `whose` says which finding an edge is of, if any.
    """
    holders, before = _holders(edges), ""
    found: list[tuple[str, tuple[Edge, ...]]] = []
    for group in _groups(edges, whose):
        found.append((_sentence(group, titles, holders, before), tuple(group)))
        before = group[-1].head
    return found


def _holders(edges: Iterable[Edge]) -> Mapping[str, str]:
    """Who alone has what steps before say that somebody can, by ability."""
    found: dict[str, frozenset[str]] = {}
    for edge in edges:
        if edge.head.startswith(CAN) or edge.rule == MEMBER:
            found[edge.head] = frozenset().union(*(found.get(node, frozenset({node})) for node in edge.tail))
    return {ability: next(iter(names)) for ability, names in found.items() if len(names) == 1}


def _groups(edges: Sequence[Edge], whose: Callable[[Edge], Any]) -> list[list[Edge]]:
    """The edges in groups that make one sentence each, in the order of their last."""
    users: dict[str, set[Edge]] = {}
    for edge in edges:
        for node in edge.tail:
            users.setdefault(node, set()).add(edge)
    given = {edge.head: edge for edge in edges}
    told: set[Edge] = set()
    groups: list[list[Edge]] = []
    for last in reversed(edges):
        if last in told:
            continue
        group = _group(last, given, users)
        heads = {edge.head for edge in group}
        roots = {node for edge in group for node in edge.tail} - heads
        if len(roots) > 1 or len({whose(edge) for edge in group if whose(edge)}) > 1:  # each is told apart
            group = _group(last, given, users, joined=False)
        told |= group
        groups.insert(0, [edge for edge in edges if edge in group])
    return groups


def _group(last: Edge, given: Mapping[str, Edge], users: Mapping[str, set[Edge]], *, joined: bool = True) -> set[Edge]:
    """An edge, and what is told with it: edges before it that say little and that nothing else uses."""
    group = {last}
    while True:
        more = {
            given[node] for edge in group if joined or len(edge.tail) == 1
            for node in edge.tail if node in given and users[node] <= group and _is_told_with(given[node], edge, users)
        }  # fmt: skip
        if more <= group:
            return group
        group |= more


def _is_told_with(edge: Edge, following: Edge, users: Mapping[str, set[Edge]]) -> bool:
    if following.rule == crossing.ON_NODE or (following.rule == EVERYWHERE and following.head not in users):
        return True
    return edge.rule in (MEMBER, ONE_OF, EVERYWHERE, HOLDS) or edge.head.startswith(CAN)


def _sentence(group: Sequence[Edge], titles: Titles, holders: Mapping[str, str] = NONE, before: str = "") -> str:
    """Edges that follow each other and begin at the first's tail; `before` is where the sentence before it ends."""
    who, member, as_member = _who(group[0], titles, holders), "", ""
    text = ""
    carried: tuple[frozenset[Fact], ...] = ()
    for place, edge in enumerate(group):
        last = place == len(group) - 1
        if edge.rule == MEMBER and not last:
            as_member = f"as a member of {name(edge.head, titles)}"
            who, as_member = (who, f"{as_member} ") if text else (f"{who}, {as_member},", "")
        elif edge.rule == ONE_OF:
            who = name(edge.head, titles)
            one = name(edge.tail[0], titles).replace("any ", "a ", 1)
            member = "is one of them" if before == group[0].tail[0] else f"is {one}"
        elif not last and edge.head.startswith(f"{CAN}{edge.rule}@"):
            carried += edge.needs  # what has to be met was said, and what follows names it
        elif not (place and (edge.rule == crossing.ON_NODE or (edge.rule == EVERYWHERE and not last))):
            between = ", and " if edge.rule == HOLDS else ", and so "
            clause = _clause(edge._replace(needs=carried + edge.needs), titles, alone=place == 0)
            text += (between if text else "") + as_member + clause
            carried, as_member = (), ""
    return f"{who} {' and '.join(filter(None, (member, text)))}"


def _who(edge: Edge, titles: Titles, holders: Mapping[str, str]) -> str:
    """Who takes a step: by name where it was said who can what it takes."""
    who = dict.fromkeys(holders.get(node, node) if node.startswith(CAN) else node for node in edge.tail)
    if len(who) == 1:
        return name(next(iter(who)), titles)
    return " together with ".join(_one_of_them(node, titles) for node in who)


def _one_of_them(node: str, titles: Titles) -> str:
    """Somebody who holds a part of what it takes."""
    text = name(node, titles)
    if node.startswith(ENGINE):
        return f"whoever has switched {text} off"
    return f"whoever has {text}" if node in (NODE, EVERY_NODE) or node.startswith(MACHINE) else text


def _clause(edge: Edge, titles: Titles, *, alone: bool) -> str:
    """What whoever holds the tail of an edge gets."""
    if edge.rule == MEMBER:
        return f"is a member of {name(edge.head, titles)}"
    if edge.rule == crossing.EXPOSED:
        doors = _needs(edge, titles, (STRUCTURE,))
        lets = _needs(edge, titles, ("network",))
        return f"reaches {name(edge.head, titles)} through {listed(doors)}" + (f" ({listed(lets)})" if lets else "")
    if edge.rule == crossing.RUNS_AS:
        return f"runs as {name(edge.head, titles)}"
    if edge.rule == crossing.RUNS_THERE:
        return f"runs {name(edge.head, titles).replace('any ', 'every ', 1)}"
    if edge.rule == crossing.ESCAPES:
        by = titles.get(escape_of(edge.tail[0]))
        root = f"has the root of {'its node' if edge.head == NODE else name(edge.head, titles)}"
        return f"{root}, by {by}" if by else root
    if edge.rule == crossing.ON_NODE:
        return "is a node" if edge.tail[0] != EVERY_NODE else "includes a node"
    if edge.rule == crossing.METADATA:
        lets = _needs(edge, titles)
        return "reaches the cloud's metadata service, and so acts as its node" + (f" ({listed(lets)})" if lets else "")
    if edge.rule in (EVERYWHERE, IMPLIED):
        of_set = alone and not edge.tail[0].startswith(CAN)
        return f"includes {name(edge.head, titles)}" if of_set else gains(edge.head, titles)
    if edge.tail[0].startswith(CAN) and edge.rule != HOLDS:
        return f"{gains(edge.head, titles)} ({'; '.join([edge.rule, *_needs(edge, titles)])})"
    found = _needs(edge, titles)
    return gains(edge.head, titles) + (f", through {listed(found)}" if found else "")


def gains(head: str, titles: Titles) -> str:
    """What somebody gets who gets a node of the graph."""
    if head.startswith(CAN):
        return f"can {ability(head, titles).replace('oneself', 'itself').replace(_OWN, 'its own')}"
    if head.startswith(ROLE):
        return f"is granted {_role(head)}"
    if head.startswith(REWRITE):
        return f"may give {_role(head)} any rule"
    text = name(head, titles)
    if head.startswith(WORKLOAD):
        return f"takes over {text}"
    if head.startswith((ACCOUNT, ABSENT, USER, GROUP)):
        return f"becomes {text}"
    if head.startswith(SECRETS):
        return f"reads {text}"
    if head.startswith(ENGINE):
        return f"switches {text} off"
    return f"acts as {text}" if head.startswith(CLOUD) else f"gets {text}"
