"""What the approver's page is told, and by whom (docs/adr/0030)."""

from typing import Any
from uuid import uuid4

import pytest

from aval.domain.device_proof import base64url
from aval.domain.money import Brl
from tests.devices.authenticator import ORIGIN, RP_ID, AppKey, Passkey
from tests.devices.registering import Enrollment, passkey_party, registered
from tests.devices.signing import KINDS, Signing, request_by_device
from tests.factories import Reply, make_account
from tests.world import World, item_body


@pytest.fixture
async def enrollment(world: World) -> Enrollment:
    return await registered(world, await passkey_party(world))


async def facts(world: World, session_id: object) -> Reply:
    return await world.call("GET", f"/approve/{session_id}/facts", key=None)


async def waiting(signing: Signing, body: Any) -> Reply:
    """Ask what else waits, with what the page sent to approve or deny."""
    told = {name: body[name] for name in ("nonce", "signature")}
    return await signing.enrollment.world.call("POST", f"/approve/{signing.session_id}/waiting", told, key=None)


async def signed(signing: Signing, decision: str = "approve") -> dict[str, Any]:
    """Approve or deny; answers the body that did it."""
    body = signing.signed(await signing.open(), decision)
    assert (await signing.call("POST", f"/{decision}", body)).status == 200
    return body


async def test_a_registration_is_told_its_challenge_and_where_it_may_be_handed_over(world: World) -> None:
    party = await passkey_party(world, locale="en")
    enrollment = Enrollment(world, party)
    asked = await enrollment.challenge()
    told = await facts(world, enrollment.session_id)
    assert told.status == 200
    assert told.json == {
        "session_id": str(enrollment.session_id),
        "purpose": "register",
        "integrator_name": party.integrator.settings.name,
        "locale": "en",
        "account_number_masked": f"***{party.account.data.account_number[-3:]}-7",
        "rp_id": RP_ID,
        "registration": {
            "challenge": asked.json["challenge"],
            "expires_at": asked.json["expires_at"],
            "origins": [ORIGIN],
        },
        "passkeys": [],
        "new_payees": [],
    }


async def test_app_identifiers_are_no_place_to_return_to(world: World) -> None:
    party = await passkey_party(world)
    await world.execute(
        "update integrators set origins = array['android:apk-key-hash:x', $2] where integrator_id = $1",
        party.key,
        ORIGIN,
    )
    enrollment = Enrollment(world, party)
    assert (await enrollment.challenge()).status == 201
    assert (await facts(world, enrollment.session_id)).json["registration"]["origins"] == [ORIGIN]


async def test_a_used_or_expired_challenge_is_told_as_such(world: World, enrollment: Enrollment) -> None:
    used = await facts(world, enrollment.session_id)
    assert (used.status, used.code) == (400, "OBD000926")
    late = Enrollment(world, enrollment.party)
    assert (await late.challenge()).status == 201
    await world.execute("alter table device_challenges disable trigger user")
    await world.execute(
        "update device_challenges set created_at = created_at - interval '5 minutes',"
        " expires_at = expires_at - interval '5 minutes' where session_id = $1",
        late.session_id,
    )
    await world.execute("alter table device_challenges enable trigger user")
    assert (await facts(world, late.session_id)).code == "OBD000926"


async def test_unknown_ids_and_those_of_inactive_integrators_are_alike(world: World, enrollment: Enrollment) -> None:
    signing = await request_by_device(enrollment)
    unknown = await facts(world, uuid4())
    assert (unknown.status, unknown.code) == (404, "OBD000925")
    await world.execute("update integrators set active = false where integrator_id = $1", enrollment.party.key)
    assert (await facts(world, signing.session_id)).body == unknown.body
    body = {"nonce": "A" * 43, "signature": "AAAA"}
    assert (await waiting(signing, body)).body == unknown.body


async def test_only_active_passkeys_of_the_approver_on_the_account_may_sign(world: World) -> None:
    party = await passkey_party(world)
    first, disabled = Passkey(), Passkey()
    active = await registered(world, party, first)
    gone = await registered(world, party, disabled)
    await registered(world, party, AppKey())
    assert (await Enrollment(world, party).requested()).status == 202
    assert (await gone.call("DELETE", "/disable")).status == 200
    signing = await request_by_device(active)
    told = (await facts(world, signing.session_id)).json
    passkey = {
        "device_key": str(active.device_key),
        "credential_id": base64url(first.credential_id),
    }
    assert (told["purpose"], told["registration"], told["passkeys"]) == ("approve", None, [passkey])


