"""Agreement with the real API server: random clusters, random questions, every answer compared."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import NamedTuple

from posture import rbac
from posture.config import Config
from posture.inputs import Inputs
from posture.kinds import RBAC
from posture.model import Snapshot
from posture.rbac.access import Question, answer
from posture.reading import snapshot_of
from posture.sources import Cluster, live
from tests.controlplane.client import Client, RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, binding, role, rule, snapshot, user
from tests.generator.small import NAMESPACES, Asked, random_objects, random_question
from tests.rbac.requests import REVIEWS, review

CONNECTIONS = 6
SECONDS = 10.0


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


def read(plane: ControlPlane) -> Snapshot:
    """The server as posture collects it, discovery and all."""
    inputs = Inputs(Config())
    source = live(Cluster(kubeconfig=str(plane.kubeconfig())))
    return snapshot_of(source, inputs.shipped, offline=False)


def settle(plane: ControlPlane) -> None:
    """Wait until the authorizer has seen everything that was written so far, of all four kinds."""
    marker = f"settled-{time.time_ns()}"
    made = []
    for where, kind in (("", "ClusterRole"), ("default", "Role")):
        made.append(role(marker, rule("get", marker), namespace=where))
        made.append(binding(marker, f"{kind}/{marker}", user(f"{marker}@{where}"), namespace=where))
    plane.apply(_labelled(made))
    deadline = time.monotonic() + SECONDS
    for where in ("", "default"):
        attributes = {"verb": "get", "resource": marker, "namespace": where}
        body = review({"user": f"{marker}@{where}", "resourceAttributes": attributes})
        while not plane.request("POST", REVIEWS, body)["status"]["allowed"]:
            assert time.monotonic() < deadline, f"the authorizer did not see the last binding within {SECONDS:.0f} s"
            time.sleep(0.02)


def _ask(plane: ControlPlane, client: Client, questions: Sequence[Asked]) -> list[bool]:
    token = plane.user_token()
    return [
        bool(client.request("POST", REVIEWS, review(one.review), token=token)["status"]["allowed"])
        for one in questions
    ]  # fmt: skip


def agreement(plane: ControlPlane, seed: int, questions: int, each: int = 2_000) -> Agreement:
    """Ask `questions` questions, `each` of them about one random cluster."""
    random = Random(seed)
    asked = allowed = 0
    wrong: list[str] = []
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(CONNECTIONS) as pool:
        clients = [Client(plane.url, plane.ca_file) for _ in range(CONNECTIONS)]
        for client in clients:
            stack.enter_context(contextlib.closing(client))
        while asked < questions:
            objects = random_objects(random, roles=10, bindings=18)
            _replace(plane, objects)
            settle(plane)
            access = rbac.evaluate(snapshot(listing(plane)))
            batch = [random_question(random, objects) for _ in range(min(each, questions - asked))]
            parts = [batch[number::CONNECTIONS] for number in range(CONNECTIONS)]
            answers = pool.map(_ask, [plane] * CONNECTIONS, clients, parts)
            for part, said in zip(parts, answers, strict=True):
                for one, real in zip(part, said, strict=True):
                    allowed += real
                    mine = answer(access, Question.of(one.line)).allowed
                    if mine is not real:
                        wrong.append(f"{one.line}: the API server says {real}, posture {mine}; seed {seed}")
            asked += len(batch)
    _clear(plane)
    return Agreement(asked, allowed, wrong)


def _labelled(objects: list[Object]) -> list[Object]:
    for one in objects:
        one["metadata"].setdefault("labels", {})["random"] = "yes"
    return objects


def _clear(plane: ControlPlane) -> None:
    """Take the RBAC objects of former clusters away; default objects stay."""
    for resource in ("clusterrolebindings", "clusterroles"):
        plane.request("DELETE", f"/apis/{RBAC}/v1/{resource}?labelSelector=random%3Dyes")
    for where in (*NAMESPACES, "default"):
        for resource in ("rolebindings", "roles"):
            with contextlib.suppress(RefusedError):  # the namespace may not be there yet
                plane.request("DELETE", f"/apis/{RBAC}/v1/namespaces/{where}/{resource}?labelSelector=random%3Dyes")


def _replace(plane: ControlPlane, objects: list[Object]) -> None:
    _clear(plane)
    plane.apply(_labelled(objects))


__all__ = ["Agreement", "agreement", "listing", "read", "settle"]
