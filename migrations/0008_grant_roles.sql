-- promises.md D15: each process takes its own role; nobody deletes history; only app_notify reads contacts.
grant usage on schema aval to aval_app_api, aval_app_settle, aval_app_notify, aval_app_webhook,
    aval_audit_writer, aval_sealer, aval_readonly, aval_backup;

grant select on integrators, credentials, accounts, approvers, account_approvers, operations, challenges, comparisons,
    idempotency_keys, ledger_entries, settlement_jobs, outbox, webhook_endpoints, events, callbacks, channel_states,
    request_signatures, admin_keys, audit, schema_migrations, schema_manifest, sweeps to aval_app_api;
grant select (integrator_id, contact_id, approver_id, contact_type, masked_destination, usable_at, created_at, removed_at)
    on contacts to aval_app_api, aval_readonly;
grant insert on integrators, credentials, accounts, approvers, contacts, account_approvers, operations, challenges,
    comparisons, idempotency_keys, ledger_entries, settlement_jobs, outbox, webhook_endpoints, events, callbacks,
    request_signatures, admin_keys, audit to aval_app_api;
grant update on integrators, credentials, accounts, approvers, account_approvers, challenges, idempotency_keys,
    settlement_jobs, webhook_endpoints, callbacks, admin_keys to aval_app_api;
grant update (removed_at) on contacts to aval_app_api;
grant delete on account_approvers to aval_app_api;

grant select on integrators, accounts, operations, challenges, ledger_entries, settlement_jobs, webhook_endpoints, events,
    callbacks, idempotency_keys, request_signatures, sweeps, schema_migrations, schema_manifest to aval_app_settle;
grant insert on ledger_entries, events, callbacks, audit, sweeps to aval_app_settle;
grant update on accounts, challenges, settlement_jobs, sweeps to aval_app_settle;
grant delete on idempotency_keys, request_signatures to aval_app_settle;

grant select on integrators, accounts, approvers, operations, challenges, contacts, outbox, channel_states,
    webhook_endpoints, events, callbacks, schema_migrations, schema_manifest to aval_app_notify;
grant insert on events, callbacks to aval_app_notify;
grant update on outbox, challenges, channel_states to aval_app_notify;

grant select on integrators, webhook_endpoints, events, callbacks, schema_migrations, schema_manifest to aval_app_webhook;
grant update on webhook_endpoints, callbacks to aval_app_webhook;

grant insert on audit to aval_audit_writer;
grant select on audit to aval_sealer;
grant select on integrators, accounts, account_approvers, operations, challenges, comparisons, ledger_entries,
    settlement_jobs, outbox, webhook_endpoints, events, callbacks, channel_states, audit, sweeps, schema_migrations,
    schema_manifest to aval_readonly;
grant select on all tables in schema aval to aval_backup;
