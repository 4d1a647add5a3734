"""The units of this domain as JSON: what is no longer refused, and what is wrong with an exception or a policy.

{"control", "violation"}            a request of this kind is admitted
{"control": "ENGINE/NAME"}          a control of its own, of which no test request says what it refuses
{"control": "ENGINE/NAME", "except"}  the same, for what an exception takes out
{"exception": STATE}                an exception that opens something is unused, overdue, without an owner …
{"policy": STATE}                   a policy fails open, or nothing answers for it
{"mutation", "content"}             requests are changed by something new
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

import orjson

from posture.model import Unit
from posture.text import listed

from .enforcement import bits
from .policy import ANY, Policy, Shape
from .violations import VIOLATIONS


@cache
def _violation(number: int) -> Unit:
    one = VIOLATIONS[number]
    return {"control": one.control, "violation": one.id}


def violated(mask: int, shape: Shape = ANY) -> tuple[Unit, ...]:
    """The units of a set of violations, by requests of a shape."""
    if shape == ANY:
        return tuple(map(_violation, bits(mask)))
    like = {"for": shown(shape)}
    return tuple({**_violation(number), **like} for number in bits(mask))


def shown(shape: Shape) -> str:
    """What a request is like, for people."""
    parts = [f"called {shape.name}"] if shape.name else []
    for what, texts in (("label", shape.labels), ("annotation", shape.annotations)):
        parts += [f"with {what} {key}={text}" if text is not None else f"without {what} {key}" for key, text in texts]
    parts += [f"of image {shape.image}"] if shape.image else []
    if shape.groups:
        parts.append(f"made by a member of {listed([*shape.groups], 3)}")
    elif shape.user:
        parts.append(f"made by {shape.user}")
    return listed(parts, len(parts))


def own(policy: Policy) -> str:
    """The name of the control that a policy is by itself."""
    parts = [policy.engine, policy.through.namespace, policy.through.name]
    return "/".join(part for part in parts if part)


def _mark(unit: Unit) -> bytes:
    return orjson.dumps(unit, option=orjson.OPT_SORT_KEYS)


def ordered(units: Iterable[Unit]) -> tuple[Unit, ...]:
    """Units in the order in which they are told, each once."""
    return tuple(one for _, one in sorted({_mark(unit): unit for unit in units}.items()))


def beyond(given: tuple[Unit, ...], recorded: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """The units that recorded ones do not cover: whoever agreed that a control is gone agreed to every part of it."""
    if given == recorded:
        return ()
    known = set(map(_mark, recorded))
    whole = {unit["control"] for unit in recorded if unit.keys() == {"control"}}
    return tuple(unit for unit in given if _mark(unit) not in known and unit.get("control") not in whole)


def permissions(given: Iterable[Unit]) -> Iterator[dict[str, str]]:
    """Every unit, as texts."""
    for unit in given:
        yield {str(key): str(value) for key, value in unit.items()}
