"""The calls Pix and TED batches have in common, from the wire to one operation, and its items (transfers.md §3.1)."""

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar
from uuid import UUID

import msgspec

from aval.domain.batch import BatchItem, BatchRequest, single_kind
from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.domain.money import Brl
from aval.domain.transfer import Kind, Method, Payee, Status
from aval.domain.view import batch_detail, batch_resend_view, batch_short, batch_view, detail_view, item_row
from aval.http.edge import Answer, Call, QueryParameter
from aval.http.paging import PAGING, page_of
from aval.http.parts import Parts
from aval.http.strict_json import decode
from aval.http.transfer_body import Errors, canonical, fingerprint_of, missing_tfa_info, read_tfa_info
from aval.http.transfer_calls import NONCE_BYTES, TransferCalls, Views
from aval.http.transfer_reads import KEY_AND_DAYS, STATUSES, Found, filter_of, paged
from aval.operations.find_payee import find_payees
from aval.operations.fresh import fresh_key
from aval.storage.batches import read_item_counts
from aval.storage.database import Connection
from aval.storage.transfer_lists import list_transfers

SLICE_ITEMS = 50  # then other calls of the process have their turn
BATCH_STATUSES = tuple(s.value for s in Status if s not in (Status.PENDING, Status.SENT))  # only its items are those

Item = TypeVar("Item")


class CheckedItem(Protocol):
    """An item that fits the schema, of either kind."""

    @property
    def body(self) -> msgspec.Struct:
        """The item in its one spelling."""
        ...

    @property
    def request_control_key(self) -> UUID:
        """The item's own."""
        ...

    @property
    def amount(self) -> Brl:
        """What it moves."""
        ...

    @property
    def pix_key(self) -> str | None:
        """The key whose owner is the payee, if it is one."""
        ...

    def judged(self, owner: Payee | None) -> tuple[Payee | None, Refusal | None]:
        """The payee, or why there is none."""
        ...


