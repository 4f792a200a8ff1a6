"""§4.2–4.4 in the items of a batch: what fails a single fails the batch, told under the item's place."""

import json
from typing import Any
from uuid import uuid4

import pytest

from aval.domain.batch import ITEMS_MAX
from tests.corpus.asking import PREFIX, SCHEMA, SYNTAX, created, good, with_text
from tests.factories import Reply
from tests.proof.cases import values
from tests.proof.cases.household import Household, end_to_end_id, pix_by_key
from tests.proof.cases.trial import trial_of
from tests.world import ITEMS, World, item_body


def batch(home: Household, kind: str, *items: Any) -> dict[str, Any]:
    """A batch of these, the last of which is on trial."""
    return good(home, kind, **{ITEMS[kind]: [item_body(home.party, kind), *items]})


def place_of(reply: Reply) -> str:
    return str(reply.json["extra_fields"]["errors"][0]["field"])


def item_codes(reply: Reply) -> list[tuple[int, str]]:
    return [(item["index"], item["code"]) for item in reply.json["extra_fields"].get("items", [])]


@pytest.mark.parametrize("kind", ITEMS)
async def test_numbers_of_items(world: World, home: Household, kind: str) -> None:
    before, name = await world.snapshot(), ITEMS[kind]
    with trial_of(world, at_least=10) as trial:
        one = item_body(home.party, kind)
        for items in ([], [one] * (ITEMS_MAX + 1), None, {}, one, "x", 1, [1], [None], [[]], ["x"]):
            reply = await trial.refused(name, created(world, home, kind, good(home, kind, **{name: items})), *SCHEMA)
            trial.expect(name, place_of(reply).removesuffix("[0]"), name)
        await trial.unchanged(before)
        fine = good(home, kind, **{name: [item_body(home.party, kind, transaction_amount=0.01) for _ in range(1000)]})
        await trial.accepted("a thousand", created(world, home, kind, fine), 202)


@pytest.mark.parametrize("kind", ITEMS)
async def test_sizes(world: World, home: Household, kind: str) -> None:
    largest = 2 * 1024 * 1024
    with trial_of(world, at_least=3) as trial:
        fits = json.dumps(good(home, kind)).encode().ljust(largest)
        await trial.accepted("2 MiB", created(world, home, kind, fits), 202)
        before = await world.snapshot()
        await trial.refused("a byte more", created(world, home, kind, fits + b" "), 413, "QIT000941")
        single = json.dumps(good(home, kind.removesuffix("_batch"))).encode().ljust(256 * 1024 + 1)
        call = created(world, home, kind.removesuffix("_batch"), single)
        await trial.refused("a single", call, 413, "QIT000941")
        await trial.unchanged(before)


@pytest.mark.parametrize("kind", ITEMS)
async def test_amounts_of_items(world: World, home: Household, kind: str) -> None:
    before = await world.snapshot()
    with trial_of(world, at_least=38) as trial:
        for text in values.NO_AMOUNTS:
            reply = await trial.refused(text, created(world, home, kind, _priced(home, kind, text)), *SCHEMA, text)
            trial.expect(text, place_of(reply), f"{ITEMS[kind]}[0].transaction_amount")
        for text in values.NO_NUMBERS:
            await trial.refused(text, created(world, home, kind, _priced(home, kind, text)), *SYNTAX)
        await trial.unchanged(before)
        dear = [item_body(home.party, kind, transaction_amount=9999999.99) for _ in range(2)]
        call = created(world, home, kind, batch(home, kind, *dear))
        await trial.refused("all there is", call, 400, f"{PREFIX[kind]}000901")


def _priced(home: Household, kind: str, text: str) -> bytes:
    item = with_text(item_body(home.party, kind), "transaction_amount", text)
    return with_text(good(home, kind), ITEMS[kind], f"[{item.decode()}]")


@pytest.mark.parametrize("kind", ITEMS)
async def test_bank_data_and_messages_of_items(world: World, home: Household, kind: str) -> None:
    before, single = await world.snapshot(), kind.removesuffix("_batch")
    with trial_of(world, at_least=60) as trial:
        documents = [("owner_document_number", text, "both") for text in [*values.NO_CNPJS, *values.NO_CPFS]]
        names = [("owner_name", text, "both") for text in values.NO_NAMES]
        for name, text, refused_for in [*values.NO_TARGETS, *documents, *names]:
            if refused_for not in ("both", single):
                continue
            item = item_body(home.party, kind)
            item["target_account"] = item["target_account"] | {name: text}
            call = created(world, home, kind, batch(home, kind, item))
            reply = await trial.refused((name, text), call, *SCHEMA, text)
            if isinstance(text, str):
                trial.expect((name, text), place_of(reply), f"{ITEMS[kind]}[1].target_account.{name}")
        for text in values.NO_MESSAGES if single == "pix_transfer" else []:
            item = item_body(home.party, kind, pix_message=text)
            await trial.refused(text, created(world, home, kind, batch(home, kind, item)), *SCHEMA, text)
        await trial.unchanged(before)


async def test_pix_keys_and_end_to_end_ids_of_items(world: World, home: Household) -> None:
    kind, before = "pix_transfer_batch", await world.snapshot()
    with trial_of(world, at_least=30) as trial:

        async def refused(change: dict[str, Any], code: str, *told: object) -> None:
            item = item_body(home.party, kind, **{**pix_by_key(), **change})
            call = created(world, home, kind, batch(home, kind, item))
            reply = await trial.refused(change, call, 400, "PXT000917", *told)
            trial.expect(change, item_codes(reply), [(1, code)])

        for text in [*values.NO_PIX_KEYS, "nao.existe@example.com"]:
            await refused({"target_pix_key": text}, "PXT000916", text)
        for text in values.NO_END_TO_END_IDS:
            await refused({"end_to_end_id": text}, "PXT000915", text)
        await refused({"end_to_end_id": home.keys["end_to_end_id"]}, "PXT000907", home.keys["end_to_end_id"])
        await trial.unchanged(before)


@pytest.mark.parametrize("kind", ITEMS)
async def test_keys_that_are_used_already(world: World, home: Household, kind: str) -> None:
    """By a single, by another batch's item, or twice in the batch."""
    prefix, before = PREFIX[kind], await world.snapshot()
    with trial_of(world, at_least=2) as trial:
        used = item_body(home.party, kind, request_control_key=home.keys["request_control_key"])
        call = created(world, home, kind, batch(home, kind, used))
        reply = await trial.refused("a single's", call, 400, f"{prefix}000917")
        trial.expect("a single's", item_codes(reply), [(1, f"{prefix}000902")])
        twice = item_body(home.party, kind)
        call = created(world, home, kind, batch(home, kind, twice, twice))
        reply = await trial.refused("twice", call, 400, f"{prefix}000917")
        trial.expect("twice", item_codes(reply), [(2, f"{prefix}000902")])
        await trial.unchanged(before)
    if kind == "pix_transfer_batch":
        same = {"end_to_end_id": end_to_end_id()}
        items = [item_body(home.party, kind, **pix_by_key(**same), request_control_key=str(uuid4())) for _ in range(2)]
        reply = await created(world, home, kind, batch(home, kind, *items))
        assert item_codes(reply) == [(2, "PXT000907")]
