"""What Hypothesis draws: rules that shrink value by value, and clusters that shrink by their size."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from tests.generator.objects import Object
from tests.generator.small import API_GROUPS, NAMES, PATHS, RESOURCES, VERBS, random_cluster

seeds = st.integers(0, 2**32 - 1)


def some(values: tuple[str, ...], least: int = 1, most: int = 3) -> st.SearchStrategy[list[str]]:
    """A few of the values, repetitions and all."""
    return st.lists(st.sampled_from(values), min_size=least, max_size=most)


resource_rules: st.SearchStrategy[Object] = st.fixed_dictionaries(
    {"verbs": some(VERBS), "apiGroups": some(API_GROUPS), "resources": some(RESOURCES)},
    optional={"resourceNames": some(NAMES, least=0)},
)
url_rules: st.SearchStrategy[Object] = st.fixed_dictionaries({"verbs": some(VERBS), "nonResourceURLs": some(PATHS)})
rules: st.SearchStrategy[list[Object]] = st.lists(st.one_of(resource_rules, url_rules), max_size=4)


def _cluster(seed: int, roles: int, bindings: int) -> list[Object]:
    return random_cluster(Random(seed), roles=roles, bindings=bindings)


clusters: st.SearchStrategy[list[Object]] = st.builds(_cluster, seeds, st.integers(1, 9), st.integers(1, 14))
