"""JSON that is nested deeper than the decoder goes: read all the same, without what lies too deep.

Whoever may write one object may nest its managedFields thousands of levels deep: the API server allows 10,000, orjson
decodes 1,024. Nothing that posture keeps lies deeper than a few levels, so one such object must not hide a whole list.
"""

from __future__ import annotations

import re

import orjson

LEVELS = 200
"""Lists and mappings below so many levels are read as null."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)


def loads(body: bytes | bytearray) -> object:
    """The JSON value of a text of any depth. Raises orjson.JSONDecodeError when it is no JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        cut = shallow(body)
        if len(cut) == len(body):
            raise
        return orjson.loads(cut)


def shallow(body: bytes | bytearray) -> bytes:
    """The text with null in place of every list and mapping that lies deeper than `LEVELS`."""
    kept: list[bytes] = []
    depth = begin = 0
    for token in _TOKEN.finditer(body):
        bracket = token[0]
        if bracket in (b"[", b"{"):
            depth += 1
            if depth == LEVELS + 1:
                kept += (bytes(body[begin : token.start()]), b"null")
        elif bracket in (b"]", b"}"):
            if depth == LEVELS + 1:
                begin = token.end()
            depth -= 1
    if depth <= LEVELS:
        kept.append(bytes(body[begin:]))
    return b"".join(kept)
