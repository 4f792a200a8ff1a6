"""What tests of the client do again and again."""

from typing import Any
from uuid import UUID

from aval.client import TargetAccount

TARGET = TargetAccount(
    account_branch="0001",
    account_number="7654321",
    account_digit="0",
    owner_document_number="11222333000181",
    owner_name="Padaria Boa Vista Ltda",
    ispb="87654321",
)


async def token_of(aval: Any, key: UUID) -> str:
    """The token in the newest message of an operation, as the approver reads it."""
    page = await aval.read_inbox(operation_key=key)
    return page.rows[0].text[-6:]
