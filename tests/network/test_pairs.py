"""Every pair by the names of workloads and ranges, in one state and in the difference of two."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from posture.network import addresses
from posture.network.connectivity import DENIED, Connectivity, Outcome, Party
from posture.network.difference import everywhere
from posture.network.pairs import joined, rows
from posture.network.ports import shown
from tests.generator.network import OUTSIDE, random_network
from tests.network.clusters import evaluated

seeds = st.integers(0, 2**32)
type Ends = tuple[str, str]


def at(found: dict[Ends, Outcome], workload: str, address: str, *, ingress: bool) -> Outcome:
    """What rows say of a workload and one address."""
    number = addresses.number(address)
    for (source, destination), outcome in found.items():
        range_, other = (source, destination) if ingress else (destination, source)
        if other == workload and range_.startswith("external:"):
            first, last = addresses.network(range_.removeprefix("external:"))
            if first <= number <= last:
                return outcome
    return DENIED


def asked(result: Connectivity, workload: str, address: str, *, ingress: bool) -> Outcome:
    """The same, asked for each class of the workload by itself, at its own end."""
    found = DENIED
    for one in result.classes:
        if one.workload == workload and not one.node:
            pair = Party(None, address=addresses.number(address)), result.party(one)
            found = joined(found, result.between(*(pair if ingress else pair[::-1])))
    return found


@settings(max_examples=60, deadline=None)
@given(seeds, seeds)
def test_addresses_outside_are_asked_one_by_one(seed: int, change: int) -> None:
    """In each state, and that those of which the difference says nothing are the same in both."""
    states = [evaluated(random_network(Random(number)), "no") for number in (seed, change)]
    found = [{(row.source, row.destination): row.found for row in rows(state)} for state in states]
    changed: list[dict[Ends, Outcome]] = [{}, {}]
    for one in everywhere(*states):
        for side, outcome in zip(changed, (one.before, one.after), strict=True):
            side[one.source, one.destination] = outcome
    workloads = {one.workload for state in states for one in state.classes}
    for workload in sorted(workloads):
        for address in OUTSIDE:
            for ingress in (True, False):
                each = [asked(state, workload, address, ingress=ingress) for state in states]
                told = [at(side, workload, address, ingress=ingress) for side in found]
                differ = [at(side, workload, address, ingress=ingress) for side in changed]
                for asked_, told_ in zip(each, told, strict=True):
                    assert (shown(asked_.accept), shown(asked_.allowed)) == (shown(told_.accept), shown(told_.allowed))
                if each[0] == each[1]:
                    assert differ[0] == differ[1]
                else:
                    assert differ == each


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_a_namespace_of_them_is_those_with_an_end_there(seed: int) -> None:
    """No row more, none fewer."""
    result = evaluated(random_network(Random(seed)))
    every = [*rows(result)]
    for name in result.spaces:
        ends = f"workload:{name}/"
        assert [*rows(result, name)] == [row for row in every if any(end.startswith(ends) for end in row[:2])]
