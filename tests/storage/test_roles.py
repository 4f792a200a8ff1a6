"""What each process may do in PostgreSQL, and no more (promises.md D12, D15)."""

import pytest

from aval.storage.database import InsufficientPrivilege
from tests.stage import Stage

HISTORY = (
    *("operations", "comparisons", "ledger_entries", "audit", "events", "device_decisions", "device_challenges"),
    *("audit_links", "evidence", "two_factor_policies", "points_entries", "reversals"),
)
WRITES = {
    "aval_app_api": {
        "INSERT": {
            *("integrators", "credentials", "accounts", "approvers", "contacts", "account_approvers", "operations"),
            *("challenges", "comparisons", "idempotency_keys", "ledger_entries", "settlement_jobs", "outbox", "audit"),
            *("webhook_endpoints", "events", "callbacks", "request_signatures", "admin_keys"),
            *("templates", "template_configurations"),
            *("session_ids", "device_challenges", "devices", "device_sessions", "device_decisions"),
            *("campaigns", "two_factor_policies", "applications", "application_keys", "participants"),
            *("points_accounts", "points_entries", "phone_numbers", "phone_devices"),
            *("purchases", "order_refunds", "item_refunds", "reversals"),
            *("identity_documents", "document_files", "document_objects"),
        },
        "UPDATE": {
            *("integrators", "credentials", "accounts", "approvers", "account_approvers", "challenges"),
            *("idempotency_keys", "settlement_jobs", "webhook_endpoints", "callbacks", "admin_keys"),
            "template_configurations",
            *("campaigns", "applications", "application_keys", "participants", "points_accounts"),
            *("phone_numbers", "phone_devices"),
        },
        "DELETE": {"account_approvers", "identity_documents"},
    },
    "aval_app_settle": {
        "INSERT": {"ledger_entries", "events", "callbacks", "audit", "sweeps", "points_entries"},
        "UPDATE": {
            *("accounts", "challenges", "settlement_jobs", "sweeps"),
            *("points_accounts", "participants", "phone_devices"),
        },
        "DELETE": {"idempotency_keys", "request_signatures", "identity_documents", "document_objects"},
    },
    "aval_app_notify": {"INSERT": {"events", "callbacks"}, "UPDATE": {"outbox", "challenges", "channel_states"}},
    "aval_app_webhook": {"UPDATE": {"webhook_endpoints", "callbacks"}},
    "aval_audit_writer": {"INSERT": {"audit"}},
    "aval_sealer": {"INSERT": {"audit_links", "evidence", "sweeps"}, "UPDATE": {"sweeps"}},
    "aval_readonly": {},
    "aval_backup": {},
}
PROCESSES = [role for role in WRITES if role.startswith("aval_app_")]


@pytest.mark.parametrize("role", WRITES)
async def test_a_role_writes_what_its_code_writes(stage: Stage, role: str):
    granted = await stage.fetch(
        "select privilege_type, table_name from information_schema.table_privileges"
        " where table_schema = 'aval' and grantee = $1 and privilege_type <> 'SELECT'",
        role,
    )
    found: dict[str, set[str]] = {}
    for privilege, table in granted:
        found.setdefault(privilege, set()).add(table)
    assert found == WRITES[role]


async def test_only_one_role_reads_where_messages_go(stage: Stage):
    readers = await stage.fetch(
        "select distinct grantee from information_schema.column_privileges where table_schema = 'aval'"
        " and table_name = 'contacts' and column_name = 'destination_sealed' and privilege_type = 'SELECT'"
        " and grantee like 'aval_app%'"
    )
    assert readers == [("aval_app_notify",)]


SECRETS = {
    "aval_app_settle": ("credentials", "admin_keys", "contacts", "approvers", "outbox", "comparisons"),
    "aval_app_notify": ("credentials", "admin_keys", "ledger_entries", "settlement_jobs", "comparisons", "audit"),
    "aval_app_webhook": ("credentials", "admin_keys", "contacts", "approvers", "operations", "challenges", "outbox"),
    "aval_readonly": ("credentials", "admin_keys", "approvers", "idempotency_keys", "applications", "application_keys"),
}


@pytest.mark.parametrize("role", SECRETS)
async def test_a_role_does_not_read_what_it_has_no_use_for(stage: Stage, role: str):
    db = await stage.open_as(role)
    for table in SECRETS[role]:
        with pytest.raises(InsufficientPrivilege):
            async with db.connection() as connection:
                await connection.fetch(f"select * from {table}")


@pytest.mark.parametrize("role", PROCESSES)
async def test_no_process_rewrites_history_or_the_schema(stage: Stage, role: str):
    db = await stage.open_as(role)
    statements = [f"delete from {table}" for table in (*HISTORY, "challenges")]
    statements += [f"truncate {table}" for table in (*HISTORY, "challenges", "outbox")]
    statements += ["update operations set amount_centavos = 1", "update ledger_entries set amount_centavos = 1"]
    statements += ["update comparisons set verdict = 'wrong'", "update audit set actor = 'nobody'"]
    statements += ["update events set body = ''", "drop trigger operations_are_fixed on operations"]
    statements += [
        "create table aval.more (a int)",
        "create table public.more (a int)",
    ]
    statements += [
        "set session_replication_role = replica",
        "update contacts set contact_type = 'sms'",
    ]
    allowed = []
    for statement in statements:
        try:
            async with db.transaction() as connection:
                await connection.execute(statement)
                allowed.append(statement)
                raise _Undone
        except (InsufficientPrivilege, _Undone):
            continue
    assert allowed == []


class _Undone(Exception):
    """Takes a statement back that was allowed."""
