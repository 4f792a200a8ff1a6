"""Administration of tenants over HTTP, under the role of the API process."""

from uuid import UUID, uuid4

import pytest

from aval.http import admin
from aval.http.app import build_app
from tests.factories import Client, make_admin_key, make_integrator, make_keyring, make_parts, make_party

SANDBOX = {"name": "Loja Exemplo", "ispb": "12345678", "mode": "sandbox"}
ACCOUNT = {
    "account_branch": "0001",
    "account_number": "12345",
    "account_digit": "6",
    "owner_document_number": "11222333000181",
    "owner_name": "Loja Exemplo Ltda",
}
LIVE = {"name": "Banco Exemplo", "ispb": "87654321", "mode": "live"}


@pytest.fixture
async def call(db, db_as):
    parts = make_parts(await db_as("aval_app_api"))
    return Client(build_app(parts, [admin.routes(parts)]), await make_admin_key(db))


@pytest.fixture
async def call_in_production(db, db_as):
    parts = make_parts(await db_as("aval_app_api"), is_production=True)
    return Client(build_app(parts, [admin.routes(parts)]), await make_admin_key(db))


async def actions(db):
    async with db.connection() as connection:
        rows = await connection.fetch("select action, actor, details, correlation_id from audit order by at")
    return rows


async def test_a_sandbox_integrator_starts_with_the_documented_defaults(call):
    made = await call("POST", "/admin/integrators", SANDBOX)
    assert made.status == 201
    key = made.json["integrator_key"]
    assert UUID(key).version == 4
    assert made.json == SANDBOX | {
        "integrator_key": key,
        "created_at": made.json["created_at"],
        "locale": "pt-BR",
        "settlement_mode": "async",
        "sync_wait_seconds": 8,
        "approval_window_minutes": 60,
        "resend_cooldown_seconds": 30,
        "max_resends": 5,
        "token_alphabets": {},
        "rp_id": None,
        "origins": [],
        "require_sha256": False,
        "signature_window_seconds": 60,
        "contact_cooldown_hours": 0,
        "device_cooldown_hours": 0,
        "ted_hours": False,
        "requests_per_second": None,
        "budgets": False,
        "rail_url": None,
        "fixed_token": None,
        "active": True,
    }
    assert (await call("GET", f"/admin/integrators/{key}")).json == made.json


async def test_a_live_integrator_starts_with_stricter_defaults(call):
    made = (await call("POST", "/admin/integrators", LIVE)).json
    wanted = {
        "contact_cooldown_hours": 24,
        "device_cooldown_hours": 24,
        "ted_hours": True,
        "requests_per_second": 50,
        "budgets": True,
    }
    assert {name: made[name] for name in wanted} == wanted


async def test_null_stands_for_no_limit_where_null_is_a_value(call):
    made = await call("POST", "/admin/integrators", LIVE | {"requests_per_second": None, "budgets": False})
    assert (made.status, made.json["requests_per_second"], made.json["budgets"]) == (201, None, False)


OUTSIDE_THE_TABLE = [
    {},
    SANDBOX | {"name": None},
    SANDBOX | {"name": " "},
    SANDBOX | {"name": "x" * 81},
    SANDBOX | {"name": "a\u202eb"},
    SANDBOX | {"ispb": "1234567"},
    SANDBOX | {"ispb": 12345678},
    SANDBOX | {"mode": "production"},
    SANDBOX | {"sync_wait_seconds": 21},
    SANDBOX | {"approval_window_minutes": 4},
    SANDBOX | {"resend_cooldown_seconds": 301},
    SANDBOX | {"max_resends": 21},
    SANDBOX | {"token_alphabets": {"ted": "hex"}},
    SANDBOX | {"token_alphabets": {"boleto": "digits"}},
    SANDBOX | {"signature_window_seconds": 59},
    SANDBOX | {"contact_cooldown_hours": 73},
    SANDBOX | {"requests_per_second": 0},
    SANDBOX | {"origins": ["https://a.example.com"] * 11},
    SANDBOX | {"origins": ["http://a.example.com"]},
    SANDBOX | {"origins": ["http://localhost.example.com"]},
    SANDBOX | {"origins": ["http://localhost:8321/"]},
    SANDBOX | {"origins": ["http://127.0.0.1:8321"]},
    SANDBOX | {"rp_id": "https://a.example.com"},
    SANDBOX | {"rail_url": "https://core.example.com/rail"},
    SANDBOX | {"fixed_token": "12345"},
    LIVE | {"fixed_token": "ABC123"},
    LIVE | {"rail_url": "http://core.example.com/rail"},
    LIVE | {"rail_url": "https://10.0.0.1/rail"},
    SANDBOX | {"integrator_key": str(uuid4())},
]


