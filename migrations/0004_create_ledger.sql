-- Every entry names the account and its contra account, so debits equal credits by construction;
-- contra accounts carry no stored balance.
create table ledger_entries (
    integrator_id       uuid not null,
    source_id           uuid not null,
    item_no             smallint not null default 1,
    entry_type          text not null,
    account_id          uuid not null,
    direction           text not null,
    contra_account      text not null,
    amount_centavos     bigint not null check (amount_centavos > 0),
    request_control_key uuid,
    request_fingerprint bytea,
    description         text,
    balance_centavos    bigint,
    created_at          timestamptz not null,
    primary key (integrator_id, source_id, item_no, entry_type),
    foreign key (integrator_id, account_id) references accounts,
    check (entry_type || ' ' || direction || ' ' || contra_account in (
        'credit credit funding', 'debit debit funding',
        'transfer debit settlement', 'fee debit fees',
        'transfer_refund credit settlement', 'fee_refund credit fees',
        'transfer_return credit settlement'))
);
create unique index ledger_entries_by_request on ledger_entries (request_control_key, integrator_id)
    where request_control_key is not null;
create index ledger_entries_by_account on ledger_entries (account_id, created_at);

create table settlement_jobs (
    integrator_id  uuid not null,
    operation_id   uuid not null,
    item_no        smallint not null default 1,
    -- Known to the rail; the operation's own key, fixed before the first send.
    rail_reference uuid not null,
    -- An item of a batch: the worker takes it beside single transfers, never in front of them.
    is_item        boolean not null default false,
    state          text not null default 'ready' check (state in ('ready', 'done', 'parked')),
    rail_status    text check (rail_status in ('pending', 'sent', 'rejected', 'returned', 'unknown')),
    send_count     smallint not null default 0,
    claim_count    smallint not null default 0,
    fence          integer not null default 0,
    due_at         timestamptz not null,
    last_error     text,
    created_at     timestamptz not null,
    updated_at     timestamptz not null,
    primary key (integrator_id, operation_id, item_no),
    foreign key (integrator_id, operation_id) references operations
) with (fillfactor = 70);
create index settlement_jobs_due on settlement_jobs (is_item, due_at) where state = 'ready';
create index settlement_jobs_parked on settlement_jobs (updated_at) where state = 'parked';
