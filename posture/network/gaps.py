"""What was read and cannot be evaluated, so that nothing is ever left out without a word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from posture.kinds import BY_NAME
from posture.model import Gap, Key, Snapshot, Through
from posture.text import count, listed

from . import cni
from .connectivity import POLICIES, TIERS, Connectivity
from .endpoints import NAMESPACE, PODS, WORKLOADS
from .evaluate import NAMESPACES
from .opaque import OPAQUE
from .policies import DIRECTIONS, NETWORK_POLICIES, Policy, Unsure, compiled


def named(key: Key) -> str:
    """An object of this domain for people: `NetworkPolicy pay/db`."""
    kind = BY_NAME[key.resource].kind if key.resource in BY_NAME else key.resource
    return f"{kind} {key.namespace}/{key.name}" if key.namespace else f"{kind} {key.name}"


def unreadable(policy: Policy) -> Gap:
    """A policy that cannot be read, as a gap."""
    return Gap(policy.key.resource, policy.key.namespace, "not modelled", f"{named(policy.key)}: {policy.error}")


def doubt(
    result: Connectivity, subject: str, scope: str, through: Through, other: Snapshot | None = None
) -> Gap | None:
    """The gap that may hide a policy of this namespace; None when everything that counts was read.

    Which pods are at the other end is no matter: what policies say of those that were not read is known all the same.
    Which labels namespaces have is: by these policies pick them. What was read and cannot be evaluated hides nothing
    else.
    """
    del through
    wanted = [*_deciding(scope)]
    if not subject.startswith(NAMESPACE):  # it may be there, and not have been read
        wanted += [(resource, scope) for resource in (PODS, *WORKLOADS)]
    for gap in _hiding(result.snapshot):
        for resource, namespace in wanted:
            if not gap.touches(resource, namespace):
                continue
            if other is not None and gap.reason == "not collected":
                twin = other.gap(resource, namespace)
                if twin is not None and twin.reason == "not collected":
                    continue
            return gap
    return None


def _deciding(namespace: str) -> Iterator[tuple[str, str]]:
    """What decides about the pods of a namespace: its policies, those of the cluster, and the labels of namespaces."""
    yield from ((NETWORK_POLICIES, namespace), (NAMESPACES, ""), *((tier, "") for tier in TIERS))


def hidden(snapshot: Snapshot, namespace: str) -> Gap | None:
    """What may hide a policy that selects pods of a namespace, or the labels that decide whether one does."""
    return next((gap for place in _deciding(namespace) if (gap := unread(snapshot, *place))), None)


def unread(snapshot: Snapshot, resource: str, namespace: str) -> Gap | None:
    """What was not read of a kind in a namespace ("" is any); what was read and cannot be evaluated is no such gap."""
    return next((gap for gap in _hiding(snapshot) if gap.touches(resource, namespace)), None)


def _hiding(snapshot: Snapshot) -> tuple[Gap, ...]:
    """The gaps of what was not read."""
    if not snapshot.gaps:
        return ()
    known = snapshot.derived_from("gaps of the network")
    if snapshot.gaps not in known:
        said = {*gaps(snapshot)}
        known[snapshot.gaps] = tuple(gap for gap in snapshot.gaps if gap not in said and not _of_the_plugin(gap))
    found: tuple[Gap, ...] = known[snapshot.gaps]
    return found


def _of_the_plugin(gap: Gap) -> bool:
    """Whether a gap says that nothing enforces policies, perhaps of the state before a DaemonSet was changed."""
    return gap.resource == NETWORK_POLICIES and gap.message.endswith(cni.UNENFORCED)


def gaps(snapshot: Snapshot) -> Iterator[Gap]:
    """A plugin that enforces nothing, policies of others, those that cannot be read, and what the rest leaves open."""
    if why := cni.unenforced(snapshot):
        yield Gap(NETWORK_POLICIES, "", "not modelled", why)
    for resource in sorted(OPAQUE):
        found = sorted(snapshot.index.get(resource, {}))
        if found:
            kind = BY_NAME[resource].kind
            names = listed([f"{namespace}/{name}" if namespace else name for namespace, name in found], 3)
            text = f"{count(len(found), kind)} ({names}): what they select is unknown, changes are seen"
            yield Gap(resource, "", "not modelled", text)
    every = [compiled(key, content) for resource in POLICIES for key, content in snapshot.objects(resource)]
    yield from (unreadable(policy) for policy in every if policy.error)
    above = sorted((policy for policy in every if policy.key.resource in TIERS and not policy.error),
                   key=lambda policy: policy.key)  # fmt: skip
    yield from _unsure(above)
    yield from _closed(above)
    yield from _equal(above)


def _unsure(policies: Sequence[Policy]) -> Iterator[Gap]:
    """Peers whose addresses the cluster's objects do not say."""
    for policy in policies:
        what = sorted({peer.what for rule in policy.egress or () for peer in rule.peers or ()
                       if isinstance(peer, Unsure)})  # fmt: skip
        if what:
            text = f"{named(policy.key)}: which addresses its {listed(what)} have is not known"
            yield Gap(policy.key.resource, "", "not modelled", text)


def _closed(policies: Sequence[Policy]) -> Iterator[Gap]:
    """Rules that fail closed, whose peers are nobody or everybody: a plugin of a later version may do what they say."""
    for policy in policies:
        if not all(rule.peers for direction in DIRECTIONS for rule in policy.rules(direction) or ()):
            text = (f"{named(policy.key)}: a rule has a peer or a port of a kind that is not known, and fails closed: "
                    "Accept matches nothing, Deny and Pass deny everything")  # fmt: skip
            yield Gap(policy.key.resource, "", "not modelled", text)


def _equal(policies: Sequence[Policy]) -> Iterator[Gap]:
    """Priorities that several policies of one tier have: where both match, any may be first."""
    places: dict[tuple[str, int], list[Policy]] = {}
    for policy in policies:
        if policy.key.resource != POLICIES[-1]:  # of the BaselineAdminNetworkPolicy there is one, without a priority
            places.setdefault((policy.tier, policy.priority), []).append(policy)
    for (tier, priority), equal in sorted(places.items()):
        if len(equal) > 1:
            names = listed([named(policy.key) for policy in equal], 3)
            text = f"{names} have priority {priority} in the {tier.capitalize()} tier: which is first is not known"
            yield Gap(equal[0].key.resource, "", "not modelled", text)
