"""Inert grants: what posture says can never take effect in a namespace is what real requests are refused for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from posture import rbac
from posture.rbac.access import Question, answer
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, account, binding, namespace, role, rule, service_account, words
from tests.rbac.agreement import read, settle
from tests.rbac.requests import Asked, refused

NS = "inert"
COLLECTION = {"list": "GET", "watch": "GET", "create": "POST", "deletecollection": "DELETE"}
OBJECT = {"get": "GET", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
VERBS = [*COLLECTION, *OBJECT]
ROLES: dict[str, list[Object]] = {
    "everything": [rule("*", "*", "*")],
    "verbs": [rule(VERBS, "*", "*")],
    "below": [rule("*", "*/status,*/finalize,*/approval,*/proxy,*/exec,*/scale,*/token", "*")],
    "groups": [rule("*", "*", ["", "apps", "rbac.authorization.k8s.io", "certificates.k8s.io", "twins.example.com"])],
    "outside": [rule("*", "nodes,namespaces,clusterroles,persistentvolumes,volumes", "*")],
    "named": [rule("*", "*", "*", names=["", NS, "other"])],
    "core": [rule(VERBS, "nodes,nodes/status,nodes/proxy,namespaces,namespaces/status,namespaces/finalize,pods", "")],
}


def custom(plural: str, group: str, scope: str) -> Object:
    """A custom resource whose name a resource of Kubernetes itself has too."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group, "scope": scope,
            "names": {"plural": plural, "singular": plural[:-1],
                      "kind": plural.title()[:-1], "listKind": plural.title()},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema,
                          "subresources": {"status": {}}}],
        },
    }  # fmt: skip


def resources(plane: ControlPlane) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every resource that the server serves: its root path, its group, and what discovery says of it."""
    roots = [("/api/v1", "")]
    for group in plane.request("GET", "/apis")["groups"]:
        roots += [(f"/apis/{group['preferredVersion']['groupVersion']}", group["name"])]
    for root, group_name in roots:
        for found in plane.request("GET", root)["resources"]:
            yield root, group_name, found


def requests(plane: ControlPlane) -> Iterator[Asked]:
    """A request for each verb of each resource and subresource, on one object and on all of a namespace."""
    for root, group, found in resources(plane):
        resource, _, subresource = found["name"].partition("/")
        name = NS if resource == "namespaces" else "other"
        base = f"{root}/namespaces/{NS}/{resource}" if found["namespaced"] else f"{root}/{resource}"
        for verb in found["verbs"]:
            line = {"verb": verb, "apiGroup": group, "resource": resource, "subresource": subresource, "namespace": NS}
            if verb in OBJECT or subresource:
                method = OBJECT.get(verb) or COLLECTION[verb]
                path = f"{base}/{name}" + (f"/{subresource}" if subresource else "")
                yield Asked(method, f"{path}?dryRun=All", line | {"name": name})
            elif verb in COLLECTION:
                # A resourceVersion that cannot be: whoever may watch is told so at once.
                query = "watch=1&resourceVersion=x" if verb == "watch" else "dryRun=All"
                yield Asked(COLLECTION[verb], f"{base}?{query}", line)


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A namespace with one account for each role, and custom resources that are called like others."""
    twins = [custom("nodes", "twins.example.com", "Namespaced"), custom("pods", "twins.example.com", "Cluster"),
             custom("volumes", "twins.example.com", "Namespaced")]  # fmt: skip
    objects = [namespace(NS), namespace("other"), *twins]
    for name, rules in ROLES.items():
        objects += [service_account(NS, name), role(f"inert-{name}", *rules),
                    binding(name, f"ClusterRole/inert-{name}", account("", name), namespace=NS)]  # fmt: skip
    control_plane.apply(objects)
    settle(control_plane)
    deadline = time.monotonic() + 20
    while {"nodes", "pods", "volumes"} - {
        one["name"] for root, group, one in resources(control_plane) if group == "twins.example.com"
    }:
        assert time.monotonic() < deadline, "the custom resources are not served"
        time.sleep(0.1)
    yield control_plane
    for one in twins:
        control_plane.request(
            "DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{one['metadata']['name']}"
        )
    for name in ROLES:
        control_plane.request("DELETE", f"/apis/rbac.authorization.k8s.io/v1/clusterroles/inert-{name}")


@pytest.fixture(scope="module")
def access(plane: ControlPlane) -> rbac.Access:
    """The same cluster as posture reads it."""
    return rbac.evaluate(read(plane))


@pytest.mark.parametrize("name", ROLES)
def test_what_is_called_inert_is_refused_and_nothing_else_is(
    plane: ControlPlane, access: rbac.Access, name: str
) -> None:
    """Every verb of every resource of the server, asked by an account that one RoleBinding grants a role."""
    token = plane.token(NS, name)
    wrong, seen = [], set()
    for asked in requests(plane):
        said = answer(access, Question.of({"user": f"system:serviceaccount:{NS}:{name}", **asked.line}))
        real = refused(plane, asked, token)
        seen.add((real, said.inert))
        if real != (not said.allowed or said.inert):
            wrong.append(f"{asked.method} {asked.path}: refused {real}, allowed {said.allowed}, inert {said.inert}")

    assert "\n".join(wrong) == ""
    assert {(True, True), (False, False)} <= seen, "both kinds of grant must be there to prove anything"


def test_verbs_are_the_requests() -> None:
    """The table of verbs is what the API knows."""
    assert sorted(VERBS) == sorted(words("get,list,watch,create,update,patch,delete,deletecollection"))
