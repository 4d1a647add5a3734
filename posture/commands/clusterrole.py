"""posture clusterrole: the permissions that posture itself needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from posture.errors import OK
from posture.kinds import KINDS, RBAC

from . import printer

URLS = ("/api", "/api/*", "/apis", "/apis/*", "/flagz", "/version")


@click.command(short_help="Print the ClusterRole that posture itself needs.")
@click.option(
    "-n", "--namespace", "namespaces", multiple=True, help="A Role for this namespace instead; may be repeated."
)
@click.option("--name", default="posture", show_default=True, help="The role's name.")
def clusterrole(namespaces: tuple[str, ...], name: str) -> int:
    """Print the ClusterRole (or Role, with -n) that posture itself needs, as YAML that kubectl apply takes."""
    printer.yaml_documents(roles(namespaces, name))
    return OK


def roles(namespaces: Sequence[str], name: str) -> list[dict[str, Any]]:
    """The roles: one ClusterRole to get, list and watch every kind there is, or one Role for each namespace."""
    rules = _rules(namespaced=bool(namespaces))
    if not namespaces:
        rules.append({"nonResourceURLs": list(URLS), "verbs": ["get"]})
        return [_role("ClusterRole", {"name": name}, rules)]
    found = []
    for namespace in sorted(set(namespaces)):
        itself = {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": [namespace], "verbs": ["get"]}
        found.append(_role("Role", {"name": name, "namespace": namespace}, [itself, *rules]))
    return found


def _rules(*, namespaced: bool) -> list[dict[str, Any]]:
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for kind in KINDS:
        if kind.namespaced or not namespaced:
            # What a server asks for beside the kinds themselves is cluster-scoped in part: no Role can grant it.
            found = groups.setdefault((kind.group, kind.named), [])
            found.extend((kind.resource, *(() if namespaced else kind.also)))
    return [
        {"apiGroups": [group], "resources": sorted(set(found))}
        | ({"resourceNames": sorted(names)} if names else {})
        | {"verbs": ["get", "list", "watch"]}
        for (group, names), found in sorted(groups.items())
    ]


def _role(kind: str, metadata: dict[str, str], rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, "rules": rules}
