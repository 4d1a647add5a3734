"""Policies from one state of a cluster to the next: what did not change is the same object, and so are its answers.

A policy of which only exemptions of other objects came or went keeps what it answered without these, so that one
exception more costs what it takes out, whatever the number of others.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace

from posture.model import Key, Snapshot

from .enforcement import Asking, Row
from .policy import Exemption, Policy, Variant


def renewed(old: Iterable[Policy], before: Snapshot, made: Iterable[Policy], after: Snapshot) -> list[Policy]:
    """The policies that were made of a new state, and in place of those that are as they were these themselves."""
    known: dict[Hashable, list[Policy]] = {}
    for policy in old:
        known.setdefault(_base(policy, before), []).append(policy)
    found = []
    for policy in made:
        others = known.get(_base(policy, after), [])
        marks = [_mark(one, after) for one in policy.exemptions]
        same = next((one for one in others if [_mark(each, before) for each in one.exemptions] == marks), None)
        ancestor = same or (others[0] if len(others) == 1 else None)
        if ancestor is not None:
            others.remove(ancestor)
        found.append(same or (policy if ancestor is None else _successor(ancestor, policy, before, after)))
    return found


def alike(policy: Policy, variant: Variant, other: Policy, its: Variant) -> bool:
    """Whether two policies of one lineage are the same in a namespace."""
    return (
        policy.root is other.root
        and (variant.mark, variant.within, variant.why) == (its.mark, its.within, its.why)
        and len(variant.exemptions) == len(its.exemptions)
        and {id(policy.exemptions[n]) for n in variant.exemptions} == {id(other.exemptions[n]) for n in its.exemptions}
    )


def _digests(keys: Iterable[Key], snapshot: Snapshot) -> Hashable:
    return tuple(entry.digest if (entry := snapshot.entry(key)) else b"" for key in keys)


def _base(policy: Policy, snapshot: Snapshot) -> Hashable:
    """All that a policy is but for its exemptions: the objects that it is made of, and what others make of it."""
    return (
        policy.engine, policy.through, policy.content, policy.denies, policy.up, policy.open, policy.why, policy.opaque,
        policy.users, policy.names, policy.local, policy.keys, _digests(policy.keys, snapshot),
    )  # fmt: skip


def _mark(one: Exemption, snapshot: Snapshot) -> Hashable:
    """All by which an exemption differs from what it was."""
    return (
        one.through, one.what, one.idle, one.expired, one.labels, one.shape, one.built_in, one.local,
        tuple(sorted(one.given.items())), _digests(one.keys, snapshot),
    )  # fmt: skip


def _successor(old: Policy, new: Policy, before: Snapshot, after: Snapshot) -> Policy:
    """A policy with other exemptions than before, and what is known of it with those that it kept."""
    there: dict[Hashable, list[int]] = {}
    for number, one in enumerate(old.exemptions):
        there.setdefault(_mark(one, before), []).append(number)
    numbers: dict[int, int] = {}
    exemptions: list[Exemption] = []
    for number, one in enumerate(new.exemptions):
        same = there.get(_mark(one, after))
        if same:
            numbers[same[0]] = number
            exemptions.append(old.exemptions[same.pop(0)])
        else:
            exemptions.append(one)
    found = replace(new, exemptions=tuple(exemptions), root=old.root, rows={})
    for key, row in old.rows.items():
        moved = _moved(key, row, numbers)
        if moved is not None:
            found.rows[moved[0]] = moved[1]
    return found


def _moved(key: Asking, row: Row, numbers: dict[int, int]) -> tuple[Asking, Row] | None:
    """What was asked and answered, with the new numbers of exemptions; None where one of them is gone."""
    if not (key.variant.exemptions | key.exemptions | row.excused.keys()) <= numbers.keys():
        return None
    variant = key.variant._replace(exemptions=frozenset(numbers[n] for n in key.variant.exemptions))
    moved = key._replace(variant=variant, exemptions=frozenset(numbers[n] for n in key.exemptions))
    return moved, row._replace(excused={numbers[n]: mask for n, mask in row.excused.items()})
