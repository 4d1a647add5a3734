"""A rule of a ClusterPolicy or Policy, and where it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from posture.admission.pods import mapping
from posture.model import Content, Key, Through

from .edits import Path
from .filters import Block, block

CLUSTER, LOCAL = "clusterpolicies.kyverno.io", "policies.kyverno.io"
KIND = {CLUSTER: "ClusterPolicy", LOCAL: "Policy"}


class Given(NamedTuple):
    """A rule, and where it stands."""

    key: Key
    content: Content
    number: int
    rule: Mapping[str, Any]

    @property
    def spec(self) -> Mapping[str, Any]:
        """The spec of the policy."""
        return mapping(self.content.get("spec"))

    @property
    def validate(self) -> Mapping[str, Any]:
        """What it validates by."""
        return mapping(self.rule.get("validate"))

    @property
    def name(self) -> str:
        """Its name, as exceptions know it."""
        return str(self.rule.get("name") or self.number)

    @property
    def match(self) -> Block:
        """What it is for."""
        return block(self.rule.get("match"))

    @property
    def full_name(self) -> str:
        """As exceptions name the policy."""
        return f"{self.key.namespace}/{self.key.name}" if self.key.namespace else self.key.name

    def through(self, path: str = "") -> Through:
        """What one edits, and where in it."""
        name = f"{self.key.name}/{path}" if path else self.key.name
        return Through(KIND[self.key.resource], self.key.namespace, name)

    def at(self, *path: str | int) -> Path:
        """A path below the rule."""
        return ("spec", "rules", self.number, *path)
