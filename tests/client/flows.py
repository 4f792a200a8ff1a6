"""What tests of the client do again and again."""

from typing import Any
from uuid import UUID

import aiohttp

from aval.client import TargetAccount
from tests.factories import Reply

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


async def rows_of(walk: Any) -> list[Any]:
    """Every row of a walk through a list."""
    return [row async for row in walk]


class OverTheWire:
    """The `call` that devices and their registration need, with or without a credential."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def call(self, method: str, path: str, body: Any = None, *, key: str | None, **headers: str) -> Reply:
        proof = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self._url + path, json=body, headers=proof | headers) as answer,
        ):
            return Reply(answer.status, dict(answer.headers), await answer.read())
