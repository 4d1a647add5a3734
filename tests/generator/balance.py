"""Pairs of namespaces, before and after an edit, each with the word for what became of it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from random import Random
from typing import Any

from .network import deployment, network_policy, port
from .objects import Object, namespace

type Pair = tuple[list[Object], list[Object]]
_PORTS = (80, 443, 5432, 8080, 9090)
_RANGES = ("203.0.113.0/25", "198.51.100.0/26", "192.0.2.0/28")


def selected(**labels: str) -> Object:
    """A peer: pods of the same namespace."""
    return {"podSelector": {"matchLabels": labels}}


def rule(peers: list[Object], *ports: int) -> Object:
    """An ingress rule."""
    return {"from": peers} | ({"ports": [{"port": number} for number in ports]} if ports else {})


def base(random: Random, name: str) -> dict[str, Any]:
    """A namespace with an API, its database, a worker and nobody else; what may come in is said for each."""
    ports = random.sample(_PORTS, len(_PORTS))
    return {
        "name": name,
        "ports": ports,
        "api": [rule([{"ipBlock": {"cidr": random.choice(_RANGES)}}, selected(app="worker")], ports[0])],
        "db": [rule([selected(app="api")], ports[1]), rule([selected(app="worker")], ports[2])],
        "worker": [],
    }


def objects(of: dict[str, Any]) -> list[Object]:
    """The objects of a namespace."""
    where = of["name"]
    found = [namespace(where, **{"kubernetes.io/metadata.name": where})]
    for app in ("api", "db", "worker"):
        found.append(deployment(where, app, {"app": app}, [port(of["ports"][0], "main")]))
        found.append(network_policy(where, app, podSelector={"matchLabels": {"app": app}}, ingress=of[app]))
    found.append(network_policy(where, "deny", podSelector={}, policyTypes=["Ingress"]))
    return found


def edited(of: dict[str, Any], app: str, *rules: Object) -> list[Object]:
    """The namespace with other rules for one workload."""
    return objects({**of, app: list(rules)})


def half(cidr: str) -> str:
    """The first half of a range."""
    return str(next(ip_network(cidr).subnets()))


# What is done to a namespace ----------------------------------------------------------------------------------------


def unchanged(random: Random, of: dict[str, Any]) -> list[Object]:
    """Rules split, in another order, under another name, and doubled."""
    db = [*of["db"], random.choice(of["db"])]
    random.shuffle(db)
    found = edited(of, "db", *db)
    for one in found:
        if one["metadata"]["name"] == "db" and one["kind"] == "NetworkPolicy":
            one["metadata"] = {**one["metadata"], "name": f"db-{random.randrange(100)}"}
    return found


def tightened(random: Random, of: dict[str, Any]) -> list[Object]:
    """A rule less, a port in place of all, or a narrower range."""
    block = of["api"][0]["from"][0]["ipBlock"]["cidr"]
    return random.choice(
        (
            edited(of, "db", of["db"][0]),
            edited(of, "api", rule([selected(app="worker")], of["ports"][0])),
            edited(of, "api", rule([{"ipBlock": {"cidr": half(block)}}, selected(app="worker")], of["ports"][0])),
        )
    )


def loosened(random: Random, of: dict[str, Any]) -> list[Object]:
    """A port more, a peer more, everyone in place of some, or a closing that pays for less than was opened."""
    first, second = of["db"]
    extra = of["ports"][3]
    block = of["api"][0]["from"][0]["ipBlock"]["cidr"]
    return random.choice(
        (
            edited(of, "db", first, second, rule([selected(app="worker")], extra)),
            edited(of, "db", rule([*first["from"], selected(app="worker")], of["ports"][1]), second),
            edited(of, "db", {"ports": first["ports"]}, second),
            edited(of, "db", rule([selected(app="api")]), second),
            edited(of, "worker", rule([{"ipBlock": {"cidr": "0.0.0.0/0"}}], extra)),
            edited(of, "db", first, rule([{"namespaceSelector": {}}], of["ports"][2])),
            # Paid for by something else: another direction of thought, fewer addresses for more, one port for two.
            edited(of, "api", rule([{"ipBlock": {"cidr": "0.0.0.0/0"}}], of["ports"][0])),
            edited(of, "db", first, rule([selected(app="worker")], extra, of["ports"][4])),
            # One client less for two more, one range less for two of that size.
            edited(of, "db", rule([selected(app="worker"), selected(app="db")], of["ports"][1]), second),
            edited(
                of,
                "api",
                rule(
                    [{"ipBlock": {"cidr": f"{net}/{block[-2:]}"}} for net in ("100.64.0.0", "100.65.0.0")]
                    + [selected(app="worker")],
                    of["ports"][0],
                ),
            ),
        )
    )


def compensated(random: Random, of: dict[str, Any]) -> list[Object]:
    """A port that moved, or other clients of the same port."""
    first, second = of["db"]
    extra = of["ports"][3]
    block = of["api"][0]["from"][0]["ipBlock"]["cidr"]
    moved = f"100.64.0.0/{random.randint(int(block[-2:]), 30)}"  # no more addresses than before, and others
    return random.choice(
        (
            edited(of, "db", first, rule([selected(app="worker")], extra)),
            edited(of, "db", rule([selected(app="worker")], of["ports"][1]), second),
            edited(of, "api", rule([{"ipBlock": {"cidr": moved}}, selected(app="worker")], of["ports"][0])),
        )
    )


def latent(random: Random, of: dict[str, Any]) -> list[Object]:
    """Opened to pods that are nowhere."""
    first, second = of["db"]
    ghost = random.choice(
        (
            selected(app=f"ghost-{random.randrange(100)}"),
            {"namespaceSelector": {"matchLabels": {"team": "nobody"}}},
            {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "ghost"}}},
        )
    )
    return random.choice(
        (
            edited(of, "db", rule([*first["from"], ghost], of["ports"][1]), second),
            edited(of, "db", first, second, rule([ghost])),
            edited(of, "worker", rule([ghost], of["ports"][3])),
        )
    )


KINDS: dict[str, Callable[[Random, dict[str, Any]], list[Object]]] = {
    "unchanged": unchanged,
    "tightened": tightened,
    "loosened": loosened,
    "compensated": compensated,
    "latent": latent,
}


def pair(random: Random, kind: str, name: str) -> Pair:
    """A namespace before and after."""
    of = base(random, name)
    return objects(of), KINDS[kind](random, of)
