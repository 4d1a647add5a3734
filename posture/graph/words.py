"""What is said of the steps of a graph beside the titles of escalations: by what a workload has a node's root, and
which exception admits what a policy would refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from posture.admission.enforcement import bits
from posture.admission.gaps import named_through
from posture.admission.violations import VIOLATIONS
from posture.text import listed

from .evaluate import Graph
from .nodes import namespace_of
from .sentences import escape_of, opening_of, titled

_SHOWN = 2


class Words(Mapping[str, str]):
    """The titles of a graph (sentences.Titles); what it knows beside them is looked up when it is asked for."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._titles = titled(graph.catalogue.given)

    def __getitem__(self, key: str) -> str:
        """A title, or what a key of `escape_of` or `opening_of` stands for. Raises KeyError."""
        found = self._titles.get(key) or self._escape(key) or self._opening(key)
        if not found:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        """The titles."""
        return iter(self._titles)

    def __len__(self) -> int:
        """How many titles there are."""
        return len(self._titles)

    def _escape(self, key: str) -> str:
        workload = key.removeprefix(escape_of(""))
        runs = self._graph.runs(namespace_of(workload)).get(workload) if workload != key else None
        return runs.escape if runs else ""

    def _opening(self, key: str) -> str:
        namespace, _, violation = key.removeprefix("opening ").partition(" ")
        space = self._graph.results["admission"].spaces.get(namespace)
        if space is None or key != opening_of(namespace, violation):
            return ""
        found = [
            named_through(through) for through, share in space.shares.items()
            if not share.exemption.built_in and any(VIOLATIONS[number].id == violation for number in bits(share.opens))
        ]  # fmt: skip
        return listed(found, _SHOWN)
