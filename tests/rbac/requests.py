"""Real requests: what is sent, with what the API server refuses it, and what a review says of the same question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from posture.rbac import subjects
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_TYPES = {"PATCH": "application/merge-patch+json"}
_WRITES = ("POST", "PUT", "PATCH")


@dataclass(frozen=True)
class Asked:
    """A request as it is sent, and as posture is asked about it.

    What writes has a body, if only an empty one; a DELETE has none, for with a body it does not heed dryRun.
    """

    method: str
    path: str
    line: Mapping[str, str] = field(default_factory=dict)
    body: Object | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def sent(plane: ControlPlane, asked: Asked, token: str) -> Any:
    """The answer to a request. Raises RefusedError."""
    kind = {"Content-Type": _TYPES[asked.method]} if asked.method in _TYPES else {}
    body = (asked.body or {}) if asked.method in _WRITES else None
    return plane.request(asked.method, asked.path, body, token=token, headers={**kind, **asked.headers})


def status(plane: ControlPlane, asked: Asked, token: str) -> int:
    """The status of the answer; 200 for all that is done."""
    try:
        sent(plane, asked, token)
    except RefusedError as error:
        return error.status
    return HTTPStatus.OK


def refused(plane: ControlPlane, asked: Asked, token: str) -> bool:
    """Whether the authorizer refuses a real request; any other error comes after it."""
    try:
        sent(plane, asked, token)
    except RefusedError as error:  # the answer to a HEAD has no text
        return error.status == HTTPStatus.FORBIDDEN and (asked.method == "HEAD" or " cannot " in str(error))
    return False


def review(spec: Mapping[str, Any]) -> Object:
    """A SubjectAccessReview."""
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}


def reviewed(plane: ControlPlane, user: str, line: Mapping[str, str]) -> bool:
    """What a SubjectAccessReview says of a question."""
    given = dict(line)
    if "apiGroup" in given:
        given["group"] = given.pop("apiGroup")
    word = "nonResourceAttributes" if "path" in line else "resourceAttributes"
    spec = {"user": user, "groups": list(subjects.groups_of(user)), word: given}
    return bool(plane.request("POST", REVIEWS, review(spec))["status"]["allowed"])
