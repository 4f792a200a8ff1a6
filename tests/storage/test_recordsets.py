"""Rows that travel as JSON: a member that PostgreSQL is not told of would be lost without a word (docs/adr/0042)."""

import re

import msgspec
import pytest

from aval.storage import points, purchase_inserts

LIST = re.compile(r"json_to_recordset\(\$(\d)::json\)\s+as \w* ?\(([^)]*)\)")


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        (purchase_inserts._INSERT, {"1": purchase_inserts._PurchaseRow}),
        (points._POST, {"1": points._LineRow}),
    ],
)
def test_every_member_of_a_row_is_a_column_of_its_statement(
    statement: str, rows: dict[str, type[msgspec.Struct]]
) -> None:
    columns = {number: [each.split()[0] for each in told.split(",")] for number, told in LIST.findall(statement)}
    assert columns == {number: list(row.__struct_fields__) for number, row in rows.items()}
