"""A value with other members, be it a dataclass or one of the domain's structs."""

import dataclasses
from typing import Any, TypeVar

import msgspec

Value = TypeVar("Value")


def replace(value: Value, **members: Any) -> Value:
    """The same value with some members changed."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **members)
    return dataclasses.replace(value, **members)  # type: ignore[type-var]
