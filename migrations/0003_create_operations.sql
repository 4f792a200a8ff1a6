-- What is approved never changes; what moves sits in a narrow row of its own (docs/adr/0010).
-- Only the primary key begins with the integrator: on a young table the planner takes any index whose first column
-- fits, and would read a whole tenant to find one row (docs/adr/0017).
create table operations (
    integrator_id       uuid not null,
    operation_id        uuid not null,
    kind                text not null check (kind in ('pix_transfer', 'pix_transfer_batch', 'ted', 'ted_batch', 'device')),
    account_id          uuid not null,
    approver_id         uuid not null,
    credential_id       uuid not null,
    batch_id            uuid,
    item_no             smallint not null default 1 check (item_no >= 1),
    request_control_key uuid not null,
    request_fingerprint bytea not null check (octet_length(request_fingerprint) = 32),
    end_to_end_id       text check (char_length(end_to_end_id) = 32),
    amount_centavos     bigint not null check (amount_centavos > 0),
    fee_centavos        bigint not null check (fee_centavos >= 0),
    facts               jsonb not null,
    details_digest      bytea not null check (octet_length(details_digest) = 32),
    nonce               bytea not null check (octet_length(nonce) = 16),
    correlation_id      text not null,
    created_at          timestamptz not null,
    primary key (integrator_id, operation_id),
    foreign key (integrator_id, account_id) references accounts,
    foreign key (integrator_id, approver_id) references approvers,
    foreign key (integrator_id, batch_id) references operations
);
create unique index operations_by_request on operations (request_control_key, kind, integrator_id)
    where request_control_key is not null; -- 0017: a purchase has none
-- An item is an operation of its own that names its batch (docs/adr/0022).
create unique index operations_by_batch on operations (batch_id, item_no, integrator_id) where batch_id is not null;
create unique index operations_by_end_to_end_id on operations (end_to_end_id, integrator_id) where end_to_end_id is not null;
create index operations_by_account on operations (account_id, created_at) where account_id is not null; -- 0017: some have none

create table challenges (
    integrator_id           uuid not null,
    operation_id            uuid not null,
    status                  text not null check (status in
        ('pending_2fa_approval', 'approved', 'pending', 'sent', 'rejected', 'cancelled')),
    method                  text not null check (method in ('sms', 'email', 'device')),
    contact_id              uuid,
    masked_destination      text,
    generation              smallint not null default 1 check (generation >= 1),
    attempts_used           smallint not null default 0 check (attempts_used between 0 and 5),
    kid                     text not null,
    -- The alphabet of each generation, one letter each: c = crockford32, d = digits.
    alphabets               text not null check (alphabets ~ '^[cd]+$' and char_length(alphabets) = generation),
    issued_at               timestamptz not null,
    expires_at              timestamptz not null,
    can_resend_at           timestamptz not null,
    resends_left            smallint not null check (resends_left >= 0),
    resend_cooldown_seconds smallint not null,
    approval_deadline       timestamptz not null,
    consumed_at             timestamptz,
    rejection_reason        text,
    refusal                 jsonb,
    transaction_key         uuid,
    event_sequence          integer not null default 0,
    updated_at              timestamptz not null,
    primary key (integrator_id, operation_id),
    foreign key (integrator_id, operation_id) references operations,
    check (method = 'device' or expires_at = issued_at + interval '5 minutes'),
    check ((method = 'device') = (contact_id is null)),
    check (consumed_at is null or attempts_used < 5),
    check ((status = 'rejected') = (rejection_reason is not null)),
    check (attempts_used < 5 or status = 'rejected')
) with (fillfactor = 45);
-- The deadline of an operation never moves, so this index leaves every update a heap-only one;
-- the sweeper reads it from a watermark on (docs/adr/0011).
create index challenges_by_deadline on challenges (approval_deadline);

create table sweeps (
    name        text primary key,
    swept_until timestamptz not null
);

create table comparisons (
    integrator_id uuid not null,
    operation_id  uuid not null,
    comparison_no smallint not null check (comparison_no between 1 and 5),
    generation    smallint not null check (generation >= 1),
    verdict       text not null check (verdict in ('right', 'wrong', 'superseded')),
    alphabet      text not null check (alphabet in ('crockford32', 'digits')),
    approver_id   uuid not null,
    is_budgeted   boolean not null,
    judged_at     timestamptz not null,
    primary key (integrator_id, operation_id, comparison_no),
    foreign key (integrator_id, operation_id) references operations
);
create index comparisons_by_approver on comparisons (approver_id, judged_at) where is_budgeted;
create index comparisons_wrong on comparisons (judged_at, integrator_id) where verdict <> 'right';

create table idempotency_keys (
    integrator_id   uuid not null,
    path            text not null,
    idempotency_key text not null,
    fingerprint     bytea not null check (octet_length(fingerprint) = 32),
    -- Null while a synchronous call still waits for the rail.
    status          smallint,
    body            bytea,
    created_at      timestamptz not null,
    primary key (integrator_id, path, idempotency_key),
    check ((status is null) = (body is null))
);
create index idempotency_keys_by_age on idempotency_keys (created_at);