@pytest.mark.parametrize("kind", KINDS)
async def test_payees_are_new_until_one_payment_to_them_was_approved(enrollment: Enrollment, kind: str) -> None:
    world, party = enrollment.world, enrollment.party
    signing = await request_by_device(enrollment, kind)
    rows = await world.fetch(
        "select request_control_key from operations where coalesce(batch_id, operation_id) = $1 and kind not like $2"
        " order by item_no",
        signing.key,
        "%batch",
    )
    keys = [str(row["request_control_key"]) for row in rows]
    assert len(keys) == (2 if kind.endswith("batch") else 1)
    assert (await facts(world, signing.session_id)).json["new_payees"] == keys
    single = kind.removesuffix("_batch")
    paid = await world.request(party, single)
    assert (await facts(world, signing.session_id)).json["new_payees"] == keys  # nobody approved it yet
    assert (await world.validate(party, single, paid, await world.token(party, paid))).status == 202
    assert (await facts(world, signing.session_id)).json["new_payees"] == []


async def test_new_payees_among_known_ones_are_named_in_the_order_of_the_request(enrollment: Enrollment) -> None:
    world, party = enrollment.world, enrollment.party
    paid = await world.request(party)
    assert (await world.validate(party, "pix_transfer", paid, await world.token(party, paid))).status == 202
    known = party.pix()["target_account"]
    items = [
        item_body(party, "pix_transfer_batch", target_account=known if number % 2 else known | {"account_digit": "1"})
        for number in range(6)
    ]
    signing = await Signing(enrollment, "pix_transfer_batch").requested(pix_transfers=items)
    told = (await facts(world, signing.session_id)).json["new_payees"]
    assert told == [each["request_control_key"] for each in items[::2]]


async def test_whoever_signed_is_told_what_else_waits(enrollment: Enrollment) -> None:
    signing = await request_by_device(enrollment)
    ted = await request_by_device(enrollment, "ted")
    batch = await request_by_device(enrollment, "pix_transfer_batch")
    done = await request_by_device(enrollment)
    await signed(done)
    cancelled = await request_by_device(enrollment)
    assert (await cancelled.wire.cancel(cancelled.key)).status == 200
    await enrollment.world.request(enrollment.party)  # waits for a token
    reply = await waiting(signing, await signed(signing, "deny"))
    assert reply.status == 200
    told = {each.pop("session_id"): each for each in reply.json["waiting"]}
    assert told.keys() == {str(ted.session_id), str(batch.session_id)}
    single = told[str(ted.session_id)]
    assert single.pop("approval_deadline").endswith("Z")
    assert single == {
        "operation": "ted",
        "amount": "202.01",
        "payee_name": "Padaria Boa Vista Ltda",
        "item_count": 1,
    }
    several = told[str(batch.session_id)]
    assert (several["operation"], several["payee_name"], several["item_count"]) == ("pix_transfer_batch", None, 2)


async def test_what_waits_on_other_accounts_or_for_others_is_not_told(world: World, enrollment: Enrollment) -> None:
    signing = await request_by_device(enrollment)
    other = await registered(world, await passkey_party(world))
    await request_by_device(other)
    elsewhere = await request_by_device(enrollment)
    account = await make_account(world.db, enrollment.party.key, balance=Brl(100))
    await world.execute("alter table operations disable trigger user")
    await world.execute("update operations set account_id = $2 where operation_id = $1", elsewhere.key, account.key)
    await world.execute("alter table operations enable trigger user")
    assert (await waiting(signing, await signed(signing))).json == {"waiting": []}


async def test_only_the_signature_that_counted_opens_the_list_and_not_for_long(
    world: World, enrollment: Enrollment
) -> None:
    signing, other = await request_by_device(enrollment), await request_by_device(enrollment)
    early = signing.signed(await signing.open())
    assert (await waiting(signing, early)).code == "OBD000924"
    body = await signed(signing)
    assert (await waiting(signing, body)).status == 200
    for change in ({"signature": "AAAA"}, {"nonce": early["nonce"]}):
        assert (await waiting(signing, body | change)).code == "OBD000924", change
    for change in ({"signature": ""}, {"signature": "é"}, {"signature": "A"}, {"nonce": "!"}):
        assert (await waiting(signing, body | change)).code == "QIT000001", change
    assert (await waiting(other, body)).code == "OBD000924"
    await world.execute("alter table device_decisions disable trigger user")
    await world.execute("update device_decisions set decided_at = decided_at - interval '5 minutes'")
    await world.execute("alter table device_decisions enable trigger user")
    assert (await waiting(signing, body)).code == "OBD000924"


async def test_a_disabled_device_is_told_nothing(enrollment: Enrollment) -> None:
    signing = await request_by_device(enrollment)
    body = await signed(signing)
    assert (await enrollment.call("DELETE", "/disable")).status == 200
    assert (await waiting(signing, body)).code == "OBD000924"


async def test_ten_requests_a_minute_where_budgets_hold(world: World) -> None:
    party = await passkey_party(world, budgets=True)
    enrollment = await registered(world, party)
    signing = await request_by_device(enrollment)
    replies = [await facts(world, signing.session_id) for _ in range(11)]
    assert [reply.status for reply in replies] == [200] * 10 + [429]
    assert replies[-1].code == "QIT000943"