async def test_a_setting_outside_its_table_is_refused(call, db):
    for body in OUTSIDE_THE_TABLE:
        answer = await call("POST", "/admin/integrators", body)
        assert (answer.status, answer.code) == (400, "QIT000001"), body
        assert await count(db, "integrators") == 0, body


async def count(db, table):
    async with db.connection() as connection:
        return await connection.fetchval(f"select count(*) from {table}")


@pytest.mark.parametrize(
    ("missing", "field"),
    [
        ({"budgets": False}, "budgets"),
        ({"requests_per_second": None}, "requests_per_second"),
        ({"rail_url": None}, "rail_url"),
    ],
)
async def test_production_wants_a_live_integrator_with_budgets_rate_and_rail(call_in_production, missing, field):
    fine = LIVE | {"rail_url": "https://core.example.com/rail"}
    refused = await call_in_production("POST", "/admin/integrators", fine | missing)
    assert refused.code == "QIT000001"
    assert [error["field"] for error in refused.json["extra_fields"]["errors"]] == [field]
    made = await call_in_production("POST", "/admin/integrators", fine)
    assert made.status == 201
    changed = await call_in_production("PATCH", f"/admin/integrators/{made.json['integrator_key']}", missing)
    assert changed.code == "QIT000001"


async def test_passkeys_on_this_machine_without_tls_are_for_development(call, call_in_production):
    body = SANDBOX | {"rp_id": "localhost", "origins": ["http://localhost:8321", "https://pay.example.com"]}
    made = await call("POST", "/admin/integrators", body)
    assert (made.status, made.json["origins"]) == (201, body["origins"])
    refused = await call_in_production("POST", "/admin/integrators", body)
    assert (refused.status, refused.code) == (400, "QIT000001")
    assert [error["field"] for error in refused.json["extra_fields"]["errors"]] == ["origins"]


async def test_the_secret_of_a_rail_is_made_by_aval_and_shown_once(call, db):
    made = (await call("POST", "/admin/integrators", LIVE | {"rail_url": "https://core.example.com/r"})).json
    path = f"/admin/integrators/{made['integrator_key']}"
    assert made["rail_secret"].startswith("whsec_")
    assert "rail_secret" not in (await call("GET", path)).json
    assert "rail_secret" not in (await call("PATCH", path, {"rail_url": "https://other.example.com/r"})).json
    async with db.connection() as connection:
        sealed = await connection.fetchval("select rail_secret_sealed from integrators")
    place = f"integrators/{made['integrator_key']}/rail_secret"
    assert make_keyring().opened(sealed, associated=place) == made["rail_secret"]
    assert "rail_secret" not in (await call("PATCH", path, {"rail_url": None})).json
    again = (await call("PATCH", path, {"rail_url": "https://core.example.com/r"})).json
    assert again["rail_secret"] not in (None, made["rail_secret"])


async def test_a_change_keeps_what_it_does_not_name_and_raises_the_version(call, db):
    integrator = await make_integrator(db, fixed_token="ABC123")
    path = f"/admin/integrators/{integrator.key}"
    changed = await call("PATCH", path, {"max_resends": 3, "locale": None})
    assert (changed.status, changed.json["max_resends"], changed.json["locale"]) == (200, 3, "pt-BR")
    assert changed.json["fixed_token"] == "ABC123"
    assert (await call("PATCH", path, {"fixed_token": None})).json["fixed_token"] is None
    async with db.connection() as connection:
        assert await connection.fetchval("select version from integrators") == 3


NOT_CHANGEABLE = [{"mode": "live"}, {"version": 9}, {"name": ""}, {"active": "no"}]


