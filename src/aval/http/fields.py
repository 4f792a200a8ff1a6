"""Members of a body that a type alone cannot judge: each comes back as it is stored, or refuses by its name."""

import re
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from aval.domain.documents import is_cpf, is_ispb, normalized_document
from aval.domain.errors import Refusal, schema_refusal
from aval.domain.ids import parse_uuid
from aval.domain.text import clean
from aval.http.edge import Call
from aval.operations.record_act import Author

Value = TypeVar("Value")


def author_of(call: Call) -> Author:
    """Name who makes a call, for the audit."""
    if call.caller_of_redemption is not None:
        return Author(call.caller_of_redemption.actor, call.correlation_id)
    if call.admin is not None:
        return Author(f"admin:{call.admin.name}", call.correlation_id)
    return Author(f"credential:{call.caller.credential_key}", call.correlation_id)


def key_of(call: Call, name: str) -> UUID:
    """Read a key of the path, which the edge has checked."""
    return UUID(call.params[name])


def found(value: Value | None) -> Value:
    """Refuse what does not exist, or belongs to someone else."""
    if value is None:
        raise Refusal("qit.not_found")
    return value


def given(body: msgspec.Struct, *, nullable: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Take the members a body holds: null counts as absent, but for the ones where it is a value."""
    values = msgspec.structs.asdict(body)
    return {
        name: value
        for name, value in values.items()
        if value is not msgspec.UNSET and (value is not None or name in nullable)
    }


def text_of(text: str, field: str, *, characters_max: int) -> str:
    """Read a line of text: trimmed, not empty, nothing invisible."""
    trimmed = clean(text)
    if not trimmed or len(trimmed) > characters_max:
        raise schema_refusal((field, "invalid_value"))
    return trimmed


def matching(text: str, field: str, pattern: re.Pattern[str]) -> str:
    """Read a text of a certain form."""
    trimmed = text.strip(" ")
    if not pattern.fullmatch(trimmed):
        raise schema_refusal((field, "invalid_value"))
    return trimmed


def uuid_of(text: str, field: str) -> UUID:
    """Read a version 4 UUID."""
    key = parse_uuid(text.strip(" "))
    if key is None:
        raise schema_refusal((field, "invalid_value"))
    return key


def cpf_of(text: str, field: str) -> str:
    """Read a CPF."""
    trimmed = text.strip(" ")
    if not is_cpf(trimmed):
        raise schema_refusal((field, "invalid_value"))
    return trimmed


def document_of(text: str, field: str) -> str:
    """Read a CPF or CNPJ."""
    document = normalized_document(text.strip(" "))
    if document is None:
        raise schema_refusal((field, "invalid_value"))
    return document


def ispb_of(text: str, field: str) -> str:
    """Read the number of a bank."""
    trimmed = text.strip(" ")
    if not is_ispb(trimmed):
        raise schema_refusal((field, "invalid_value"))
    return trimmed
