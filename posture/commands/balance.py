"""The balance of each namespace since its baseline: what was opened, and what was closed in return."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from posture import network
from posture.drift.agreed import Yardstick
from posture.inputs import Inputs
from posture.model import Snapshot
from posture.network.balance import Balance, balances
from posture.pipeline import NAMESPACED
from posture.scan import agreed_of
from posture.store import Store, baselines
from posture.text import count, visible


def since_baseline(store: Store, inputs: Inputs, snapshot: Snapshot) -> list[Balance] | None:
    """The balance of each namespace in which anything was opened or closed; None where no baseline was approved."""
    approved = baselines.latest(store, snapshot.cluster)
    if approved is None:
        return None
    live = network.evaluate(snapshot)
    yardstick = Yardstick(network, network.Matcher(()), live, agreed_of(store, snapshot, approved, inputs), NAMESPACED)
    before, judged_by = yardstick.approved[0]
    gains, _ = yardstick.gains(live)
    losses = [one for one in network.compare(before, live, judged_by).changes if one.direction == "tightened"]
    return balances(network.weighed([*gains.values(), *losses]))


def record(cluster: str, one: Balance) -> dict[str, Any]:
    """A balance as a report holds it."""
    return {
        "cluster": cluster, "namespace": one.namespace, "opened": one.opened, "effective": one.effective,
        "closed": one.closed, "verdict": one.verdict, "workloads": list(one.open),
    }  # fmt: skip


def lines(store: Store, inputs: Inputs, snapshot: Snapshot, namespaces: Collection[str]) -> Iterator[str]:
    """One line for each of some namespaces; none where no baseline was approved."""
    approved = baselines.latest(store, snapshot.cluster)
    found = since_baseline(store, inputs, snapshot)
    if approved is None or found is None:
        return
    known = {one.namespace: one for one in found}
    for name in namespaces:
        one = known.get(name, Balance(name, 0, 0, 0, ()))
        yield f"balance of {visible(name, 100)} since {approved.time[:10]}: {said(one)}"


def said(one: Balance) -> str:
    """A balance in a few words."""
    if one.verdict == "unchanged":
        return "unchanged"
    opened = f"{count(one.opened, 'opening')} ({one.effective} in effect with nothing closed in return)"
    return f"{one.verdict}: {opened}, {count(one.closed, 'closing')}"
