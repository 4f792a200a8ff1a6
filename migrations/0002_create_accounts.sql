-- Accounts money leaves from, the people who approve, and what each may approve where.
create table accounts (
    integrator_id         uuid not null references integrators,
    account_id            uuid not null,
    account_branch        text not null,
    account_number        text not null,
    account_digit         text not null,
    owner_document_number text not null,
    owner_name            text not null,
    status                text not null default 'open' check (status in ('open', 'blocked', 'closed')),
    balance_centavos      bigint not null default 0 check (balance_centavos >= 0),
    pix_fee_centavos      bigint check (pix_fee_centavos >= 0),
    ted_fee_centavos      bigint check (ted_fee_centavos >= 0),
    limits                jsonb not null default '{}',
    created_at            timestamptz not null,
    updated_at            timestamptz not null,
    primary key (integrator_id, account_id),
    unique (account_branch, account_number, account_digit, integrator_id)
) with (fillfactor = 50);

create table approvers (
    integrator_id   uuid not null references integrators,
    approver_id     uuid not null,
    document_index  bytea not null check (octet_length(document_index) = 32),
    document_sealed bytea not null,
    document_masked text not null,
    name            text not null check (char_length(name) between 1 and 150),
    active          boolean not null default true,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    primary key (integrator_id, approver_id),
    unique (document_index, integrator_id)
);

create table contacts (
    integrator_id      uuid not null,
    contact_id         uuid not null,
    approver_id        uuid not null,
    contact_type       text not null check (contact_type in ('sms', 'email')),
    destination_sealed bytea not null,
    masked_destination text not null,
    usable_at          timestamptz not null,
    created_at         timestamptz not null,
    removed_at         timestamptz,
    primary key (integrator_id, contact_id),
    foreign key (integrator_id, approver_id) references approvers
);
create unique index contacts_current on contacts (approver_id, contact_type, integrator_id) where removed_at is null;

create table account_approvers (
    integrator_id       uuid not null,
    account_id          uuid not null,
    approver_id         uuid not null,
    powers              text[] not null,
    max_amount_centavos bigint check (max_amount_centavos > 0),
    created_at          timestamptz not null,
    updated_at          timestamptz not null,
    primary key (integrator_id, account_id, approver_id),
    foreign key (integrator_id, account_id) references accounts,
    foreign key (integrator_id, approver_id) references approvers
);
