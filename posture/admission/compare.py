"""The semantic difference of two results: what is admitted in a namespace that was refused, and because of what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import NamedTuple

from posture.kinds import RBAC
from posture.layer import differing
from posture.model import Change, Changed, Comparison, Gap, Key, Note, Through, Unit, Unknown
from posture.text import listed

from .enforcement import Part, Profile
from .evaluate import NAMESPACES, READS, Admission, Enforced, Where, explained, like, namespace_of, place_of, refused_as
from .gaps import doubt, named_through, unanswered, unseen
from .policy import ANY, Exemption, Policy, Space
from .register import Entry, entry_of, register, wanting
from .units import ordered, own, violated
from .untold import untold
from .violations import ENFORCE

NAME = "admission"
LABEL = "Label"
PODS_ONLY = "podsecurity"
"""The engine of which test requests show all that it refuses."""
NO_POLICY = "NoPolicy"
"""What one would edit where nothing refuses a request that is made in no namespace."""
_NOTHING = Through("", "", "")
type Peers = Mapping[str, tuple[str, ...]]


def compare(
    baseline: Admission,
    live: Admission,
    peers: Peers | None = None,
    within: Collection[Where] | None = None,
    *,
    growth: bool = False,
    both: bool = False,
) -> Comparison:
    """What is admitted now and was not, and what is no longer. `baseline` is what was agreed.

    `peers` say by which namespaces of the baseline one is judged that is new in live; one without peers is judged as
    one without labels of its own. With `growth` nothing was agreed for what is new. `within` limits the look to gains
    at some places, or with `both` to all that is found there.
    """
    if within is not None and both:  # what one change opens is told in many places
        whole = compare(baseline, live, peers, growth=growth)
        return Comparison(tuple(one for one in whole.changes if one.where[:2] in within), (),
                          tuple(one for one in whole.unknown if (one.subject, one.scope) in within))  # fmt: skip
    gains = Gains(baseline, live, peers or {}, growth=growth)
    if within is not None:
        found = [change for where in within for change in gains.at(where)]
        return Comparison(tuple(sorted(found, key=_order)), (), tuple(dict.fromkeys(gains.unknown)))
    losses = Gains(live, baseline, {}, growth=growth, back=True)
    found = [change for where in gains.places() for change in gains.at(where)]
    found += [change.mirrored() for where in losses.places() for change in losses.at(where)]
    doubts = [*gains.unknown, *losses.unknown]
    unknown = tuple(dict.fromkeys([*doubts, *untold(NAME, baseline, live, found, doubts)]))
    return Comparison(tuple(sorted(found, key=_order)), tuple(_notes(gains)), unknown)


def again(
    baseline: Admission, live: Admission, changed: Collection[Changed], told: Collection[Where]
) -> Collection[Where] | None:
    """Where an update may have made another comparison: what a policy or an exception opens is told in many places."""
    del baseline, told
    # Grants matter to security context constraints alone: where they do, namespaces are touched.
    mine = any(key.resource in READS and not key.resource.endswith(RBAC) for key, _, _ in changed)
    return None if mine or live.touched else ()


def carriers(result: Admission, where: Where) -> Collection[Key]:
    """The objects of the exceptions that count at a place, and of all policies: each may, once it is another."""
    space = result.spaces.get(namespace_of(where))
    exemptions = (share.exemption for share in space.shares.values()) if space else ()
    return {key for one in (*result.policies, *exemptions) for key in one.keys}


def _order(change: Change) -> tuple[object, ...]:
    return change.direction, change.subject, change.scope, change.through


class _Found(NamedTuple):
    """What was gained through one thing: units, and the objects that may have made it so."""

    units: list[Unit]
    keys: dict[Key, None]


class Gains:
    """What `live` admits beyond `baseline`, namespace by namespace; only those that are not the same are looked at."""

    def __init__(self, baseline: Admission, live: Admission, peers: Peers, *, growth: bool, back: bool = False) -> None:
        self.baseline = baseline
        self.live = live
        self.peers = peers
        self.growth = growth
        self.back = back
        """Whether this is the way back: what is gone there was lost, and is told as that."""
        self.unknown: list[Unknown] = []

    def places(self) -> list[Where]:
        """Where anything may have been gained."""
        names = {name for name in differing(self.baseline.spaces, self.live.spaces) if name in self.live.spaces}
        names |= self.peers.keys() & self.live.spaces.keys()
        if self.baseline.snapshot.gaps or self.live.snapshot.gaps:
            names |= {name for name in self.live.spaces if self._hidden(place_of(name))}
        before, after = register(self.baseline), register(self.live)
        if before is not after:
            names |= {name for through, one in after.items() if _wanting(one) != _wanting(before.get(through))
                      for name in one.opens}  # fmt: skip
        if self.baseline.policies != self.live.policies:
            names.add("")
        return [place_of(name) for name in sorted(names)]

    def at(self, where: Where) -> Iterator[Change]:
        """The changes at one place, one for each thing that one would edit."""
        name = namespace_of(where)
        space = self.live.spaces.get(name)
        if space is None:
            return
        agreed = self._agreed(name, space)
        found: dict[Through, _Found] = {}
        if agreed is None:
            for through, mask, keys in opening(space, space.asked & ~space.profile.refused & ~space.profile.unknown):
                _add(found, through, violated(mask), keys)
            self._shaped(space, [], found)
        else:
            self._refused(space, [profile for profile, _ in agreed], found)
            self._shaped(space, agreed, found)
            self._own(space, [profile for profile, _ in agreed], found)
        self._exceptions(space, found)
        if not name:
            self._policies(found)
        gap = self._hidden(where) if agreed is not None else None
        if gap is not None and not found:
            self.unknown.append(Unknown(NAME, *where, _NOTHING, gap))
        for through, one in sorted(found.items()):
            if gap is not None:
                self.unknown.append(Unknown(NAME, *where, through, gap))
                continue
            keys = (*one.keys, *([Key(NAMESPACES, "", name)] if name else []))
            yield Change(NAME, "loosened", *where, through, ordered(one.units), path=(named_through(through),),
                         evidence=tuple(dict.fromkeys(keys)))  # fmt: skip

    def _hidden(self, where: Where) -> Gap | None:
        """The gap, on either side, because of which nothing can be said of a place."""
        before, after = self.baseline.snapshot, self.live.snapshot
        return doubt(self.live, *where, _NOTHING, before) or doubt(self.baseline, *where, _NOTHING, after)

    def _agreed(self, name: str, space: Enforced) -> list[tuple[Profile, Space]] | None:
        """How a namespace is judged: by itself, by its peers, or as one without labels; None: nothing was agreed."""
        before = self.baseline.spaces
        if name in self.peers:
            peers = [(before[peer].profile, before[peer].space) for peer in self.peers[name] if peer in before]
            alone = Space.of(name, None)
            return peers or [(like(self.baseline, alone), alone)]
        old = before.get(name)
        if old is not None:
            return [(old.profile, old.space)]
        return None if self.growth else [(like(self.baseline, space.space), space.space)]

    # Violations -----------------------------------------------------------------------------------------------------

    def _refused(self, space: Enforced, agreed: list[Profile], found: dict[Through, _Found]) -> None:
        """What live does not refuse and was refused: of peers each one must have admitted it."""
        lost = 0
        for profile in agreed:
            lost |= profile.refused
        lost &= space.asked & ~space.profile.refused
        if not lost:
            return
        for part in space.profile.parts:
            doubtful = part.unknown & lost & ~_doubted(agreed, part)
            if doubtful:
                lost &= ~doubtful
                policy = part.policy
                text = f"{named_through(policy.through)}: {part.why or policy.opaque}"
                self._cannot(space, policy.through, text)
        ways = _ways(space, agreed, lost)
        while lost:
            through, (mask, keys) = max(ways.items(), key=lambda way: ((way[1][0] & lost).bit_count(), way[0]))
            _add(found, through, violated(mask & lost), keys)
            lost &= ~mask

    def _shaped(self, space: Enforced, agreed: list[tuple[Profile, Space]], found: dict[Through, _Found]) -> None:
        """What exceptions take out of requests that are like what they are for, and was refused in these."""
        profile, name = space.profile, space.space.name
        for one in profile.openings:
            exemption = one.exemption
            if exemption.built_in:
                continue
            opened = profile.opened[one.through].violations if one.shape != ANY else 0
            mask = 0 if agreed else opened
            for old, place in agreed:
                if exemption.shape is None and not _has(old, exemption):
                    text = (
                        f"{named_through(exemption.through_in(name))} {exemption.what}: what that is, is not evaluated"
                    )
                    self._cannot(space, exemption.through_in(name), text)
                if opened and not (_has(old, exemption) and not opened & ~old.opened[one.through].violations):
                    mask |= refused_as(self.baseline, old, place, one.shape, opened)
            if mask:
                keys = (key for part, _ in one.own for key in part.policy.keys)
                _add(found, exemption.through_in(name), violated(mask, one.shape), [*exemption.keys, *keys])

    def _cannot(self, space: Enforced, through: Through, why: str) -> None:
        gap = Gap(through.kind, space.space.name, "not modelled", why)
        self.unknown.append(Unknown(NAME, *space.where, through, gap))

    # Controls of their own ------------------------------------------------------------------------------------------

    def _own(self, space: Enforced, agreed: list[Profile], found: dict[Through, _Found]) -> None:
        """Policies of which no test request says what they refuse: by where they count, their action and content."""
        name = space.space.name
        before: dict[tuple[Through, Hashable], list[tuple[Part, Profile]]] = {}
        for profile in agreed:
            for mark, part in self._silent(profile).items():
                before.setdefault(mark, []).append((part, profile))
        for sides in before.values():
            part, profile = sides[0]
            policy, unit = part.policy, {"control": own(profile.through[part.policy.through][0].policy)}
            parts = space.profile.through.get(policy.through, ())
            mine = next((one for one in parts if _same(one.policy, policy)), None) or _twin(space.profile, policy)
            mine = mine or _generated(parts, policy, profile)
            if mine is None and any(one.policy.denies and not _known(one.policy, profile) for one in parts):
                text = f"{named_through(policy.through)} changed: what it refuses now is not evaluated"
                self._cannot(space, policy.through, text)
            elif mine is None or mine.policy.enforces is False:
                keys = (key for one in self.live.policies if one.through == policy.through for key in one.keys)
                _add(found, policy.through_in(name), [unit], [*policy.keys, *keys])
            elif mine.policy.enforces is None and policy.enforces is True:
                self._cannot(space, policy.through, f"{named_through(policy.through)}: {mine.policy.why}")
            else:
                agreeing = [{exemption.what for exemption in _taking(one)} for one, _ in sides]
                for exemption in _taking(mine):
                    if not all(exemption.what in one for one in agreeing):
                        _add(found, exemption.through_in(name), [unit | {"except": exemption.what}], exemption.keys)

    def _silent(self, profile: Profile) -> dict[tuple[Through, Hashable], Part]:
        """The policies that are controls of their own: no test request in any namespace explains them."""
        return {
            (part.policy.through, part.policy.content): part for part in profile.parts
            if part.silent and part.policy.denies and not part.variant.why
            and (part.policy.opaque or not explained(self.baseline, part.policy))
        }  # fmt: skip

    # Exceptions and policies themselves -----------------------------------------------------------------------------

    def _exceptions(self, space: Enforced, found: dict[Through, _Found]) -> None:
        """What is wrong with exceptions that open something here, and was not wrong with the same before."""
        for through, share in space.shares.items():
            entry, old = entry_of(self.live, through), entry_of(self.baseline, through)
            if self.back and old is not None and old.state == "unknown":
                continue  # nobody can say that it is better kept
            if share.opens and entry is not None:
                was = {*wanting(old), *(["unused"] if old.state == "inert" else [])} if old else set()
                new = [{"exception": state} for state in wanting(entry) if state not in was]
                gap = unseen(self.live.snapshot, space.space.name) or unseen(self.baseline.snapshot, space.space.name)
                if gap is not None and {"exception": "unused"} in new:
                    self.unknown.append(Unknown(NAME, *space.where, through, gap))
                    new.remove({"exception": "unused"})
                if new:
                    _add(found, through, new, entry.keys)

    def _policies(self, found: dict[Through, _Found]) -> None:
        """Policies that fail open or for which nothing answers, and what changes requests, and did not."""
        before = {policy.through: policy for policy in self.baseline.policies}
        same = {(policy.engine, policy.content): policy for policy in self.baseline.policies}
        self._changed()
        for policy in self.live.policies:
            old = before.get(policy.through) or same.get((policy.engine, policy.content))
            units = [unit for unit in states(policy) if unit not in [*states(old)]]
            unsure = next((one for one in (policy, old) if one and one.denies and one.up is None), None)
            if unsure and old and (policy.up is None) != (old.up is None):
                gap = unanswered(self.live.snapshot) or unanswered(self.baseline.snapshot)
                why = Gap(policy.through.kind, "", "not modelled", f"{named_through(policy.through)}: {unsure.why}")
                self.unknown.append(Unknown(NAME, *place_of(""), policy.through, gap or why))
                units = [unit for unit in units if unit != {"policy": "down"}]
            if units:
                _add(found, policy.through, units, policy.keys)

    def _changed(self) -> None:
        """Policies that refuse other things than before, of which test requests show a part only."""
        sides: list[dict[Through, set[Hashable]]] = [defaultdict(set), defaultdict(set)]
        for side, result in zip(sides, (self.baseline, self.live), strict=True):
            for policy in result.policies:
                if policy.denies and not policy.opaque and policy.engine != PODS_ONLY:
                    side[policy.through].add(policy.content)
        anywhere = {content for contents in sides[1].values() for content in contents}
        for through, contents in sides[0].items():
            if through in sides[1] and contents - anywhere:
                text = f"{named_through(through)} changed: what it refuses beside what is tested is not evaluated"
                gap = Gap(through.kind, "", "not modelled", text)
                self.unknown.append(Unknown(NAME, *place_of(""), through, gap))


def states(policy: Policy | None) -> Iterator[Unit]:
    """What can be said of a policy itself: it changes requests, fails open, or nothing answers for it."""
    if policy is None:
        return
    if policy.engine == "mutating" or (policy.opaque and not policy.denies and policy.opaque.startswith("mutates")):
        yield {"mutation": policy.engine, "content": str(policy.content)}
    elif policy.denies:
        if policy.open:
            yield {"policy": "fails open"}
        if policy.up is False:
            yield {"policy": "down"}


def _wanting(entry: Entry | None) -> tuple[str, ...]:
    return tuple(wanting(entry)) if entry is not None and entry.opens else ()


def _add(found: dict[Through, _Found], through: Through, units: Iterable[Unit], keys: Iterable[Key]) -> None:
    one = found.setdefault(through, _Found([], {}))
    one.units.extend(units)
    one.keys.update(dict.fromkeys(keys))


def _has(profile: Profile, exemption: Exemption) -> bool:
    """Whether there is the same exemption."""
    mine = next((one.exemption for one in profile.openings if one.through == exemption.through), None)
    return mine is not None and (mine.shape, mine.what) == (exemption.shape, exemption.what)


def _same(one: Policy, other: Policy) -> bool:
    return one.through == other.through and one.content == other.content


def _twin(profile: Profile, policy: Policy) -> Part | None:
    """A policy of another name that refuses the same."""
    return next((part for part in profile.parts if part.policy.engine == policy.engine and part.policy.enforces
                 and not part.variant.why and part.policy.content == policy.content), None)  # fmt: skip


def _generated(parts: Iterable[Part], policy: Policy, agreed: Profile) -> Part | None:
    """The policy that was made of this one, or of which this was made: as long as one is there, both are."""
    return next((part for part in parts if part.policy.engine != policy.engine and part.policy.enforces
                 and not part.variant.why and _known(part.policy, agreed)), None)  # fmt: skip


def _known(policy: Policy, profile: Profile) -> bool:
    return any(_same(part.policy, policy) for part in profile.through.get(policy.through, ()))


def _taking(part: Part) -> list[Exemption]:
    return [part.policy.exemptions[number] for number in sorted(part.variant.exemptions)]


def _doubted(agreed: list[Profile], part: Part) -> int:
    """What nobody could say of the same policy before either."""
    found = -1
    for profile in agreed:
        old = next(
            (one for one in profile.through.get(part.policy.through, ()) if _same(one.policy, part.policy)), None
        )
        found &= old.unknown if old is not None else 0
    return found


type _Ways = dict[Through, tuple[int, dict[Key, None]]]


def _ways(space: Enforced, agreed: list[Profile], lost: int) -> _Ways:
    """What one would edit to have violations refused again: exceptions, else the policies that refused them."""
    found: _Ways = {}
    name = space.space.name
    for part in (part for profile in agreed for part in profile.parts):
        mine = part.refused & lost
        if not mine:
            continue
        left, keys = mine, dict.fromkeys(part.policy.keys)
        for now in space.profile.through.get(part.policy.through, ()):
            keys |= dict.fromkeys(now.policy.keys)
            for number, mask in now.row.excused.items() if now.policy.enforces is not False else ():
                exemption = now.policy.exemptions[number]
                if mask & mine:
                    _way(found, exemption.through_in(name), mask & mine, keys | dict.fromkeys(exemption.keys))
                    left &= ~mask
        if left:
            _way(found, part.policy.through_in(name), left, keys)
    return found


def _way(found: _Ways, through: Through, mask: int, keys: dict[Key, None]) -> None:
    old = found.get(through, (0, {}))
    found[through] = old[0] | mask, old[1] | keys


def opening(space: Enforced, mask: int) -> Iterator[tuple[Through, int, tuple[Key, ...]]]:
    """Why violations are admitted in a namespace: an exception, else that nothing asks for more there."""
    name = space.space.name
    for one in space.profile.openings:
        mine = space.profile.opened[one.through].violations & mask if one.shape == ANY else 0
        if mine:
            yield one.exemption.through_in(name), mine, one.exemption.keys
            mask &= ~mine
    if mask:
        yield (Through(LABEL, name, ENFORCE) if name else Through(NO_POLICY, "", "")), mask, ()


# Notes --------------------------------------------------------------------------------------------------------------


def _notes(gains: Gains) -> Iterator[Note]:
    """Policies that refuse nothing any more where others still refuse the same."""
    lost: dict[tuple[Through, tuple[str, ...]], list[str]] = {}
    for name in differing(gains.baseline.spaces, gains.live.spaces):
        before, after = gains.baseline.spaces.get(name), gains.live.spaces.get(name)
        if before is None or after is None:
            continue
        for part in before.profile.parts:
            less = part.refused
            for now in after.profile.through.get(part.policy.through, ()):
                less &= ~now.refused
            if less and not less & ~after.profile.refused:
                others = {
                    named_through(one.policy.through_in(name)) for one in after.profile.parts if one.refused & less
                }
                lost.setdefault((part.policy.through, tuple(sorted(others))), []).append(name)
    for (through, rest), names in sorted(lost.items()):
        what = f"label {through.name}" if through.kind == LABEL else named_through(through)
        text = f"{what} no longer refuses what is tested; {listed(list(rest), 3)} still does"
        where = f" in {listed(sorted({*names}), 3)}" if {*names} != {""} else ""
        yield Note(NAME, "redundancy", place_of(min(names))[0], place_of(min(names))[1], text + where)


__all__ = ["LABEL", "NAME", "NO_POLICY", "Gains", "compare", "opening", "states"]
