"""What somebody knows who does with changes what their descriptions say: the smallest consumer there is."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from posture.collect import Change, Listed, Listing, Lost, Page, Position, Restart, Seen, Served, name_of
from posture.kinds import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from posture.collect.following import Following
    from posture.model import Gap

type Name = tuple[str, str]
type Objects = dict[Name, dict[str, Any]]


class Mirror:
    """`held` is what is known of each list, `positions` where it is known from, `lost` its gap; all is checked as it
    comes: a list that is not served has no news, and none is told twice or out of order.
    """

    def __init__(self, positions: dict[Listing, str] | None = None) -> None:
        self.held: dict[Listing, Objects] = defaultdict(dict)
        self.positions: dict[Listing, str] = dict(positions or {})
        self.lost: dict[Listing, Gap] = {}
        self.served: Served | None = None
        self.corrections: list[tuple[Listing, Name]] = []
        self.log: list[Change] = []
        self._drafts: dict[Listing, Objects] = {}

    @property
    def synced(self) -> bool:
        """Whether every list that is served is known or lost."""
        return self.served is not None and self.served.listings <= self.positions.keys() | self.lost.keys()

    @property
    def listings(self) -> frozenset[Listing]:
        """Which lists are followed."""
        return self.served.listings if self.served else frozenset()

    def objects(self, resource: str) -> Objects:
        """All that is known of a kind."""
        return {name: item for listing, items in self.held.items() if listing.resource == resource
                for name, item in items.items()}  # fmt: skip

    def names(self, resource: str) -> set[str]:
        return {name for _, name in self.objects(resource)}

    def seen(self, resource: str) -> list[tuple[str, str]]:
        """Type and name of every event of a kind so far."""
        return [(change.type, change.item["metadata"]["name"]) for change in self.log
                if isinstance(change, Seen) and change.listing.resource == resource]  # fmt: skip

    def follow(self, following: Following, until: Callable[[], bool], seconds: float = 20.0) -> bool:
        """Take changes until something is so; whether it became so in time."""
        end = time.monotonic() + seconds
        while not until() and time.monotonic() < end:
            if (change := following.get(0.02)) is not None:
                self.apply(change)
        return until()

    def apply(self, change: Change) -> None:
        self.log.append(change)
        if isinstance(change, Served):
            self.served = change
            for known in (self.held, self.positions, self.lost, self._drafts):
                for listing in known.keys() - change.listings:
                    del known[listing]
            return
        assert self.served is not None
        assert change.listing in self.served.listings
        match change:
            case Restart():
                self._drafts[change.listing] = {}
            case Page():
                self._drafts[change.listing].update({self._name(change.listing, item): item for item in change.items})
            case Listed():
                self._listed(change)
            case Seen():
                self._moved(change.listing, change.resource_version)
                name = self._name(change.listing, change.item)
                if change.type == "DELETED":
                    self.held[change.listing].pop(name, None)
                else:
                    self.held[change.listing][name] = change.item
            case Position():
                self._moved(change.listing, change.resource_version)
            case Lost():
                assert change.listing not in self.lost
                self.lost[change.listing] = change.gap

    def _listed(self, change: Listed) -> None:
        before, draft = self.held[change.listing], self._drafts.pop(change.listing)
        after = {name: item for name, item in draft.items() if name not in change.newer}
        after |= {name: item for name, item in before.items() if name in change.newer}
        if change.verified:
            versions = ({name: item["metadata"]["resourceVersion"] for name, item in items.items()}
                        for items in (before, after))  # fmt: skip
            self.corrections += [(change.listing, name) for name, _ in set.symmetric_difference(
                *(set(each.items()) for each in versions))]  # fmt: skip
        self.held[change.listing] = after
        self.positions[change.listing] = change.resource_version
        self.lost.pop(change.listing, None)

    def _moved(self, listing: Listing, resource_version: str) -> None:
        last = self.positions.get(listing, "")
        if last.isdigit() and resource_version.isdigit():
            assert int(resource_version) > int(last) or listing in self.lost, (listing, last, resource_version)
        self.positions[listing] = resource_version
        self.lost.pop(listing, None)

    def _name(self, listing: Listing, item: dict[str, Any]) -> Name:
        name = name_of(BY_NAME.get(listing.resource), item)
        assert listing.holds(*name)
        return name
