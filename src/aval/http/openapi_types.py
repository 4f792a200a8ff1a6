"""Types as OpenAPI shows them: an amount, raw text going in and `Brl` coming out, is a JSON number either way."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UNSET, Struct, UnsetType

from aval.domain.money import Brl

REFERENCE = "#/components/schemas/{name}"
Amount = Annotated[float, msgspec.Meta(ge=0, description="Reais, at most two decimals, as an exact JSON number.")]


def schemas_of(types: Sequence[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Describe types: for each its schema, and all components they refer to."""
    schemas, components = msgspec.json.schema_components([documented(each) for each in types], ref_template=REFERENCE)
    return list(schemas), components


@cache
def documented(kind: Any) -> Any:
    """The same type with amounts in place of what carries them in Python; structs are copied, names and all."""
    if kind in (msgspec.Raw, Brl):
        return Amount
    origin = get_origin(kind)
    struct = origin or kind
    if isinstance(struct, type) and issubclass(struct, Struct):
        return _copied(kind, struct)
    if origin is None or origin is Literal:
        return kind
    first, *others = get_args(kind)
    if origin is Annotated:
        return Annotated[(documented(first), *others)]
    members = [documented(each) for each in (first, *others)]
    return reduce(or_, members) if origin in (Union, UnionType) else origin[tuple(members)]


def _copied(kind: Any, struct: type[Struct]) -> type[Struct]:
    arguments = "".join(f"_{each.__name__}" for each in get_args(kind))
    return msgspec.defstruct(
        f"{struct.__name__}{arguments}",
        [(field.encode_name, *_field(field)) for field in _fields(kind)],
        namespace={"__doc__": struct.__doc__},
        module=struct.__module__,
        kw_only=True,
        forbid_unknown_fields=struct.__struct_config__.forbid_unknown_fields,
    )


def _fields(kind: Any) -> Iterator[msgspec.structs.FieldInfo]:
    fields: Callable[[Any], Sequence[msgspec.structs.FieldInfo]] = msgspec.structs.fields
    yield from fields(kind)


def _field(field: msgspec.structs.FieldInfo) -> tuple[Any, ...]:
    kind = documented(field.type)
    if field.type is msgspec.Raw and not field.required:  # an amount that may be absent
        return kind | None | UnsetType, UNSET
    if field.default_factory is not NODEFAULT:
        return kind, msgspec.field(default_factory=field.default_factory)
    return (kind,) if field.default is NODEFAULT else (kind, field.default)
