"""The semantic difference of two results: who can do what that they could not, through what."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from posture.model import CLUSTER_SCOPE, Change, Changed, Comparison, Gap, Key, Note, Snapshot, Through, Unknown

from . import subjects
from .evaluate import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    SERVICE_ACCOUNTS,
    Access,
    Where,
    in_place,
    key_of,
    latent,
    usable,
)
from .rules import EMPTY, OWN, RuleSet, minus, names_of, renamed, rule_set, units, units_in

NAME = "rbac"
type Peers = Mapping[str, tuple[str, ...]]
"""{a namespace that is new in live: the namespaces of the baseline that it is judged by}"""

IMPLICIT = f"{subjects.GROUP}system:"
"""How the groups begin that nobody is put into by name."""
_UNBOUND_READS = (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS, CLUSTER_ROLES)
_BINDING_KINDS = {CLUSTER_ROLE_BINDINGS: "ClusterRoleBinding", ROLE_BINDINGS: "RoleBinding"}


def named(key: Key) -> str:
    """An object of this domain for people: `RoleBinding pay/debug`."""
    kind = _BINDING_KINDS.get(key.resource) or {"serviceaccounts": "ServiceAccount"}.get(key.resource)
    kind = kind or ("Role" if key.namespace else "ClusterRole")
    return f"{kind} {key.namespace}/{key.name}" if key.namespace else f"{kind} {key.name}"


def doubt(access: Access, subject: str, scope: str, through: Through, other: Snapshot | None = None) -> Gap | None:
    """The gap that may hide a grant of this subject at this scope; None when everything that counts was read.

    What was not collected on either side by the user's own choice (`-n`) hides nothing of what was asked for: pass
    the `other` snapshot to leave such gaps out.
    """
    snapshot = access.snapshot
    if through.kind == "ServiceAccount":
        suspects: Iterable[Gap | None] = (snapshot.gap(SERVICE_ACCOUNTS, scope),)
    elif subject.startswith(subjects.ROLE):
        suspects = (gap for gap in snapshot.gaps if gap.resource in ("*", *_UNBOUND_READS))
    else:
        suspects = (
            snapshot.gap(CLUSTER_ROLE_BINDINGS),
            None if scope == CLUSTER_SCOPE else snapshot.gap(ROLE_BINDINGS, scope),
            *(
                access.missing(reference)
                for where in access.wheres(subject, scope)
                for reference in access.own(where)
                if reference not in access.roles
            ),
        )
    for gap in suspects:
        if gap is None:
            continue
        if other is not None and gap.reason == "not collected":
            twin = other.gap(gap.resource, gap.namespace)
            if twin is not None and twin.reason == "not collected":
                continue
        return gap
    return None


class _Gains:
    """What `live` holds beyond `baseline`, subject by subject; hashes first, permissions only where they differ."""

    def __init__(self, baseline: Access, live: Access, peers: Peers) -> None:
        self.baseline = baseline
        self.live = live
        self.peers = peers
        self.unknown: list[Unknown] = []
        self._judged_by: dict[tuple[tuple[str, str], ...], list[tuple[str, frozenset[RuleSet]]]] = {}

    def _peers(self, subject: str, scope: str) -> list[tuple[str, frozenset[RuleSet]]]:
        """What each peer of a new namespace was granted inside: one peer for each distinct grant.

        Peers say what may be held inside the new namespace. What its accounts may do elsewhere, or in the whole
        cluster, they do not excuse.
        """
        alike = tuple(self._alike(subject, scope))
        if alike not in self._judged_by:
            found: dict[tuple[frozenset[RuleSet], str], str] = {}
            for peer, twin in alike:
                held = self.baseline.effective(twin, peer)
                named_in = peer if any(peer in names_of(one) for one in held) else ""
                found.setdefault((held, named_in), peer)
            self._judged_by[alike] = [(peer, held) for (held, _), peer in found.items()]
        return self._judged_by[alike]

    def _alike(self, subject: str, scope: str) -> list[tuple[str, str]]:
        """The peers of a new namespace, each with the subject that is there what this one is here; [] if it has none.

        What an account holds at home says nothing about how far it may reach into the namespaces of others: where
        there is no other peer, home is looked at with the eyes of a stranger.
        """
        found, home = self.peers.get(scope, ()), subjects.namespace_of(subject)
        others = [(peer, subjects.moved(subject, scope, peer)) for peer in found if peer != home]
        return others or [(peer, subjects.moved(subject, peer, scope)) for peer in found]

    def _beyond(self, held: RuleSet, subject: str, scope: str) -> RuleSet:
        """The permissions that some agreed set lacks; every peer must have had what a new namespace is granted."""
        own = self.baseline.effective(subject, scope)
        judged_by = self._peers(subject, scope)
        if not judged_by:
            return _minus(held, own, scope)
        gained = EMPTY
        for peer, agreed in judged_by:
            there = agreed | {renamed(one, peer, scope) for one in agreed}  # where rules name the peer
            mine = _minus(held, there, scope)
            gained = rule_set(gained.resources | mine.resources, gained.urls | mine.urls, gained.opaque | mine.opaque)
        return _minus(gained, own, scope)  # what was agreed to for the new namespace itself

    def at(self, where: Where) -> Iterator[Change]:
        """The changes of one subject at one scope, one for each role reference that grants something new."""
        subject, scope = where
        if subject.startswith(subjects.ROLE):
            yield from self._unbound(where, Through("ClusterRole", "", subject.removeprefix(subjects.ROLE)))
            return
        if subject == subjects.GROUP + subjects.MASTERS:
            return  # bypasses every authorizer: no grant adds to it
        agreed = self.baseline.effective(subject, scope)
        for through, bindings in self.live.own(where).items():
            held = self.live.roles.get(through)
            if held is None:
                gained, effective = self._unresolved(where, through)
            elif held in agreed:
                continue
            else:
                gained = self._beyond(usable(held, scope, self.live.snapshot), subject, scope)
                effective = not latent(gained, self.live.snapshot)
            if gained:
                yield from self._known(where, through, gained, bindings, effective=effective)

    def _unresolved(self, where: Where, through: Through) -> tuple[RuleSet, bool]:
        """A reference to a role that does not exist, or that a gap hides: what it will hold is the grant itself."""
        if self._referred(where, through):
            return EMPTY, False
        gap = self.live.missing(through)
        if gap is not None and gap.reason != "not collected":
            self.unknown.append(Unknown(NAME, *where, through, gap))
            return EMPTY, False
        return rule_set(opaque=frozenset({("role", str(through))})), gap is not None

    def _referred(self, where: Where, through: Through) -> bool:
        """Whether the baseline has this reference, or all peers of a new namespace have its like."""

        def there(subject: str, scope: str, reference: Through) -> bool:
            return any(reference in self.baseline.own(place) for place in self.baseline.wheres(subject, scope))

        subject, scope = where
        alike = self._alike(subject, scope)
        return there(subject, scope, through) or (bool(alike) and all(
            there(twin, peer, through._replace(namespace=peer) if through.namespace == scope else through)
            for peer, twin in alike
        ))  # fmt: skip

    def _unbound(self, where: Where, through: Through) -> Iterator[Change]:
        """A default role that nobody is bound to and that holds more than agreed: latent, for whoever gets bound."""
        held, agreed = self.live.roles.get(through), self.baseline.roles.get(through)
        if held is None or agreed is None or agreed is held or self.live.is_bound(through):
            return
        gained = minus(held, frozenset({agreed}))
        gap = doubt(self.live, *where, through, self.baseline.snapshot)
        if not gained:
            return
        if gap is not None:  # it may hide a binding: then the gain is that of someone
            self.unknown.append(Unknown(NAME, *where, through, gap))
            return
        yield Change(NAME, "loosened", *where, through, units(gained), (), False, *path(through, ()))

    def _known(
        self, where: Where, through: Through, gained: RuleSet, bindings: Collection[Key], *, effective: bool
    ) -> Iterator[Change]:
        gap = doubt(self.baseline, *where, through, self.live.snapshot)
        if gap is not None:
            self.unknown.append(Unknown(NAME, *where, through, gap))
            return
        found = units_in(gained, where[1])
        yield Change(NAME, "loosened", *where, through, found, (), effective, *path(through, bindings))


def _minus(held: RuleSet, agreed: frozenset[RuleSet], scope: str) -> RuleSet:
    """What is held beyond what was agreed in a place; `OWN` is spelled out only where the agreed rules name it."""
    gained = minus(held, agreed)
    if gained and OWN in names_of(gained) and any(scope in names_of(one) for one in agreed):
        return minus(in_place(held, scope), agreed)
    return gained


def path(through: Through, bindings: Collection[Key]) -> tuple[tuple[str, ...], tuple[Key, ...]]:
    """The way to a role for people, and the objects on it."""
    role = key_of(through)
    objects = (*sorted(key for key in bindings if key != role), role)
    return tuple(named(key) for key in objects), objects


def compare(
    baseline: Access,
    live: Access,
    peers: Peers | None = None,
    within: Collection[Where] | None = None,
    *,
    growth: bool = False,
    both: bool = False,
) -> Comparison:
    """What became possible, and what no longer is. `baseline` is what was agreed.

    `peers` say by which namespaces of the baseline a namespace is judged that is new in live. `within` limits the
    look to gains at some (subject, scope) pairs, or with `both` to all that is found there. compare(a, b) mirrors
    compare(b, a) when there are no peers. What is
    granted to a new subject was never agreed to, whether `growth` counts or not.
    """
    del growth
    gains = _Gains(baseline, live, peers or {})
    losses = _Gains(live, baseline, {})
    if within is not None:
        found = [change for where in within for change in gains.at(where)]
        found += [change.mirrored() for where in within for change in losses.at(where)] if both else []
        unknown = tuple(dict.fromkeys(gains.unknown + losses.unknown))
        return Comparison(tuple(sorted(found, key=_order)), (), unknown)
    found = [change for where in live.places for change in gains.at(where)]
    found += [change.mirrored() for where in baseline.places for change in losses.at(where)]
    notes = tuple(sorted(_notes(baseline, live, found)))
    unknown = tuple(dict.fromkeys(gains.unknown + losses.unknown))
    return Comparison(tuple(sorted(found, key=_order)), notes, unknown)


def again(baseline: Access, live: Access, changed: Collection[Changed], told: Collection[Where]) -> Collection[Where]:
    """Where an update may have made another comparison, or another answer of checks: the places that it touched, and
    those where what it touched counts too: cluster-wide grants everywhere, an implicit group's for all.
    """
    del changed
    if any(subject.startswith(IMPLICIT) for subject, _ in live.touched):
        return {*baseline.places, *live.places, *live.touched, *told}
    wide = (subject for subject, scope in live.touched if scope == CLUSTER_SCOPE)
    return live.touched.union((subject, scope) for subject in wide for scope in live.inside.get(subject) or ())


def carriers(result: Access, where: Where) -> Collection[Key]:
    """The roles that are granted at a place."""
    return [key_of(through) for through in result.own(where)]


def _order(change: Change) -> tuple[str, str, str, Through]:
    return change.direction, change.subject, change.scope, change.through


def _notes(baseline: Access, live: Access, changes: Iterable[Change]) -> Iterator[Note]:
    """What changed without effect: another carrier, a second grant that is gone, parts that can never be used."""
    if baseline.snapshot.gaps != live.snapshot.gaps:
        return  # what looks gone may only be unread
    changed = {(change.subject, change.scope) for change in changes}
    for where in live.grants:
        before, after = baseline.own(where), live.own(where)
        if before == after or where in changed:
            continue
        new = [through for through in after if through not in before]
        gone = [through for through in before if through not in after]
        for through in new:
            held = live.roles.get(through)
            if held is not None and _inert(held, where[1], live.snapshot):
                yield Note(NAME, "inert", *where, f"parts of {through} can never take effect in a namespace")
        if new and gone:
            yield Note(NAME, "moved", *where, f"the same as before, through {_list(new)} (was: {_list(gone)})")
        elif gone:
            yield Note(NAME, "redundant", *where, f"still held without {_list(gone)}")
        elif new:
            yield Note(NAME, "redundant", *where, f"already held without {_list(new)}")


def _inert(held: RuleSet, scope: str, snapshot: Snapshot) -> bool:
    """Whether some of a role can never be used where it is bound."""
    return bool(minus(held, frozenset({in_place(usable(held, scope, snapshot), scope)})))


def _list(found: Iterable[Through]) -> str:
    return ", ".join(sorted(str(through) for through in found))


__all__ = ["NAME", "again", "carriers", "compare", "doubt", "named", "path"]
