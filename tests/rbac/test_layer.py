"""A mapping that shares its parts behaves as a dict that was copied."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posture.layer import Layer, differing

KEYS = "abcdef"
steps = st.lists(
    st.tuples(st.sampled_from(("set", "set", "delete", "fork", "back")), st.sampled_from(KEYS)), max_size=60
)


def same(layer: Layer[str, int], model: dict[str, int]) -> None:
    """Every way to read a mapping says the same of both."""
    assert dict(layer.items()) == model
    assert (len(layer), sorted(layer), bool(layer)) == (len(model), sorted(model), bool(model))
    for key in KEYS:
        assert (key in layer, layer.get(key), layer.get(key, -1)) == (key in model, model.get(key), model.get(key, -1))


@settings(max_examples=200)
@given(steps)
def test_a_fork_is_a_copy(plan: Sequence[tuple[str, str]]) -> None:
    """Whatever is written to forks, and to forks of forks of any depth, each layer reads as its own dict."""
    frozen: list[tuple[Layer[str, int], dict[str, int]]] = []
    layer: Layer[str, int] = Layer()
    model: dict[str, int] = {}
    for number, (what, key) in enumerate(plan):
        if what == "set":
            layer[key] = model[key] = number
        elif what == "delete":
            assert (key in layer) == (key in model)
            if key in model:
                del layer[key], model[key]
        else:
            frozen.append((layer, dict(model)))
            below, known = frozen[len(frozen) // 2] if what == "back" else frozen[-1]
            layer, model = below.fork(), dict(known)

    for one, expected in [*frozen, (layer, model)]:
        same(one, expected)
    for one, expected in frozen:
        wanted = {key for key in KEYS if expected.get(key) is not model.get(key)}
        assert {*differing(one, layer)} == {*differing(layer, one)} == wanted


def test_taking_out_what_is_not_there_is_an_error() -> None:
    """As for a dict, above and below a fork."""
    layer: Layer[str, int] = Layer({"a": 1})
    fork = layer.fork()
    del fork["a"]

    for gone in ("a", "b"):
        with pytest.raises(KeyError):
            del fork[gone]
        with pytest.raises(KeyError):
            fork[gone]
    assert layer["a"] == 1


def test_a_fork_costs_what_it_changes() -> None:
    """Among a hundred thousand entries, forks that change one each hold one each."""
    layer: Layer[str, int] = Layer({str(number): number for number in range(100_000)})
    forks = [layer]
    for number in range(50):
        forks.append(forks[-1].fork())
        forks[-1][str(number)] = -number

    assert forks[-1]["49"] == -49
    assert sum(len(fork._own) for fork in forks) < 3 * 100_000, "most of them share one base"
    assert (len(forks[-1]), forks[-1]["99999"], forks[20]["30"]) == (100_000, 99_999, 30)