class BatchCalls(TransferCalls, ABC):
    """Handlers of one kind of batch."""

    views = Views(batch_view, batch_short, batch_resend_view, batch_short)
    items_name: ClassVar[str]
    body_type: ClassVar[type[Any]]

    def __init__(self, app: Parts) -> None:
        super().__init__(app)
        self._turn = asyncio.Lock()  # one batch is worked on at a time, else each turn of the loop has a slice of all

    @abstractmethod
    def checked(self, errors: Errors, item: Any) -> CheckedItem:
        """Check one item as a single would be."""

    def own_fields(self, _call: Call, _item: Any) -> dict[str, Any]:
        """What only a Pix has."""
        return {}

    async def create(self, call: Call) -> Answer:
        """POST: check every item, find their payees, and hand the batch over as one request."""
        keyring = self.app.keyring.current()
        account_key = UUID(call.params["account_key"])
        async with self._turn:
            body = decode(call.body, self.body_type)
            errors = Errors()
            request_control_key = errors.uuid(body.request_control_key, "request_control_key")
            body.request_control_key = str(request_control_key)
            checked = await self._all_checked(errors, getattr(body, self.items_name))
            approver = read_tfa_info(errors, body.tfa_info, keyring)
            errors.raise_any()
        owners = await self._owners(call, checked, account_key) if approver else {}
        async with self._turn:
            items = tuple([self._item(call, keyring, item, owners) async for _, item in in_slices(checked)])
            fingerprint = fingerprint_of(keyring, account_key.bytes, canonical(body))
        request = BatchRequest(
            principal=call.caller,
            kind=self.kind,
            account_key=account_key,
            key=fresh_key(),
            nonce=secrets.token_bytes(NONCE_BYTES),
            request_control_key=request_control_key,
            fingerprint=fingerprint,
            correlation_id=call.correlation_id,
            items=items,
            approver_index=approver.index if approver else b"",
            method=approver.method if approver else Method.SMS,
            session_id=approver.session_id if approver else None,
            refusal=missing_tfa_info(self.kind) if approver is None else None,
        )
        return await self.requested(call, self.desk.request_batch(request))

    async def _all_checked(self, errors: Errors, items: Sequence[Any]) -> list[CheckedItem]:
        checked = []
        async for index, item in in_slices(items):
            errors.place = f"{self.items_name}[{index}]."
            checked.append(self.checked(errors, item))
            if errors.is_full:
                break
        errors.place = ""
        return checked

    async def _owners(
        self, call: Call, checked: Sequence[CheckedItem], account_key: UUID
    ) -> Mapping[str, Payee | None]:
        keys = dict.fromkeys(item.pix_key for item in checked if item.pix_key is not None)
        return await find_payees(
            self.app.db,
            self.app.rails,
            self.app.keyring.current(),
            integrator=call.caller.integrator,
            account_key=account_key,
            pix_keys=keys,
        )

    def _item(
        self, call: Call, keyring: Keyring, checked: CheckedItem, owners: Mapping[str, Payee | None]
    ) -> BatchItem:
        payee, refusal = checked.judged(owners.get(checked.pix_key) if checked.pix_key else None)
        account_key = UUID(call.params["account_key"])
        return BatchItem(
            key=fresh_key(),
            request_control_key=checked.request_control_key,
            amount=checked.amount,
            nonce=secrets.token_bytes(NONCE_BYTES),
            fingerprint=fingerprint_of(keyring, account_key.bytes, canonical(checked.body)),
            payee=payee,
            refusal=refusal,
            **self.own_fields(call, checked.body),
        )

    async def shown(self, connection: Connection, found: Sequence[Found]) -> list[dict[str, Any]]:
        """Tell batches; the items of approved ones are counted."""
        approved = [(batch.integrator_key, batch.key) for batch, state in found if state.status is Status.APPROVED]
        counts = await read_item_counts(connection, approved)
        return [batch_detail(batch, challenge, counts.get(batch.key)) for batch, challenge in found]

    async def read_one(self, call: Call) -> Answer:
        """GET one."""
        async with self.app.db.snapshot() as connection:  # a batch is told as of one moment, counts and times
            (told,) = await self.shown(connection, [await self.find(connection, call)])
        return Answer(200, msgspec.json.encode(told))

    async def list_items(self, call: Call) -> Answer:
        """GET the items, in the order of the request."""
        page, single = page_of(call), single_kind(self.kind)
        statuses = {call.query[name] for name in self._item_status_names() if name in call.query}
        rows: list[Found] = []
        async with self.app.db.connection() as connection:
            batch, _ = await self.find(connection, call)
            if len(statuses) < 2:  # no item has two
                wanted = filter_of(call, single, status=next(iter(statuses), None), batch_key=batch.key)
                rows = await list_transfers(connection, wanted, offset=page.offset, limit=page.limit)
        view = item_row if single is Kind.PIX_TRANSFER else detail_view
        return paged(page, rows, [view(*row) for row in rows[: page.size]])

    def list_query(self) -> tuple[QueryParameter, ...]:
        """The query parameters of the list of batches."""
        return (*KEY_AND_DAYS, QueryParameter(self.status_name, "choice", BATCH_STATUSES), *PAGING)

    def items_query(self) -> tuple[QueryParameter, ...]:
        """The query parameters of the list of items."""
        narrowing = KEY_AND_DAYS if self.kind is Kind.TED_BATCH else KEY_AND_DAYS[:1]
        return (*narrowing, *(QueryParameter(name, "choice", STATUSES) for name in self._item_status_names()), *PAGING)

    def _item_status_names(self) -> tuple[str, ...]:
        """Items of a Pix batch are narrowed under the name of the batch's status, too (spec transfers.md §3.1)."""
        single = f"{single_kind(self.kind)}_status"
        return (single,) if self.kind is Kind.TED_BATCH else (single, self.status_name)


async def in_slices(items: Sequence[Item]) -> AsyncIterator[tuple[int, Item]]:
    """Go through many items without keeping the other calls of the process from their turn."""
    for index, item in enumerate(items):
        if index and index % SLICE_ITEMS == 0:
            await asyncio.sleep(0)
        yield index, item
