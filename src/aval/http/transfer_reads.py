"""Reading transfers: GET one and lists (transfers.md §3.1)."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from aval.domain.calendar import day_bounds_utc, parse_date
from aval.domain.challenge import Challenge
from aval.domain.errors import Refusal, schema_refusal
from aval.domain.transfer import Kind, Status, Transfer
from aval.domain.view import detail_view
from aval.http.edge import Answer, Call, QueryParameter
from aval.http.paging import PAGING, Page, Pagination, page_of
from aval.http.parts import Parts
from aval.storage.accounts import find_account
from aval.storage.database import Connection
from aval.storage.requests import read_operation
from aval.storage.transfer_lists import TransferFilter, list_transfers

DIRECTIONS = ("outgoing", "incoming")
STATUSES = tuple(status.value for status in Status if status is not Status.APPROVED)  # only a batch is approved
KEY_AND_DAYS = (
    QueryParameter("request_control_key", "uuid"),
    QueryParameter("date_from", "date"),
    QueryParameter("date_to", "date"),
)

Found = tuple[Transfer, Challenge]


class TransferReads:
    """Reading handlers of one kind of transfer."""

    def __init__(self, app: Parts, kind: Kind) -> None:
        self.app = app
        self._kind = kind

    @property
    def key_name(self) -> str:
        """The wire's name of the operation's key."""
        return f"{self._kind}_key"

    @property
    def direction_name(self) -> str:
        """The wire's name of the direction."""
        return f"{self._kind}_direction"

    @property
    def status_name(self) -> str:
        """The wire's name of the status."""
        return f"{self._kind}_status"

    def list_query(self) -> tuple[QueryParameter, ...]:
        """The query parameters of the list."""
        common = (
            *KEY_AND_DAYS,
            QueryParameter(self.direction_name, "choice", DIRECTIONS),
            QueryParameter(self.status_name, "choice", STATUSES),
            *PAGING,
        )
        if self._kind is not Kind.PIX_TRANSFER:
            return common
        return (
            *common,
            QueryParameter("end_to_end_id"),
            QueryParameter("transaction_key", "uuid"),
            QueryParameter("order_by", "choice", ("asc", "desc")),
        )

    async def read_operation(self, call: Call) -> Found:
        """The operation a path names, of this kind and on this account; refuses any other."""
        async with self.app.db.connection() as connection:
            return await self.find(connection, call)

    async def find(self, connection: Connection, call: Call) -> Found:
        """The same, where a connection is at hand."""
        integrator_key = call.caller.integrator.key
        account_key, key = UUID(call.params["account_key"]), UUID(call.params[self.key_name])
        found = await read_operation(connection, integrator_key, key)
        if found is None or found[0].account_key != account_key:
            await self._know_account(connection, integrator_key, account_key)
        elif found[0].kind is self._kind:
            return found
        raise Refusal(f"{self._kind.family}.operation_not_found", operation_key=key)

    async def _know_account(self, connection: Connection, integrator_key: UUID, account_key: UUID) -> None:
        if await find_account(connection, integrator_key, account_key) is None:
            raise Refusal(f"{self._kind.family}.account_not_found", account_key=account_key)

    async def shown(self, _connection: Connection, found: Sequence[Found]) -> list[dict[str, Any]]:
        """Tell operations as GET one and list rows do."""
        return [detail_view(transfer, challenge) for transfer, challenge in found]

    async def read_one(self, call: Call) -> Answer:
        """GET one; Aval holds outgoing transfers only."""
        direction = call.params[self.direction_name]
        if direction not in DIRECTIONS:
            raise schema_refusal((self.direction_name, "invalid_value"))
        transfer, challenge = await self.read_operation(call)
        if direction == "incoming":
            raise Refusal(f"{self._kind.family}.operation_not_found", operation_key=transfer.key)
        return Answer(200, msgspec.json.encode(detail_view(transfer, challenge)))

    async def list_all(self, call: Call) -> Answer:
        """GET the list of an account."""
        wanted, page = self._filter(call), page_of(call)
        rows: list[Found] = []
        async with self.app.db.snapshot() as connection:
            await self._know_account(connection, wanted.integrator_key, wanted.account_key)
            if call.query.get(self.direction_name) != "incoming":
                rows = await list_transfers(connection, wanted, offset=page.offset, limit=page.limit)
            return paged(page, rows, await self.shown(connection, rows[: page.size]))

    def _filter(self, call: Call) -> TransferFilter:
        return filter_of(call, self._kind, status=call.query.get(self.status_name))


def filter_of(call: Call, kind: Kind, *, status: str | None, batch_key: UUID | None = None) -> TransferFilter:
    """What the query of a list narrows it to."""
    query = call.query
    date_from, date_to = (parse_date(query[name]) if name in query else None for name in ("date_from", "date_to"))
    start_at, end_at = day_bounds_utc(date_from, date_to)
    return TransferFilter(
        integrator_key=call.caller.integrator.key,
        account_key=UUID(call.params["account_key"]),
        kind=kind,
        request_control_key=_uuid(query.get("request_control_key")),
        end_to_end_id=query.get("end_to_end_id"),
        transaction_key=_uuid(query.get("transaction_key")),
        status=status,
        start_at=start_at,
        end_at=end_at,
        is_newest_first=query.get("order_by") == "desc",
        batch_key=batch_key,
    )


def paged(page: Page, rows: Sequence[Found], shown: Sequence[dict[str, Any]]) -> Answer:
    """Answer a page; `rows` may hold one more than is shown."""
    next_page = page.number + 1 if len(rows) > page.size else None
    told = {"data": shown, "pagination": Pagination(page.number, next_page, page.size)}
    return Answer(200, msgspec.json.encode(told))


def _uuid(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)
