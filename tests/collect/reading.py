"""Texts read as manifests, for the tests of what they mean."""

from __future__ import annotations

import io
from typing import Any

from posture.collect.document import Limits
from posture.collect.manifest import Broken, Document, documents


def read(text: str | bytes, **limits: int) -> list[Document | Broken]:
    data = text.encode() if isinstance(text, str) else text
    return list(documents(io.BytesIO(data), Limits(**limits)))


def values(text: str | bytes, **limits: int) -> list[Any]:
    found = read(text, **limits)
    assert all(isinstance(each, Document) for each in found), found
    return [each.value for each in found if isinstance(each, Document) and each.value is not None]


def refusal(text: str | bytes, **limits: int) -> Broken:
    (found,) = read(text, **limits)
    assert isinstance(found, Broken), found
    return found
