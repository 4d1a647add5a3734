"""A small cluster with connections, and the rows of CSV that commands write about it."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from tests.commands.running import posture
from tests.generator.network import container, network_policy, pod, port
from tests.generator.objects import Object, metadata, namespace

FLOW = ("explain", "flow")
API, DB, FRONT = {"app": "api"}, {"app": "db"}, {"app": "front"}


def service(where: str, name: str, ip: str, **spec: Any) -> Object:
    """A Service with an address."""
    ports = [{"port": 5432, "protocol": "TCP", "nodePort": 30001}]
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": metadata(name, where),
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "selector": {"app": name}, "ports": ports, **spec},
    }  # fmt: skip


def deployment(where: str, name: str, labels: dict[str, str]) -> Object:
    """A Deployment that runs no pod yet."""
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container("main", port(5432, "sql"))]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(name, where), "spec": spec}


def selecting(labels: dict[str, str]) -> Object:
    """A selector of some labels."""
    return {"matchLabels": labels}


def to_db(*sources: Object, number: int = 5432, name: str = "db") -> Object:
    """A policy that lets some peers reach the database."""
    rule = {"from": list(sources), "ports": [{"port": number, "protocol": "TCP"}]}
    return network_policy("pay", name, podSelector=selecting(DB), policyTypes=["Ingress"], ingress=[rule])


def cluster(*policies: Object) -> list[Object]:
    """pay with an api, a database and a worker that runs nowhere yet; web with a front end."""
    return [
        namespace("pay"), namespace("web"),
        pod("pay", "api", API, ["10.244.0.1"], ["192.168.0.10"]),
        pod("pay", "db", DB, ["10.244.0.2"], ["192.168.0.10"], [port(5432, "sql")]),
        pod("pay", "old", DB, ["10.244.0.3"], phase="Succeeded"),
        pod("web", "front", FRONT, ["10.244.1.1"], ["192.168.0.11"]),
        deployment("pay", "worker", {"app": "worker"}),
        service("pay", "db", "10.96.0.7", type="NodePort"),
        *policies,
    ]  # fmt: skip


def table(*args: str | Path, code: int = 0) -> list[list[str]]:
    """The rows of CSV output without its head."""
    return list(csv.reader(io.StringIO(posture(*args, code=code).out)))[1:]
