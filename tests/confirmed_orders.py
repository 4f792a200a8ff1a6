"""Confirmed purchases as rows, for tests of what comes after: orders, points, and the ledger that led there."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from aval.domain.campaign import TwoFactorPolicy
from aval.domain.ids import part_key, whole_key
from aval.domain.points import EntryType, PointsEntry
from aval.operations.fresh import fresh_key, new_cpf
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.points import post_entries
from tests.factories import make_keyring

BALANCE = 1_000_000
SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True)
class Shop:
    """A campaign with one application that may redeem for others, and one participant."""

    key: UUID
    campaign_id: str
    application: UUID
    participant: UUID
    api_key: str = field(repr=False)
    subscription_key: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What its application sends for itself."""
        return {"authorization": f"Bearer {self.api_key}", "ocp_apim_subscription_key": self.subscription_key}

    def speaking_for(self, participant: UUID | None = None) -> dict[str, str]:
        """What its application sends for its participant, or another."""
        return self.headers | {
            "participantid": str(participant or self.participant),
            "catalogid": "gold",
            "customerid": self.campaign_id,
            "impersonatoruser": "atendente-22",
        }


@dataclass
class SoldItem:
    """An item of an order; it has its key once it is sold."""

    quantity: int
    unit_points: int
    name: str = "Fone de ouvido"
    key: UUID = field(default_factory=fresh_key)


@dataclass
class SoldOrder:
    """An order of a purchase, which has its key once it is sold; what a card paid is of a purchase's only order."""

    items: Sequence[SoldItem]
    shipping: int = 0
    card: int = 0
    vendor_id: str = "loja-sol"
    key: UUID = field(default_factory=fresh_key)

    @property
    def products(self) -> int:
        return sum(item.quantity * item.unit_points for item in self.items)

    @property
    def paid(self) -> int:
        return self.products + self.shipping - self.card


@dataclass(frozen=True)
class Sold:
    """A purchase that is stored."""

    key: UUID
    orders: Sequence[SoldOrder]

    @property
    def paid(self) -> int:
        return sum(order.paid for order in self.orders)


async def make_shop(db: Database) -> Shop:
    """A campaign and its people, with a balance."""
    api_key, subscription_key = "aval_live_" + secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    campaign_id = f"c-{secrets.token_hex(6)}"
    shop = Shop(fresh_key(), campaign_id, fresh_key(), fresh_key(), api_key, subscription_key)
    keyring, document = make_keyring(), new_cpf()
    sealed = keyring.sealed(document, associated=f"approvers/{shop.participant}", nonce=secrets.token_bytes(12))
    async with db.transaction() as connection:
        await connection.execute(
            "insert into integrators (integrator_id, tenant_type, name, mode, created_at, updated_at)"
            " values ($1, 'campaign', 'Clube Sol', 'live', clock_timestamp(), clock_timestamp())",
            shop.key,
        )
        await connection.execute(
            "insert into campaigns (integrator_id, campaign_id, client_id, catalogs, vendors, created_at, updated_at)"
            ' values ($1, $2, \'cliente\', \'{"gold": "Ouro"}\', \'{"loja-sol": "Loja Sol"}\', clock_timestamp(),'
            " clock_timestamp())",
            shop.key,
            shop.campaign_id,
        )
        await connection.execute(
            "insert into two_factor_policies values ($1, 1, $2, 'admin:tests', clock_timestamp())",
            shop.key,
            TwoFactorPolicy(),
        )
        await connection.execute(
            "insert into applications (integrator_id, application_id, name, client_secret_hash, subscription_key_hash,"
            " scopes, created_at, updated_at) values ($1, $2, 'Loja', $3, $4,"
            " array['redemptions.read', 'impersonate'], clock_timestamp(), clock_timestamp())",
            shop.key,
            shop.application,
            secrets.token_bytes(32),
            keyring.credential_hashes(subscription_key)[0],
        )
        await connection.execute(
            "insert into application_keys (integrator_id, key_id, application_id, api_key_hash, created_at)"
            " values ($1, gen_random_uuid(), $2, $3, clock_timestamp())",
            shop.key,
            shop.application,
            keyring.credential_hashes(api_key)[0],
        )
        await connection.execute(
            "insert into approvers (integrator_id, approver_id, document_index, document_sealed, document_masked, name,"
            " created_at, updated_at) values ($1, $2, $3, $4, '***', 'Helena', clock_timestamp(), clock_timestamp())",
            shop.key,
            shop.participant,
            secrets.token_bytes(32),
            sealed,
        )
        await connection.execute(
            "insert into participants (integrator_id, participant_id, username, person_type, status, catalog_id,"
            " profile_sealed, created_at, updated_at) values ($1, $2, $3, 'INDIVIDUAL', 'ACTIVE', 'gold', ''::bytea,"
            " clock_timestamp(), clock_timestamp())",
            shop.key,
            shop.participant,
            f"helena.{shop.campaign_id}",
        )
        await connection.execute(
            "insert into points_accounts (integrator_id, participant_id, updated_at)"
            " values ($1, $2, clock_timestamp())",
            shop.key,
            shop.participant,
        )
        await _book(connection, shop, EntryType.CREDIT, BALANCE, None, "0" * 12)
    return shop


