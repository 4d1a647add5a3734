"""Rewrites of equal meaning: what somebody tidies up in policies that changes nothing of what may talk to what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from random import Random
from typing import Any

from tests.generator.objects import Object
from tests.oracles.network import known as is_known

type Cluster = list[Object]
_FIELDS = (("ingress", "from"), ("egress", "to"))
NAME_LABEL = "kubernetes.io/metadata.name"


def policies(objects: Cluster) -> Iterator[tuple[int, Object]]:
    """The NetworkPolicies, each with its place."""
    return ((at, one) for at, one in enumerate(objects) if one["kind"] == "NetworkPolicy")


def tiered(objects: Cluster) -> Iterator[tuple[int, Object]]:
    """The policies of the whole cluster, each with its place."""
    return ((at, one) for at, one in enumerate(objects) if one["kind"].endswith("ClusterNetworkPolicy"))


def with_rules(one: Object, make: Any) -> Object:
    """A policy whose rules are each made of one: make(rule, field of the peers) yields what it becomes."""
    spec = dict(one["spec"])
    for direction, peers in _FIELDS:
        if spec.get(direction) is not None:
            spec[direction] = [made for rule in spec[direction] for made in make(rule, peers)]
    return {**one, "spec": spec}


def with_peers(one: Object, make: Any) -> Object:
    """A policy whose peers are each made of one."""

    def rule_of(rule: Object, field: str) -> list[Object]:
        return [{**rule, field: [made for peer in rule[field] for made in make(peer)]} if rule.get(field) else rule]

    return with_rules(one, rule_of)


def named(one: Object, name: str) -> Object:
    """An object under another name."""
    return {**one, "metadata": {**one["metadata"], "name": name}}


# Rules --------------------------------------------------------------------------------------------------------------


def rules_split(random: Random, objects: Cluster) -> Cluster:
    """One rule for each peer, or for each port; but one that fails closed does so as a whole, and its parts do not."""

    def split(rule: Object, peers: str) -> Iterator[Object]:
        part = random.choice((peers, "ports"))
        if len(rule.get(part) or ()) < 2 or closed(rule, peers):
            yield rule
            return
        for item in rule[part]:
            yield {**rule, part: [item]}

    def closed(rule: Object, peers: str) -> bool:
        side = "Ingress" if peers == "from" else "Egress"
        return "action" in rule and not all(is_known(peer, side) for peer in rule[peers])

    for at, one in [*policies(objects), *tiered(objects)]:
        objects[at] = with_rules(one, split)
    return objects


def rules_merged(random: Random, objects: Cluster) -> Cluster:
    """Rules with the same ports as one with the peers of both; with the same peers as one with the ports of both."""
    del random
    for at, one in policies(objects):
        spec = dict(one["spec"])
        for direction, peers in _FIELDS:
            merged: list[Object] = []
            for rule in spec.get(direction) or ():
                for number, known in enumerate(merged):
                    for same, joined in ((peers, "ports"), ("ports", peers)):
                        alike = (known.get(same) or []) == (rule.get(same) or [])
                        if alike and known.get(joined) and rule.get(joined):
                            merged[number] = {**known, joined: [*known[joined], *rule[joined]]}
                            break
                    else:
                        continue
                    break
                else:
                    merged.append(rule)
            if merged:
                spec[direction] = merged
        objects[at] = {**one, "spec": spec}
    return objects


def lists_in_other_words(random: Random, objects: Cluster) -> Cluster:
    """Empty lists left out or written, the protocol that is meant by default, a range of one port, 1 to 65535."""

    def port_of(port: Object) -> Iterator[Object]:
        made = dict(port)
        if made.get("protocol", "TCP") == "TCP":
            made = (
                {"protocol": "TCP", **made} if "protocol" not in made else {k: made[k] for k in made if k != "protocol"}
            )
        if "port" not in made:
            yield from ({**made, "port": 1, "endPort": 1000}, {**made, "port": 1001, "endPort": 65535})
        elif isinstance(made["port"], int) and made.get("endPort", made["port"]) == made["port"]:
            yield {**made, "endPort": made["port"]}
        elif isinstance(made["port"], int):
            yield from ({**made, "endPort": made["port"]}, {**made, "port": made["port"] + 1})
        else:
            yield made

    def rule_of(rule: Object, peers: str) -> Iterator[Object]:
        made = dict(rule)
        for field in (peers, "ports"):
            if not made.get(field) and random.random() < 0.5:
                made = {**made, field: []} if field not in made else {k: made[k] for k in made if k != field}
        if made.get("ports"):
            made["ports"] = [each for port in made["ports"] for each in port_of(port)]
        elif random.random() < 0.5:
            made["ports"] = [{"protocol": protocol} for protocol in ("SCTP", "TCP", "UDP")]
        yield made

    for at, one in policies(objects):
        objects[at] = with_rules(one, rule_of)
    return objects


def in_another_order(random: Random, objects: Cluster) -> Cluster:
    """Objects, rules, peers and ports; the order of rules in policies of the cluster is theirs."""

    def shuffled(values: Sequence[Any]) -> list[Any]:
        return random.sample(list(values), len(values))

    def rule_of(rule: Object, peers: str) -> Iterator[Object]:
        yield {field: shuffled(value) if field in (peers, "ports", "protocols") else value
               for field, value in rule.items()}  # fmt: skip

    for at, one in [*policies(objects), *tiered(objects)]:
        made = with_rules(one, rule_of)
        if one["kind"] == "NetworkPolicy":
            for direction, _ in _FIELDS:
                if made["spec"].get(direction):
                    made["spec"][direction] = shuffled(made["spec"][direction])
        objects[at] = made
    return shuffled(objects)


# Peers --------------------------------------------------------------------------------------------------------------


def halves(text: str) -> list[str]:
    """The two halves of a range."""
    block = ip_network(text)
    return [text] if block.prefixlen == block.max_prefixlen else [str(half) for half in block.subnets()]


def ranges_split(random: Random, objects: Cluster) -> Cluster:
    """Each CIDR as its two halves, with the exceptions that lie in each; exceptions as their halves."""

    def peer_of(peer: Object) -> Iterator[Object]:
        block = peer.get("ipBlock")
        if peer.get("networks"):
            yield {"networks": [half for cidr in peer["networks"] for half in halves(cidr)]}
        elif not block or random.random() < 0.2:
            yield peer
        else:
            excepted = [ip_network(half) for text in block.get("except") or () for half in halves(text)]
            for half in map(ip_network, halves(block["cidr"])):
                inside = [one for one in excepted if one.subnet_of(half)]  # type: ignore[arg-type]
                if half not in inside:
                    yield {
                        "ipBlock": {"cidr": str(half)} | ({"except": [str(one) for one in inside]} if inside else {})
                    }

    def some(rule: Object, peers: str) -> Iterator[Object]:
        """A rule of whose blocks nothing is left allows nothing, where a rule without peers would allow everything."""
        if not rule.get(peers):
            yield rule
            return
        made = [each for peer in rule[peers] for each in peer_of(peer)]
        if made:
            yield {**rule, peers: made}

    for at, one in [*policies(objects), *tiered(objects)]:
        objects[at] = with_rules(one, some)
    return objects


def selector_in_other_words(random: Random, selector: Object) -> Object:
    """matchLabels as In, In with one value as matchLabels, an expression twice."""
    labels, found = dict(selector.get("matchLabels") or {}), list(selector.get("matchExpressions") or ())
    chosen = [key for key in labels if random.random() < 0.5]
    found += [{"key": key, "operator": "In", "values": [labels.pop(key)]} for key in chosen]
    for one in list(found):
        if one["operator"] == "In" and len(one["values"]) == 1 and one["key"] not in labels and random.random() < 0.5:
            labels[one["key"]] = one["values"][0]
            found.remove(one)
        elif one["operator"] == "NotIn" and len(one["values"]) > 1:
            found.remove(one)
            found += [{**one, "values": [value]} for value in one["values"]]
    found += random.sample(found, min(1, len(found)))
    return ({"matchLabels": labels} if labels else {}) | ({"matchExpressions": found} if found else {})


def selectors_in_other_words(random: Random, objects: Cluster) -> Cluster:
    """Selectors of subjects and peers; the own namespace by its name, and an empty selector of pods left out."""
    for at, one in policies(objects):
        where = {"matchLabels": {NAME_LABEL: one["metadata"]["namespace"]}}

        def peer_of(peer: Object, where: Object = where) -> Iterator[Object]:
            made = {field: selector_in_other_words(random, value) if field.endswith("Selector") else value
                    for field, value in peer.items()}  # fmt: skip
            if "ipBlock" not in made and "namespaceSelector" not in made:
                made["namespaceSelector"] = where
            elif peer.get("namespaceSelector") == where and "podSelector" in made:
                del made["namespaceSelector"]
            elif "namespaceSelector" in made and not made.get("podSelector"):
                made = {"namespaceSelector": made["namespaceSelector"]} | random.choice(({}, {"podSelector": {}}))
            yield made

        made = with_peers(one, peer_of)
        subject = selector_in_other_words(random, made["spec"].get("podSelector") or {})
        objects[at] = {**made, "spec": {**made["spec"], "podSelector": subject}}
    return objects


def values_as_peers(random: Random, objects: Cluster) -> Cluster:
    """A peer with one of several values as a peer for each; one for a label and for its absence in place of none."""

    def peer_of(peer: Object) -> Iterator[Object]:
        for field in ("podSelector", "namespaceSelector"):
            expressions = (peer.get(field) or {}).get("matchExpressions") or []
            for number, one in enumerate(expressions):
                ways = [{**one, "values": [value]} for value in one.get("values") or ()]
                if one["operator"] == "NotIn":
                    absent = {"key": one["key"], "operator": "DoesNotExist"}
                    yield {**peer, field: {**peer[field], "matchExpressions": [*expressions, absent]}}
                    there = {"key": one["key"], "operator": "Exists"}
                    yield {**peer, field: {**peer[field], "matchExpressions": [*expressions, there]}}
                    return
                if one["operator"] == "In" and len(ways) > 1:
                    for way in ways:
                        changed = [*expressions[:number], way, *expressions[number + 1 :]]
                        yield {**peer, field: {**peer[field], "matchExpressions": changed}}
                    return
        yield peer

    del random
    for at, one in policies(objects):
        objects[at] = with_peers(one, peer_of)
    return objects


# Policies -----------------------------------------------------------------------------------------------------------


def renamed(random: Random, objects: Cluster) -> Cluster:
    """Policies under other names."""
    for at, one in [*policies(objects), *tiered(objects)]:
        if one["kind"] != "BaselineAdminNetworkPolicy":
            objects[at] = named(one, f"r{random.randrange(10**9)}")
    return objects


def types_of(one: Object) -> list[str]:
    """The directions of a policy."""
    spec = one["spec"]
    return list(spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])])


def types_in_other_words(random: Random, objects: Cluster) -> Cluster:
    """policyTypes written out, left to the default, and rules of a direction that is not meant."""
    for at, one in policies(objects):
        types = types_of(one)
        spec = {field: value for field, value in one["spec"].items() if field != "policyTypes"}
        made = {**one, "spec": spec}
        if types_of(made) != types or "policyTypes" not in one["spec"] or random.random() < 0.3:
            made["spec"] = {**spec, "policyTypes": random.sample(types, len(types))}
            for direction, _ in _FIELDS:
                if direction.capitalize() not in types:
                    made["spec"][direction] = random.choice(([], [{}]))
        objects[at] = made
    return objects


def policies_split(random: Random, objects: Cluster) -> Cluster:
    """Policies as two that select the same pods, each with some of the rules or one of the directions."""
    for at, one in list(policies(objects)):
        types = types_of(one)
        halves_of = [dict(one["spec"], policyTypes=types) for _ in range(2)]
        for direction, _ in _FIELDS:
            rules = one["spec"].get(direction) or []
            cut = random.randint(0, len(rules))
            halves_of[0][direction], halves_of[1][direction] = rules[:cut], rules[cut:]
        objects[at] = {**one, "spec": halves_of[0]}
        objects.append(named({**one, "spec": halves_of[1]}, f"s{random.randrange(10**9)}"))
    return objects


def policies_merged(random: Random, objects: Cluster) -> Cluster:
    """Policies that select the same pods for the same directions as one."""
    del random
    found: dict[str, Object] = {}
    others: list[Object] = []
    for one in objects:
        if one["kind"] != "NetworkPolicy":
            others.append(one)
            continue
        selector, types = one["spec"].get("podSelector") or {}, sorted(types_of(one))
        place = repr((one["metadata"]["namespace"], selector, types))
        before = found.get(place)
        if before is None:
            found[place] = {**one, "spec": {**one["spec"], "policyTypes": types}}
        else:
            rules = {direction: [*(before["spec"].get(direction) or ()), *(one["spec"].get(direction) or ())]
                     for direction, _ in _FIELDS}  # fmt: skip
            found[place] = {**before, "spec": {**before["spec"], **rules}}
    return others + list(found.values())


def policies_doubled(random: Random, objects: Cluster) -> Cluster:
    """A policy twice."""
    for _, one in list(policies(objects)):
        if random.random() < 0.5:
            objects.append(named(one, f"c{random.randrange(10**9)}"))
    return objects


def pods_made_anew(random: Random, objects: Cluster) -> Cluster:
    """Pods of workloads under other names, with the labels that controllers give to rollouts."""
    for at, one in enumerate(objects):
        if one["kind"] == "Pod" and one["metadata"].get("ownerReferences"):
            labels = {**(one["metadata"].get("labels") or {}), "pod-template-hash": f"{random.randrange(10**9)}"}
            metadata = {**one["metadata"], "name": f"p{random.randrange(10**9)}", "labels": labels}
            objects[at] = {**one, "metadata": metadata}
    return objects


REWRITES = (
    rules_split,
    rules_merged,
    lists_in_other_words,
    in_another_order,
    ranges_split,
    selectors_in_other_words,
    values_as_peers,
    renamed,
    types_in_other_words,
    policies_split,
    policies_merged,
    policies_doubled,
    pods_made_anew,
)
