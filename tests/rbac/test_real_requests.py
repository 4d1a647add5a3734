"""Traps of the authorizer that a review does not show, as real requests: the API server and posture must agree.

Each row is an account of its own with what it is granted, and one request that it sends with a real token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from posture import rbac
from posture.kinds import RBAC
from posture.rbac.access import Question, answer
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, metadata, rule, urls
from tests.rbac.accounts import (
    APPLY,
    DRY,
    INSIDE,
    NS,
    OTHER,
    ROLES,
    UPGRADE,
    Grant,
    accounts,
    config_map,
    everywhere,
    here,
)
from tests.rbac.agreement import read
from tests.rbac.requests import Asked, refused, reviewed


def on(verb: str, resource: str, name: str = "", *, namespace: str = NS, group: str = "") -> dict[str, str]:
    """A question about a resource, or (with a slash) about a subresource."""
    resource, _, subresource = resource.partition("/")
    given = {"verb": verb, "apiGroup": group, "resource": resource, "subresource": subresource, "name": name}
    return given | {"namespace": namespace}


def url(verb: str, path: str) -> dict[str, str]:
    """A question about a URL that is no resource."""
    return {"verb": verb, "path": path}


YES, NO, INERT = "allowed", "refused", "inert"
"""INERT: a review with the namespace says yes, and no request can be made that way."""


@dataclass(frozen=True)
class Row:
    """What an account is granted, the request that it sends, what comes of it, and what a review asks instead."""

    name: str
    granted: tuple[Grant, ...]
    method: str
    path: str
    expected: str
    lines: tuple[dict[str, str], ...]
    body: Object | None = None
    headers: tuple[tuple[str, str], ...] = ()


def row(name: str, granted: tuple[Grant, ...], request: str, expected: str, *lines: dict[str, str], **more: Any) -> Row:
    """A row; `request` is METHOD PATH."""
    method, _, path = request.partition(" ")
    return Row(name, granted, method, path, expected, lines, **more)


SELECTED = "fieldSelector=" + quote("metadata.name=present")
BELOW = rule("get,patch,update", "namespaces,namespaces/status,namespaces/finalize")
NAMED = {"names": ["present"]}

CLUSTER_SCOPED = [
    row("list-namespaces-inside", here(rule("list", "namespaces")), "GET /api/v1/namespaces", INERT,
        on("list", "namespaces")),
    row("list-own-namespace-by-name", here(rule("list", "namespaces", names=[NS])),
        f"GET /api/v1/namespaces?fieldSelector=metadata.name%3D{NS}", INERT, on("list", "namespaces", NS)),
    row("create-namespaces-inside", here(rule("create", "namespaces")), f"POST /api/v1/namespaces?{DRY}", INERT,
        on("create", "namespaces")),
    row("get-own-namespace", here(BELOW), f"GET {INSIDE}", YES, on("get", "namespaces", NS)),
    row("patch-own-namespace", here(BELOW), f"PATCH {INSIDE}?{DRY}", YES, on("patch", "namespaces", NS)),
    row("patch-own-namespace-status", here(BELOW), f"PATCH {INSIDE}/status?{DRY}", YES,
        on("patch", "namespaces/status", NS)),
    row("finalize-own-namespace", here(BELOW), f"PUT {INSIDE}/finalize?{DRY}", YES,
        on("update", "namespaces/finalize", NS)),
    row("status-is-not-the-namespace", here(rule("patch", "namespaces")), f"PATCH {INSIDE}/status?{DRY}", NO,
        on("patch", "namespaces/status", NS)),
    row("delete-own-namespace", here(rule("delete", "namespaces")), f"DELETE {INSIDE}?{DRY}", YES,
        on("delete", "namespaces", NS)),
    row("watch-own-namespace-on-the-old-path", here(rule("watch", "namespaces")),
        f"GET /api/v1/watch/namespaces/{NS}?resourceVersion=x", YES, on("watch", "namespaces", NS)),
    row("get-own-namespace-by-its-name", here(rule("get", "namespaces", names=[NS])), f"GET {INSIDE}", YES,
        on("get", "namespaces", NS)),
    row("get-own-namespace-by-another-name", here(rule("get", "namespaces", names=[OTHER])), f"GET {INSIDE}", NO,
        on("get", "namespaces", NS)),
    row("get-another-namespace", here(BELOW), f"GET /api/v1/namespaces/{OTHER}", INERT,
        on("get", "namespaces", OTHER)),
    row("get-another-namespace-as-it-is-asked", here(BELOW), f"GET /api/v1/namespaces/{OTHER}", NO,
        on("get", "namespaces", OTHER, namespace=OTHER)),
    row("get-nodes-inside", here(rule("get", "nodes")), "GET /api/v1/nodes/one", INERT, on("get", "nodes", "one")),
    row("node-proxy-inside", here(rule("*", "nodes/proxy")), "GET /api/v1/nodes/one/proxy/pods", INERT,
        on("get", "nodes/proxy", "one")),
    row("get-nodes-everywhere", everywhere(rule("get", "nodes")), "GET /api/v1/nodes/one", YES,
        on("get", "nodes", "one", namespace="")),
    row("everything-inside", here(rule("*", "*", "*")), f"GET {ROLES}/clusterroles/view", INERT,
        on("get", "clusterroles", "view", group=RBAC)),
    row("all-namespaces-from-inside", here(rule("list", "pods")), "GET /api/v1/pods", NO,
        on("list", "pods", namespace="")),
    row("all-namespaces-from-the-cluster", everywhere(rule("list", "pods")), "GET /api/v1/pods", YES,
        on("list", "pods", namespace="")),
]  # fmt: skip

URLS = [
    row("url-inside", here(urls("get", "/metrics")), "GET /metrics", NO, url("get", "/metrics")),
    row("url-everywhere", everywhere(urls("get", "/metrics")), "GET /metrics", YES, url("get", "/metrics")),
    row("url-longer", everywhere(urls("get", "/metrics")), "GET /metrics/slis", NO, url("get", "/metrics/slis")),
    row("url-with-a-star", everywhere(urls("get", "/metrics*")), "GET /metrics/slis", YES, url("get", "/metrics/slis")),
    row("url-with-two-stars", everywhere(urls("get", "/met**")), "GET /metrics", YES, url("get", "/metrics")),
    row("url-with-a-star-inside", everywhere(urls("get", "/m*s")), "GET /metrics", NO, url("get", "/metrics")),
    row("url-below-a-folder", everywhere(urls("get", "/logs/*")), "GET /logs/any", YES, url("get", "/logs/any")),
    row("url-of-a-folder", everywhere(urls("get", "/logs/*")), "GET /logs", NO, url("get", "/logs")),
    row("url-verb-is-the-method", everywhere(urls("get", "/metrics")), "POST /metrics", NO, url("post", "/metrics")),
    row("url-head-is-not-get", everywhere(urls("get", "/metrics")), "HEAD /metrics", NO, url("head", "/metrics")),
    row("url-is-no-resource", everywhere(rule("*", "*", "*")), "GET /metrics", NO, url("get", "/metrics")),
    row("resource-is-no-url", everywhere(urls("*", "*")), f"GET {INSIDE}/pods", NO, on("list", "pods")),
]  # fmt: skip

NAMES = [
    row("empty-name-lists", here(rule("list", "pods", names=[""])), f"GET {INSIDE}/pods", YES, on("list", "pods")),
    row("empty-name-watches", here(rule("watch", "pods", names=[""])),
        f"GET {INSIDE}/pods?watch=1&resourceVersion=x", YES, on("watch", "pods")),
    row("empty-name-creates", here(rule("create", "configmaps", names=[""])), f"POST {INSIDE}/configmaps?{DRY}", YES,
        on("create", "configmaps"), body=config_map("fresh")),
    row("empty-name-deletes-all", here(rule("deletecollection", "configmaps", names=[""])),
        f"DELETE {INSIDE}/configmaps?{DRY}", YES, on("deletecollection", "configmaps")),
    row("empty-name-gets-nothing", here(rule("get", "configmaps", names=[""])), f"GET {INSIDE}/configmaps/present", NO,
        on("get", "configmaps", "present")),
    row("no-names-are-all-names", here(rule("get", "configmaps", names=[])), f"GET {INSIDE}/configmaps/present", YES,
        on("get", "configmaps", "present")),
    row("star-is-a-name", here(rule("get", "configmaps", names=["*"])), f"GET {INSIDE}/configmaps/present", NO,
        on("get", "configmaps", "present")),
    row("named-list", here(rule("list", "configmaps", **NAMED)), f"GET {INSIDE}/configmaps", NO,
        on("list", "configmaps")),
    row("named-list-selected", here(rule("list", "configmaps", **NAMED)), f"GET {INSIDE}/configmaps?{SELECTED}", YES,
        on("list", "configmaps", "present")),
    row("named-list-selected-among-others", here(rule("list", "configmaps", **NAMED)),
        f"GET {INSIDE}/configmaps?{SELECTED}%2Cmetadata.namespace%3D{NS}", YES, on("list", "configmaps", "present")),
    row("named-list-selected-otherwise", here(rule("list", "configmaps", **NAMED)),
        f"GET {INSIDE}/configmaps?fieldSelector=metadata.name%21%3Dpresent", NO, on("list", "configmaps")),
    row("named-watch-selected", here(rule("watch", "configmaps", **NAMED)),
        f"GET {INSIDE}/configmaps?{SELECTED}&watch=1&resourceVersion=x", YES, on("watch", "configmaps", "present")),
    row("named-deletecollection", here(rule("deletecollection", "configmaps", **NAMED)),
        f"DELETE {INSIDE}/configmaps?{DRY}", NO, on("deletecollection", "configmaps")),
    row("named-deletecollection-selected", here(rule("deletecollection", "configmaps", **NAMED)),
        f"DELETE {INSIDE}/configmaps?{SELECTED}&{DRY}", NO, on("deletecollection", "configmaps")),
    row("named-delete", here(rule("delete", "configmaps", **NAMED)), f"DELETE {INSIDE}/configmaps/present?{DRY}", YES,
        on("delete", "configmaps", "present")),
    row("named-create", here(rule("create", "configmaps", names=["fresh"])), f"POST {INSIDE}/configmaps?{DRY}", NO,
        on("create", "configmaps"), body=config_map("fresh")),
    row("named-create-by-apply", here(rule("create,patch", "configmaps", names=["fresh"])),
        f"PATCH {INSIDE}/configmaps/fresh?fieldManager=real&{DRY}", YES, on("patch", "configmaps", "fresh"),
        on("create", "configmaps", "fresh"), body=config_map("fresh"), headers=APPLY),
    row("apply-without-create", here(rule("patch", "configmaps", names=["fresh"])),
        f"PATCH {INSIDE}/configmaps/fresh?fieldManager=real&{DRY}", NO, on("create", "configmaps", "fresh"),
        body=config_map("fresh"), headers=APPLY),
    row("apply-without-patch", here(rule("create", "configmaps", names=["fresh"])),
        f"PATCH {INSIDE}/configmaps/fresh?fieldManager=real&{DRY}", NO, on("patch", "configmaps", "fresh"),
        body=config_map("fresh"), headers=APPLY),
    row("named-create-by-put", here(rule("create,update", "leases", "coordination.k8s.io", names=["fresh"])),
        f"PUT /apis/coordination.k8s.io/v1/namespaces/{NS}/leases/fresh?{DRY}", YES,
        on("update", "leases", "fresh", group="coordination.k8s.io"),
        on("create", "leases", "fresh", group="coordination.k8s.io"),
        body={"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata("fresh", NS)}),
    row("put-without-create", here(rule("update", "leases", "coordination.k8s.io", names=["fresh"])),
        f"PUT /apis/coordination.k8s.io/v1/namespaces/{NS}/leases/fresh?{DRY}", NO,
        on("create", "leases", "fresh", group="coordination.k8s.io"),
        body={"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata("fresh", NS)}),
    row("named-subresource-create", here(rule("create", "serviceaccounts/token", names=["someone"])),
        f"POST {INSIDE}/serviceaccounts/someone/token?{DRY}", YES, on("create", "serviceaccounts/token", "someone")),
    row("named-subresource-of-another", here(rule("create", "serviceaccounts/token", names=["someone"])),
        f"POST {INSIDE}/serviceaccounts/default/token?{DRY}", NO, on("create", "serviceaccounts/token", "default")),
]  # fmt: skip

MATCHING = [
    row("slash-star-is-a-word", here(rule("get", "pods/*")), f"GET {INSIDE}/pods/p/log", NO,
        on("get", "pods/log", "p")),
    row("slash-star-as-asked", here(rule("get", "pods/*")), f"GET {INSIDE}/pods/p/*", YES, on("get", "pods/*", "p")),
    row("two-stars-are-words", here(rule("get", "*/*")), f"GET {INSIDE}/pods/p/log", NO, on("get", "pods/log", "p")),
    row("star-slash-log", here(rule("get", "*/log")), f"GET {INSIDE}/pods/p/log", YES, on("get", "pods/log", "p")),
    row("star-slash-log-is-no-pod", here(rule("get", "*/log")), f"GET {INSIDE}/pods/p", NO, on("get", "pods", "p")),
    row("star-has-subresources", here(rule("get", "*")), f"GET {INSIDE}/pods/p/log", YES, on("get", "pods/log", "p")),
    row("pods-have-no-log", here(rule("get", "pods")), f"GET {INSIDE}/pods/p/log", NO, on("get", "pods/log", "p")),
    row("log-is-no-pod", here(rule("get", "pods/log")), f"GET {INSIDE}/pods/p", NO, on("get", "pods", "p")),
    row("verb-case", here(rule("GET", "pods")), f"GET {INSIDE}/pods/p", NO, on("get", "pods", "p")),
    row("resource-case", here(rule("get", "Pods")), f"GET {INSIDE}/pods/p", NO, on("get", "pods", "p")),
    row("head-is-get", here(rule("get", "pods")), f"HEAD {INSIDE}/pods/p", YES, on("get", "pods", "p")),
    row("head-of-all-is-list", here(rule("get", "pods")), f"HEAD {INSIDE}/pods", NO, on("list", "pods")),
    row("list-is-no-get", here(rule("list", "pods")), f"GET {INSIDE}/pods/p", NO, on("get", "pods", "p")),
    row("watch-is-no-list", here(rule("list", "pods")), f"GET {INSIDE}/pods?watch=1&resourceVersion=x", NO,
        on("watch", "pods")),
    row("delete-is-no-deletecollection", here(rule("delete", "configmaps")), f"DELETE {INSIDE}/configmaps?{DRY}", NO,
        on("deletecollection", "configmaps")),
    row("core-group-is-empty", here(rule("get", "pods", "core")), f"GET {INSIDE}/pods/p", NO, on("get", "pods", "p")),
    row("another-group", here(rule("list", "deployments")), f"GET /apis/apps/v1/namespaces/{NS}/deployments", NO,
        on("list", "deployments", group="apps")),
    row("every-group", here(rule("list", "deployments", "*")), f"GET /apis/apps/v1/namespaces/{NS}/deployments", YES,
        on("list", "deployments", group="apps")),
    row("exec-with-get-and-create", here(rule("get,create", "pods/exec")),
        f"GET {INSIDE}/pods/p/exec?command=id&stdout=1", YES, on("get", "pods/exec", "p"),
        on("create", "pods/exec", "p"), headers=UPGRADE),
    row("exec-with-create-alone", here(rule("create", "pods/exec")), f"POST {INSIDE}/pods/p/exec?command=id&stdout=1",
        YES, on("create", "pods/exec", "p")),
    row("proxy-verb-is-the-method", here(rule("get", "services/proxy")), f"POST {INSIDE}/services/s/proxy/", NO,
        on("create", "services/proxy", "s")),
]  # fmt: skip

ROWS = [*CLUSTER_SCOPED, *URLS, *NAMES, *MATCHING]


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A namespace with one account for each row."""
    with accounts(control_plane, {one.name: one.granted for one in ROWS}) as plane:
        yield plane


@pytest.fixture(scope="module")
def access(plane: ControlPlane) -> rbac.Access:
    """The same cluster as posture reads it."""
    return rbac.evaluate(read(plane))


@pytest.mark.parametrize("one", ROWS, ids=[one.name for one in ROWS])
def test_a_request_is_refused_as_posture_says(plane: ControlPlane, access: rbac.Access, one: Row) -> None:
    """The table, the API server's answer to the request and posture's answer to the question are the same."""
    name = f"system:serviceaccount:{NS}:{one.name}"
    answers = [answer(access, Question.of({"user": name, **line})) for line in one.lines]

    asked = Asked(one.method, one.path, body=one.body, headers=dict(one.headers))
    assert refused(plane, asked, plane.token(NS, one.name)) == (one.expected != YES)

    said = {INERT if each.inert else YES if each.allowed else NO for each in answers}
    assert said == {one.expected}
    assert [each.allowed for each in answers] == [reviewed(plane, name, line) for line in one.lines]


def test_each_row_has_an_account_of_its_own() -> None:
    """So that no row is allowed what another is granted."""
    assert len({one.name for one in ROWS}) == len(ROWS)
