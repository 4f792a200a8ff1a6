"""§4.4: documents, Pix keys, end_to_end_ids, bank data and messages."""

from typing import Any
from uuid import UUID

import pytest

from tests.corpus.asking import (
    NOT_ALLOWED,
    SCHEMA,
    SINGLES,
    created,
    good,
)
from tests.factories import Reply
from tests.proof.cases import values
from tests.proof.cases.household import Household, end_to_end_id, pix_by_key
from tests.proof.cases.trial import trial_of
from tests.world import World


@pytest.mark.parametrize("kind", SINGLES)
async def test_documents(world: World, home: Household, kind: str) -> None:
    before = await world.snapshot()
    with trial_of(world, at_least=60) as trial:
        for text in values.NO_CPFS:
            body = good(home, kind, tfa_info={"approver_document_number": text, "contact_type": "sms"})
            await trial.refused(text, created(world, home, kind, body), *SCHEMA, text)
        for text in values.CPFS:
            body = good(home, kind, tfa_info={"approver_document_number": text, "contact_type": "sms"})
            await trial.refused(text, created(world, home, kind, body), 403, NOT_ALLOWED[kind], text)
        for text in [*values.NO_CNPJS, *values.NO_CPFS]:
            body = good(home, kind)
            body["target_account"]["owner_document_number"] = text
            await trial.refused(text, created(world, home, kind, body), *SCHEMA, text)
        await trial.unchanged(before)
        for text, stored in [*values.CNPJS.items(), *zip(values.CPFS, values.CPFS, strict=True)]:
            body = good(home, kind)
            body["target_account"]["owner_document_number"] = text
            reply = await trial.accepted(text, created(world, home, kind, body), 202)
            query = "select facts from operations where operation_id = $1"
            (row,) = await world.fetch(query, UUID(reply.json[f"{kind}_key"]))
            trial.expect(text, row["facts"]["payee_document"], stored)


async def test_pix_keys_and_end_to_end_ids(world: World, home: Household) -> None:
    before = await world.snapshot()
    with trial_of(world, at_least=50) as trial:

        async def refused(note: object, change: dict[str, Any], status: int, code: str, *told: object) -> Reply:
            body = home.party.pix(**{**pix_by_key(), **change})
            return await trial.refused(note, created(world, home, "pix_transfer", body), status, code, *told)

        for text in values.NO_PIX_KEYS:
            reply = await refused(text, {"target_pix_key": text}, 400, "PXT000916", text)
            trial.expect(text, reply.json["extra_fields"], {"reason": "format"})
        for text in values.NO_PIX_KEY_TEXTS:
            await refused(text, {"target_pix_key": text}, *SCHEMA, text)
        reply = await refused("unknown", {"target_pix_key": "nao.existe@example.com"}, 400, "PXT000916")
        trial.expect("unknown", reply.json["extra_fields"], {"reason": "not_found"})
        for text in values.NO_END_TO_END_IDS:
            await refused(text, {"end_to_end_id": text}, 400, "PXT000915", text)
        used = {"end_to_end_id": home.keys["end_to_end_id"]}
        await refused("used", used, 409, "PXT000907", used["end_to_end_id"])
        manual = {"pix_transfer_type": "manual", "target_pix_key": None, "end_to_end_id": None}
        target = home.party.pix()["target_account"]
        for change in (
            {"target_pix_key": None},
            {"end_to_end_id": None},
            {"target_account": target},
            {"receiver_conciliation_id": "REC1"},
            {"pix_transfer_type": "static_qr_code"},
            *(
                {"pix_transfer_type": "dynamic_qr_code", "receiver_conciliation_id": bad}
                for bad in ("", "a-b", "x" * 36)
            ),
            manual,
            {**manual, "target_account": target, "target_pix_key": "52998224725"},
            {**manual, "target_account": target, "end_to_end_id": end_to_end_id()},
            {**manual, "target_account": target, "receiver_conciliation_id": "REC1"},
            {"pix_transfer_type": "qr"},
        ):
            await refused(change, change, *SCHEMA)
        await trial.unchanged(before)


@pytest.mark.parametrize("kind", SINGLES)
async def test_bank_data_and_messages(world: World, home: Household, kind: str) -> None:
    before = await world.snapshot()
    with trial_of(world, at_least=35) as trial:
        for field_name, text, refused_for in values.NO_TARGETS:
            if refused_for not in ("both", kind):
                continue
            body = good(home, kind)
            body["target_account"][field_name] = text
            await trial.refused((field_name, text), created(world, home, kind, body), *SCHEMA, text)
        for text in values.NO_MESSAGES if kind == "pix_transfer" else []:
            call = created(world, home, kind, good(home, kind, pix_message=text))
            await trial.refused(text, call, *SCHEMA, text)
        for text in values.NO_NAMES:
            body = good(home, kind)
            body["target_account"]["owner_name"] = text
            await trial.refused(text, created(world, home, kind, body), *SCHEMA, text)
        await trial.unchanged(before)
        body = good(home, kind)
        body["target_account"] |= values.LEADING_ZEROS
        reply = await trial.accepted("leading zeros", created(world, home, kind, body), 202)
        path = f"/account/{home.keys['account_key']}/{kind}/{reply.json[f'{kind}_key']}/outgoing"
        read = await trial.accepted("leading zeros", world.call("GET", path, key=home.party.api_key), 200)
        kept = {name: read.json["target_account"][name] for name in values.LEADING_ZEROS}
        trial.expect("leading zeros", kept, values.LEADING_ZEROS)
