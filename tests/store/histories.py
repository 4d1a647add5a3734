"""Random histories of small clusters: moments at which objects came, changed and went, and some could not be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from hypothesis import strategies as st

from posture.kinds import RBAC
from posture.model import Gap, Key, Snapshot, Version, canonical
from posture.store import Store, snapshots
from posture.store.snapshots import Commit
from tests.generator.objects import Object, binding, namespace, role, rule, snapshot, user

ROLES, BINDINGS = f"roles.{RBAC}", f"rolebindings.{RBAC}"
VARIANTS = ("get", "get,list", "*")


def thing(name: str, variant: int) -> Object:
    """One of eight objects, in one of three variants."""
    where = "pay" if name.endswith("1") else "web"
    if name.startswith("namespace"):
        return namespace(where, team=VARIANTS[variant])
    if name.startswith("binding"):
        return binding(name, "Role/r", user(f"u{variant}"), namespace=where)
    return role(name, rule(VARIANTS[variant]), namespace=where if name.startswith("role") else "")


NAMES = tuple(f"{kind}{number}" for kind in ("namespace", "role", "clusterrole", "binding") for number in (1, 2))
GAPS = tuple(
    Gap(resource, where, "forbidden", "no")
    for resource, where in (("*", ""), (ROLES, ""), (ROLES, "pay"), (BINDINGS, "!pay"), ("namespaces", ""))
)


class Moment(NamedTuple):
    """What a cluster held, and what of it could not be read."""

    cluster: str
    things: dict[str, int]
    gaps: list[Gap]
    version: Version | None

    def read(self) -> Snapshot:
        """The snapshot that a scan would have made."""
        whole = snapshot((thing(*one) for one in self.things.items()), (), self.version, self.cluster)
        index = {
            resource: {n: e for n, e in entries.items() if not any(g.touches(resource, n[0] or "-") for g in self.gaps)}
            for resource, entries in whole.index.items()
        }
        return Snapshot(self.cluster, index, whole.contents, tuple(sorted(self.gaps)), self.version)


MOMENTS = st.builds(
    Moment,
    st.sampled_from(["one", "other"]),
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2)),
    st.lists(st.sampled_from(GAPS), max_size=2, unique=True),
    st.sampled_from([None, Version(1, 36)]),
)
HISTORIES = st.lists(MOMENTS, min_size=1, max_size=7)


@dataclass(slots=True)
class Rows:
    """How many rows a history should cost."""

    versions: int = 0
    unverified: int = 0
    gaps: int = 0


def written(store: Store, history: list[Moment]) -> dict[int, Snapshot]:
    """Write a history, a day after the other; the snapshot of each revision."""
    found = {}
    for day, moment in enumerate(history, 1):
        after = moment.read()
        snapshots.put(store, (canonical(content) for content in after.contents.values()))
        before = snapshots.load(store, moment.cluster, snapshots.latest(store, moment.cluster))
        commit = Commit(f"2026-10-{day:02}T00:00:00Z", "test", moment.cluster, True, "", {})
        with store.transaction() as connection:
            found[snapshots.write(connection, before, after, commit)] = after
    return found


def cost(history: list[Moment]) -> Rows:
    """The rows of a history: one for each change, however many moments there are."""
    rows = Rows()
    held: dict[tuple[str, Key], bytes] = {}
    hidden: set[tuple[str, Key]] = set()
    gaps: set[tuple[str, Gap]] = set()
    for moment in history:
        seen = moment.read()
        now = {(moment.cluster, Key(resource, *name)): entry.digest
               for resource, entries in seen.index.items() for name, entry in entries.items()}  # fmt: skip
        mine = {place for place in held if place[0] == moment.cluster}
        unread = {(c, key) for c, key in mine - now.keys() if seen.gap(key.resource, key.namespace or "-")}
        rows.unverified += len(unread - hidden)
        hidden = {place for place in hidden if place[0] != moment.cluster} | unread
        for place in mine - now.keys() - unread:
            del held[place]
        rows.versions += sum(held.get(place) != digest for place, digest in now.items())
        held |= now
        fresh = {(moment.cluster, gap) for gap in moment.gaps}
        rows.gaps += len(fresh - gaps)
        gaps = {gap for gap in gaps if gap[0] != moment.cluster} | fresh
    return rows