async def sell(
    db: Database, shop: Shop, orders: Sequence[SoldOrder], *, kind: str = "internal", status: str = "confirmed"
) -> Sold:
    """A purchase of these orders, reserved and debited; or in another state with `status`."""
    sold, code = Sold(whole_key(fresh_key()), orders), "".join(secrets.choice(SYMBOLS) for _ in range(12))
    is_confirmed = status == "confirmed"
    async with db.transaction() as connection:
        await connection.execute(
            _INSERT_PURCHASE,
            shop.key,
            sold.key,
            shop.participant,
            kind,
            status,
            shop.application,
            sum(order.products for order in orders),
            sum(order.shipping for order in orders),
            sold.paid,
            sum(order.card for order in orders),
            code,
            f"purchases/{sold.key}",
            "confirmed" if is_confirmed else "other",
            _ordered(sold),
        )
        if sold.paid and is_confirmed:
            for entry_type in (EntryType.RESERVE, EntryType.DEBIT):
                await _book(connection, shop, entry_type, sold.paid, sold.key, code)
    return sold


async def balance_of(db: Database, shop: Shop) -> tuple[int, int]:
    """Available and reserved points; they add up to what the ledger says."""
    async with db.connection() as connection:
        row = await connection.fetchrow(
            "select available, reserved, credited, debited,"
            " (select sum(case entry_type when 'reserve' then -points when 'debit' then 0"
            " else points end) from points_entries e where e.participant_id = a.participant_id)::bigint as sum"
            " from points_accounts a where participant_id = $1",
            shop.participant,
        )
    assert row is not None
    assert row["available"] == row["sum"]
    assert row["available"] + row["reserved"] == row["credited"] - row["debited"]
    return row["available"], row["reserved"]


def _ordered(sold: Sold) -> list[list[Any]]:
    """What was ordered, as it is stored; orders and items have the keys of their purchase from now on."""
    numbers = iter(range(1, 256))
    facts = {"product_id": "0", "sku_id": "F-100", "vendor_sku_id": "0", "category": {"id": "0"}}
    for part in (each for order in sold.orders for each in (order, *order.items)):
        part.key = part_key(sold.key, next(numbers))
    return [
        [
            *(order.key, order.vendor_id, order.products, order.shipping, order.paid),
            [[item.key, item.name, item.quantity, item.unit_points, facts] for item in order.items],
        ]
        for order in sold.orders
    ]


async def _book(
    connection: Connection, shop: Shop, entry_type: EntryType, points: int, purchase: UUID | None, code: str
) -> None:
    entry = PointsEntry(
        integrator_key=shop.key,
        participant_key=shop.participant,
        key=fresh_key(),
        entry_type=entry_type,
        points=points,
        authorization_code=code,
        description="Teste",
        correlation_id="tests",
        created_at=await read_clock(connection),
        purchase_key=purchase,
    )
    assert await post_entries(connection, [entry])


_INSERT_PURCHASE = """
insert into purchases (integrator_id, purchase_id, participant_id, kind, status, policy_version, application_id,
    catalog_id, channel_type, products_points, shipping_points, debited_points, card_points, authorization_code,
    description, risk_decision, recorded, request_path, request_fingerprint, origin_correlation_id, confirmed_at,
    status_history, orders, created_at, updated_at)
values ($1, $2, $3, $4, $5, 1, $6, 'gold', 'ONLINE', $7, $8, $9, $10, $11, 'Resgate', 'approve', '{}', $12,
    decode(repeat('00', 32), 'hex'), 'origin-1', case $13 when 'confirmed' then clock_timestamp() end,
    json_build_array(json_build_object('status', $5::text, 'at', clock_timestamp())), $14, clock_timestamp(),
    clock_timestamp())
"""
