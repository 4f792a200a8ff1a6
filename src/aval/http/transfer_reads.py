"""Reading transfers: GET one and lists (transfers.md §3.1)."""

from typing import Any
from uuid import UUID

import msgspec

from aval.domain.calendar import day_bounds_utc, parse_date
from aval.domain.challenge import Challenge
from aval.domain.errors import Refusal, schema_refusal
from aval.domain.transfer import Kind, Status, Transfer
from aval.domain.view import detail_view
from aval.http.edge import Answer, Call, QueryParameter
from aval.http.paging import PAGING, Listing, page_of
from aval.http.parts import Parts
from aval.storage.accounts import find_account
from aval.storage.requests import read_operation
from aval.storage.transfer_lists import TransferFilter, list_transfers

DIRECTIONS = ("outgoing", "incoming")
STATUSES = tuple(status.value for status in Status if status is not Status.APPROVED)  # only a batch is approved


class TransferReads:
    """Reading handlers of one kind of single transfer."""

    def __init__(self, app: Parts, kind: Kind) -> None:
        self.app = app
        self._kind = kind

    @property
    def key_name(self) -> str:
        """The wire's name of the operation's key."""
        return "pix_transfer_key" if self._kind is Kind.PIX_TRANSFER else "ted_key"

    @property
    def direction_name(self) -> str:
        """The wire's name of the direction."""
        return "pix_transfer_direction" if self._kind is Kind.PIX_TRANSFER else "ted_direction"

    @property
    def status_name(self) -> str:
        """The wire's name of the status."""
        return "pix_transfer_status" if self._kind is Kind.PIX_TRANSFER else "ted_status"

    def list_query(self) -> tuple[QueryParameter, ...]:
        """The query parameters of the list."""
        common = (
            QueryParameter("request_control_key", "uuid"),
            QueryParameter("date_from", "date"),
            QueryParameter("date_to", "date"),
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

    def list_type(self, detail: type[msgspec.Struct]) -> Any:
        """What the list answers, for the documentation."""
        return Listing[detail]  # type: ignore[valid-type]

    async def read_operation(self, call: Call) -> tuple[Transfer, Challenge]:
        """The operation a path names, of this kind and on this account; refuses any other."""
        integrator_key = call.caller.integrator.key
        account_key, key = UUID(call.params["account_key"]), UUID(call.params[self.key_name])
        async with self.app.db.connection() as connection:
            found = await read_operation(connection, integrator_key, key)
            if found is None or found[0].account_key != account_key:
                await self._know_account(connection, integrator_key, account_key)
        if found is None or found[0].account_key != account_key or found[0].kind is not self._kind:
            raise Refusal(f"{self._kind.family}.operation_not_found", operation_key=key)
        return found

    async def _know_account(self, connection: Any, integrator_key: UUID, account_key: UUID) -> None:
        if await find_account(connection, integrator_key, account_key) is None:
            raise Refusal(f"{self._kind.family}.account_not_found", account_key=account_key)

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
        integrator_key, account_key = call.caller.integrator.key, UUID(call.params["account_key"])
        page, query = page_of(call), call.query
        rows: list[tuple[Transfer, Challenge]] = []
        async with self.app.db.connection() as connection:
            await self._know_account(connection, integrator_key, account_key)
            if query.get(self.direction_name) != "incoming":
                rows = await list_transfers(
                    connection, self._filter(call, integrator_key, account_key), offset=page.offset, limit=page.limit
                )
        shown = [detail_view(transfer, challenge) for transfer, challenge in rows[: page.size]]
        pagination = {
            "current_page": page.number,
            "next_page": page.number + 1 if len(rows) > page.size else None,
            "rows_per_page": page.size,
        }
        return Answer(200, msgspec.json.encode({"data": shown, "pagination": pagination}))

    def _filter(self, call: Call, integrator_key: UUID, account_key: UUID) -> TransferFilter:
        query = call.query
        date_from, date_to = (parse_date(query[name]) if name in query else None for name in ("date_from", "date_to"))
        start_at, end_at = day_bounds_utc(date_from, date_to)
        return TransferFilter(
            integrator_key=integrator_key,
            account_key=account_key,
            kind=self._kind,
            request_control_key=_uuid(query.get("request_control_key")),
            end_to_end_id=query.get("end_to_end_id"),
            transaction_key=_uuid(query.get("transaction_key")),
            status=query.get(self.status_name),
            start_at=start_at,
            end_at=end_at,
            is_newest_first=query.get("order_by") == "desc",
        )


def _uuid(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)
