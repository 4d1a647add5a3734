"""Snapshots of clusters with every kind of policy, those of custom resources too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import orjson

from posture.collect import body_of
from posture.kinds import BY_KIND, Kind
from posture.model import Content, Entry, Snapshot
from posture.network.connectivity import Connectivity
from posture.network.evaluate import evaluate
from posture.network.policies import POLICY_API
from tests.generator.objects import Object

CUSTOM = {
    (POLICY_API, kind): Kind(POLICY_API, resource, kind, False, ("spec",))
    for kind, resource in (
        ("ClusterNetworkPolicy", "clusternetworkpolicies"),
        ("AdminNetworkPolicy", "adminnetworkpolicies"),
        ("BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies"),
    )
}


def snapshot(objects: Iterable[Object]) -> Snapshot:
    """The snapshot of some objects."""
    index: dict[str, dict[tuple[str, str], Entry]] = {}
    contents: dict[bytes, Content] = {}
    for raw in objects:
        name = raw["apiVersion"].rpartition("/")[0], raw["kind"]
        kind = CUSTOM.get(name) or BY_KIND[name]
        digest, body = body_of(kind, raw)
        contents[digest] = orjson.loads(body)
        meta: dict[str, Any] = raw["metadata"]
        index.setdefault(kind.name, {})[meta.get("namespace") or "", meta["name"]] = Entry(digest)
    return Snapshot("test", index, contents)


def evaluated(objects: Iterable[Object], pods_by_ip: str = "unknown") -> Connectivity:
    """What may talk in a cluster of some objects."""
    return evaluate(replace(snapshot(objects), settings={"podsByIp": pods_by_ip}))
