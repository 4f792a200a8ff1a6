"""Approvers, contacts and powers over HTTP."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from aval.http import admin
from aval.http.app import build_app
from tests.factories import (
    Client,
    make_account,
    make_admin_key,
    make_approver,
    make_contact,
    make_integrator,
    make_keyring,
    make_parts,
)

PERSON = {"document_number": "11144477735", "name": "Ana Exemplo"}
PHONE, OTHER_PHONE = "+5511987654321", "+5521998765432"


@pytest.fixture
async def call(db, db_as):
    parts = make_parts(await db_as("aval_app_api"))
    return Client(build_app(parts, [admin.routes(parts)]), await make_admin_key(db))


@pytest.fixture
async def integrator(db):
    return await make_integrator(db, contact_cooldown_hours=24)


@pytest.fixture
async def approvers(integrator):
    return f"/admin/integrators/{integrator.key}/approvers"


@pytest.fixture
async def approver(db, integrator):
    return await make_approver(db, integrator.key)


@pytest.fixture
async def contacts(approvers, approver):
    return f"{approvers}/{approver.key}/contacts"


async def rows_of(db, query):
    async with db.connection() as connection:
        return await connection.fetch(query)


async def test_an_approvers_cpf_is_sealed_indexed_and_shown_masked(call, db, approvers):
    made = await call("POST", approvers, PERSON)
    assert made.status == 201
    assert (made.json["document_number"], made.json["name"], made.json["active"]) == (
        "***444777**",
        "Ana Exemplo",
        True,
    )
    assert (await call("GET", f"{approvers}/{made.json['approver_key']}")).json == made.json
    (row,) = await rows_of(db, "select * from approvers")
    keyring = make_keyring()
    assert row["document_index"] == keyring.index_of("cpf:11144477735")
    assert keyring.opened(row["document_sealed"], associated=f"approvers/{row['approver_id']}") == "11144477735"
    assert "11144477735" not in str(await rows_of(db, "select approvers::text, audit::text from approvers, audit"))


async def test_a_cpf_is_unique_within_an_integrator_only(call, db, approvers):
    assert (await call("POST", approvers, PERSON)).status == 201
    again = await call("POST", approvers, PERSON)
    assert (again.status, again.code) == (409, "QIT000945")
    other = await make_integrator(db)
    assert (await call("POST", f"/admin/integrators/{other.key}/approvers", PERSON)).status == 201


NO_PEOPLE = [
    {"name": "Ana"},
    PERSON | {"document_number": "11144477734"},
    PERSON | {"document_number": "111.444.777-35"},
    PERSON | {"document_number": 11144477735},
    PERSON | {"document_number": "11222333000181"},
    PERSON | {"name": ""},
    PERSON | {"name": "x" * 151},
    PERSON | {"name": "Ana\u200b"},
    PERSON | {"active": 1},
    PERSON | {"powers": []},
]


async def test_a_person_outside_the_form_is_refused(call, approvers):
    for body in NO_PEOPLE:
        assert (await call("POST", approvers, body)).code == "QIT000001", body


async def test_an_approver_can_be_renamed_switched_off_and_given_another_cpf(call, db, approvers, approver):
    path = f"{approvers}/{approver.key}"
    changed = await call("PATCH", path, {"active": False, "name": "Ana Maria", "document_number": "52998224725"})
    assert (changed.status, changed.json["active"], changed.json["name"]) == (200, False, "Ana Maria")
    assert changed.json["document_number"] == "***982247**"
    assert (await call("PATCH", path, {"active": True})).json["name"] == "Ana Maria"
    (row,) = await rows_of(db, "select document_index from approvers")
    assert row["document_index"] == make_keyring().index_of("cpf:52998224725")
    await call("POST", approvers, PERSON)
    assert (await call("PATCH", path, {"document_number": "11144477735"})).code == "QIT000945"


async def test_a_first_contact_is_usable_now_and_kept_sealed(call, db, contacts):
    made = await call("POST", contacts, {"contact_type": "sms", "destination": PHONE})
    assert (made.status, made.json["masked_destination"]) == (201, "+55 11 *****-4321")
    assert set(made.json) == {"contact_key", "contact_type", "masked_destination", "usable_at"}
    assert (await call("GET", contacts)).json["data"] == [made.json]
    (row,) = await rows_of(db, "select * from contacts")
    assert row["usable_at"] == row["created_at"]
    opened = make_keyring().opened(row["destination_sealed"], associated=f"contacts/{row['contact_id']}")
    assert opened == PHONE
    assert PHONE not in str(await rows_of(db, "select contacts::text, audit::text from contacts, audit"))


async def test_a_new_contact_replaces_the_one_of_its_type_at_once_and_cools_down(call, db, approver, contacts):
    old = (await call("POST", contacts, {"contact_type": "sms", "destination": PHONE})).json
    email = (await call("POST", contacts, {"contact_type": "email", "destination": "ana@Example.com"})).json
    new = (await call("POST", contacts, {"contact_type": "sms", "destination": OTHER_PHONE})).json
    assert email["masked_destination"] == "a***@example.com"
    assert (await call("GET", contacts)).json["data"] == [email, new]
    rows = {str(row["contact_id"]): row for row in await rows_of(db, "select * from contacts")}
    assert rows[new["contact_key"]]["usable_at"] - rows[new["contact_key"]]["created_at"] == timedelta(hours=24)
    assert rows[email["contact_key"]]["usable_at"] == rows[email["contact_key"]]["created_at"]
    assert rows[old["contact_key"]]["removed_at"] == rows[new["contact_key"]]["created_at"]
    assert datetime.fromisoformat(new["usable_at"]) > datetime.fromisoformat(email["usable_at"])


async def test_the_old_destination_is_told_in_the_same_transaction(call, db, contacts):
    old = (await call("POST", contacts, {"contact_type": "sms", "destination": PHONE})).json
    await call("POST", contacts, {"contact_type": "sms", "destination": OTHER_PHONE}, x_correlation_id="swap-1")
    (notice,) = await rows_of(db, "select * from outbox")
    assert (notice["topic"], notice["channel"], notice["state"]) == ("notice", "sms", "ready")
    assert (str(notice["contact_id"]), notice["correlation_id"]) == (old["contact_key"], "swap-1")
    assert (notice["operation_id"], notice["generation"]) == (None, None)


async def test_removing_first_neither_shortens_the_cool_down_nor_hides_the_change(call, db, contacts):
    old = (await call("POST", contacts, {"contact_type": "sms", "destination": PHONE})).json
    assert (await call("DELETE", f"{contacts}/{old['contact_key']}")).status == 204
    assert (await call("GET", contacts)).json["data"] == []
    (notice,) = await rows_of(db, "select contact_id from outbox")
    assert str(notice["contact_id"]) == old["contact_key"]
    await call("POST", contacts, {"contact_type": "sms", "destination": OTHER_PHONE})
    (row,) = await rows_of(db, "select usable_at - created_at as wait from contacts where removed_at is null")
    assert row["wait"] == timedelta(hours=24)
    assert (await call("DELETE", f"{contacts}/{old['contact_key']}")).code == "QIT000404"


async def test_without_a_cool_down_a_changed_contact_is_usable_now(call, db):
    integrator = await make_integrator(db)
    approver = await make_approver(db, integrator.key, phone=PHONE)
    await make_contact(db, integrator.key, approver.key, "sms", OTHER_PHONE)
    (row,) = await rows_of(db, "select usable_at - created_at as wait from contacts where removed_at is null")
    assert row["wait"] == timedelta(0)


NO_DESTINATIONS = [
    ("sms", "5511987654321"),
    ("sms", "+55 11 98765 4321"),
    ("sms", "+551132654321"),
    ("sms", "+5520987654321"),
    ("sms", "+14155550100"),
    ("sms", "tel:+5511987654321"),
    ("sms", "+55\uff11\uff11987654321"),
    ("sms", "ana@example.com"),
    ("email", PHONE),
    ("email", "ana@@example.com"),
    ("email", '"ana"@example.com'),
    ("email", "ana@[127.0.0.1]"),
    ("email", "ana@example.com."),
    ("email", "ana@example.com\r\nBcc: eva@example.com"),
    ("email", "a" * 250 + "@example.com"),
    ("fax", PHONE),
]


async def test_a_destination_that_is_none_is_refused(call, db, contacts):
    for contact_type, destination in NO_DESTINATIONS:
        answer = await call("POST", contacts, {"contact_type": contact_type, "destination": destination})
        assert (answer.status, answer.code) == (400, "QIT000001"), destination
        assert destination not in answer.body.decode(), destination
        assert await rows_of(db, "select from contacts") == [], destination


async def test_powers_are_given_replaced_listed_and_taken(call, db, integrator, approver):
    account = await make_account(db, integrator.key)
    path = f"/admin/integrators/{integrator.key}/accounts/{account.key}/approvers"
    given = await call("PUT", f"{path}/{approver.key}", {"powers": ["ted", "pix_transfer", "ted"], "max_amount": 500.5})
    wanted = {"approver_key": str(approver.key), "powers": ["pix_transfer", "ted"], "max_amount": 500.5}
    assert (given.status, given.json) == (200, wanted)
    assert (await call("GET", path)).json["data"] == [wanted]
    replaced = await call("PUT", f"{path}/{approver.key}", {"powers": ["ted_batch"]})
    assert replaced.json == {"approver_key": str(approver.key), "powers": ["ted_batch"], "max_amount": None}
    assert (await call("DELETE", f"{path}/{approver.key}")).status == 204
    assert (await call("GET", path)).json["data"] == []
    assert (await call("DELETE", f"{path}/{approver.key}")).code == "QIT000404"
    actions = await rows_of(db, "select action from audit where action like 'powers.%' order by at")
    assert [row["action"] for row in actions] == ["powers.granted", "powers.granted", "powers.revoked"]


NO_POWERS = [
    {},
    {"powers": "ted"},
    {"powers": ["device"]},
    {"powers": ["ted"], "max_amount": 0},
    {"powers": ["ted"], "max_amount": "1"},
    {"powers": ["ted"], "approver_key": str(uuid4())},
]


async def test_powers_outside_their_form_are_refused(call, db, integrator, approver):
    for body in NO_POWERS:
        account = await make_account(db, integrator.key)
        path = f"/admin/integrators/{integrator.key}/accounts/{account.key}/approvers/{approver.key}"
        assert (await call("PUT", path, body)).code == "QIT000001", body


async def test_an_approver_of_another_integrator_is_as_unknown_as_none(call, db, integrator, approvers):
    other = await make_integrator(db)
    theirs = await make_approver(db, other.key, phone=PHONE)
    account = await make_account(db, integrator.key)
    powers = f"/admin/integrators/{integrator.key}/accounts/{account.key}/approvers"
    (contact,) = await rows_of(db, "select contact_id from contacts")
    contact_body = {"contact_type": "sms", "destination": OTHER_PHONE}
    for method, path, body in (
        ("GET", approvers + "/{}", None),
        ("PATCH", approvers + "/{}", {"active": False}),
        ("GET", approvers + "/{}/contacts", None),
        ("POST", approvers + "/{}/contacts", contact_body),
        ("DELETE", approvers + f"/{{}}/contacts/{contact['contact_id']}", None),
        ("PUT", powers + "/{}", {"powers": ["ted"]}),
        ("DELETE", powers + "/{}", None),
    ):
        foreign, unknown = (
            await call(method, path.format(theirs.key), body),
            await call(method, path.format(uuid4()), body),
        )
        assert (foreign.status, foreign.code, foreign.body) == (404, "QIT000404", unknown.body), (method, path)
    assert (await call("GET", approvers)).json["data"] == []