async def test_mode_and_unknown_fields_cannot_be_changed(call, db):
    for body in NOT_CHANGEABLE:
        integrator = await make_integrator(db)
        answer = await call("PATCH", f"/admin/integrators/{integrator.key}", body)
        assert (answer.status, answer.code) == (400, "QIT000001"), body


async def test_an_act_and_its_audit_row_are_one(call, db):
    await call("POST", "/admin/integrators", SANDBOX | {"fixed_token": "SECRET"}, x_correlation_id="act-1")
    row = (await actions(db))[-1]
    assert (row["action"], row["correlation_id"]) == ("integrator.created", "act-1")
    assert row["actor"].startswith("admin:admin ")
    assert row["details"]["after"]["ispb"] == "12345678"
    assert "SECRET" not in str(row["details"])


async def test_the_audit_of_a_change_tells_before_and_after(call, db):
    integrator = await make_integrator(db)
    await call("PATCH", f"/admin/integrators/{integrator.key}", {"active": False})
    details = (await actions(db))[-1]["details"]
    assert (details["before"], details["after"]) == ({"active": True}, {"active": False})


async def test_integrators_are_listed_in_pages_oldest_first(call, db):
    keys = [str((await make_integrator(db)).key) for _ in range(3)]
    first = (await call("GET", "/admin/integrators?page_size=2")).json
    assert [row["integrator_key"] for row in first["data"]] == keys[:2]
    assert first["pagination"] == {"current_page": 1, "next_page": 2, "rows_per_page": 2}
    second = (await call("GET", "/admin/integrators?page_size=2&page=2")).json
    assert [row["integrator_key"] for row in second["data"]] == keys[2:]
    assert second["pagination"] == {"current_page": 2, "next_page": None, "rows_per_page": 2}


INTEGRATOR_CALLS = [
    ("GET", "", None),
    ("PATCH", "", {"active": True}),
    ("GET", "/fees", None),
    ("PUT", "/fees", {}),
    ("GET", "/credentials", None),
    ("POST", "/credentials", {"type": "bearer", "scopes": ["sandbox"]}),
    ("DELETE", f"/credentials/{uuid4()}", None),
    ("GET", "/accounts", None),
    ("POST", "/accounts", ACCOUNT),
    ("POST", "/approvers", {"document_number": "11144477735", "name": "Ana"}),
    ("GET", "/approvers", None),
]


async def test_an_unknown_integrator_is_not_found(call):
    for method, suffix, body in INTEGRATOR_CALLS:
        answer = await call(method, f"/admin/integrators/{uuid4()}{suffix}", body)
        assert (answer.status, answer.code) == (404, "QIT000404"), (method, suffix)


async def test_fees_are_amounts_or_nothing(call, db):
    integrator = await make_integrator(db)
    path = f"/admin/integrators/{integrator.key}/fees"
    assert (await call("GET", path)).json == {"pix_transfer": 0, "ted": 0}
    assert (await call("PUT", path, {"pix_transfer": 0.5, "ted": 10})).json == {"pix_transfer": 0.5, "ted": 10}
    assert (await call("PUT", path, {"ted": 1.25})).json == {"pix_transfer": 0, "ted": 1.25}
    assert (await call("GET", path)).body == b'{"pix_transfer":0,"ted":1.25}'
    for bad in ("1e3", "-1", '"1"', "0.001", "00"):
        assert (await call("PUT", path, raw=b'{"ted":' + bad.encode() + b"}")).status == 400
    assert (await actions(db))[-1]["details"]["before"] == {"pix_transfer": "0.5", "ted": "10"}


async def test_keys_of_integrators_reach_no_administration(call, db, db_as):
    party = await make_party(db)
    parts = make_parts(await db_as("aval_app_api"))
    own = Client(build_app(parts, [admin.routes(parts)]), party.api_key)
    for route in admin.routes(parts):
        if route.audience == "admin":
            path = route.path
            for name in ("integrator_key", "account_key", "approver_key", "contact_key", "credential_key"):
                path = path.replace(f"{{{name}}}", str(party.key))
            answer = await own(route.method, path)
            assert (answer.status, answer.code) == (401, "GDF000014"), route.path


async def test_admin_keys_do_not_open_an_integrators_paths(call, db):
    party = await make_party(db)
    assert (await call("GET", f"/account/{party.account.key}")).code == "GDF000014"
