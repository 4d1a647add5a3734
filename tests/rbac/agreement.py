"""Agreement with the real API server: random clusters, random questions, every answer compared."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any, NamedTuple

from posture import rbac
from posture.kinds import RBAC
from posture.rbac.access import Question, answer
from tests.controlplane.client import Client
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, snapshot
from tests.generator.small import Asked, random_objects, random_question

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
CONNECTIONS = 6


class Agreement(NamedTuple):
    """What came of it."""

    questions: int
    allowed: int
    disagreements: list[str]


def listing(plane: ControlPlane) -> list[Object]:
    """Every RBAC object that the server has, as it stores it."""
    found = []
    for resource in ("clusterroles", "clusterrolebindings", "roles", "rolebindings"):
        page = plane.request("GET", f"/apis/{RBAC}/v1/{resource}")
        kind = page["kind"].removesuffix("List")
        found += [{"apiVersion": f"{RBAC}/v1", "kind": kind, **item} for item in page["items"]]
    return found


def _settled(plane: ControlPlane, marker: str) -> None:
    """Wait until the authorizer has seen a binding that was written after all others."""
    review = {"user": marker, "resourceAttributes": {"verb": "get", "resource": marker}}
    for _ in range(200):
        if _ask(plane, None, review):
            return
        time.sleep(0.05)
    raise AssertionError("the authorizer did not see the last binding within 10 s")


def _ask(plane: ControlPlane, client: Client | None, review: dict[str, Any]) -> bool:
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": review}
    if client is None:
        said = plane.request("POST", REVIEWS, body)
    else:
        said = client.request("POST", REVIEWS, body, token=plane.user_token())
    return bool(said["status"]["allowed"])


def agreement(plane: ControlPlane, seed: int, questions: int, each: int = 2_000) -> Agreement:
    """Ask `questions` questions, `each` of them about one random cluster. Names of objects are unique to the run."""
    random = Random(seed)
    asked = allowed = 0
    wrong: list[str] = []
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(CONNECTIONS) as pool:
        clients = [stack.enter_context(contextlib.closing(Client(plane.url, plane.ca_file))) for _ in range(CONNECTIONS)]
        while asked < questions:
            objects = random_objects(random, roles=10, bindings=18)
            marker = f"marker-{seed}-{asked}"
            objects += _marker(marker)
            written = _replace(plane, objects)
            _settled(plane, marker)
            access = rbac.evaluate(snapshot(listing(plane)))
            batch = [random_question(random, objects) for _ in range(min(each, questions - asked))]
            parts = [batch[number::CONNECTIONS] for number in range(CONNECTIONS)]
            answers = list(pool.map(lambda row: [_ask(plane, row[0], one.review) for one in row[1]], zip(clients, parts, strict=True)))
            for part, said in zip(parts, answers, strict=True):
                for one, real in zip(part, said, strict=True):
                    allowed += real
                    mine = answer(access, Question.of(one.line)).allowed
                    if mine is not real:
                        wrong.append(f"{one.line}: the API server says {real}, posture {mine}; written: {written}")
            asked += len(batch)
    return Agreement(asked, allowed, wrong)


def _marker(name: str) -> list[Object]:
    from tests.generator.objects import binding, role, rule, user

    return [role(name, rule("get", name)), binding(name, f"ClusterRole/{name}", user(name))]


def _replace(plane: ControlPlane, objects: list[Object]) -> int:
    """Take the RBAC objects of former clusters away and write new ones; default objects stay."""
    for resource in ("clusterrolebindings", "clusterroles"):
        plane.request("DELETE", f"/apis/{RBAC}/v1/{resource}?labelSelector=random%3Dyes")
    for where in ("pay", "web", "lab"):
        for resource in ("rolebindings", "roles"):
            with contextlib.suppress(Exception):
                plane.request("DELETE", f"/apis/{RBAC}/v1/namespaces/{where}/{resource}")
    for one in objects:
        one["metadata"].setdefault("labels", {})["random"] = "yes"
    return plane.apply(objects)


__all__ = ["Agreement", "Asked", "agreement"]
