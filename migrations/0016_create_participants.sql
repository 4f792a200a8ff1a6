-- Participants and their points. A participant is the approver of their own purchases: the row in `approvers` has name,
-- document and guard of messages, the row here all else, and it is the first lock of whatever concerns the person.
create table participants (
    integrator_id  uuid not null references campaigns,
    participant_id uuid not null,
    external_id    text check (char_length(external_id) between 1 and 64),
    username       text not null check (char_length(username) between 1 and 128),
    person_type    text not null check (person_type in ('INDIVIDUAL', 'COMPANY')),
    status         text not null check (status in ('ACTIVE', 'INACTIVE')),
    catalog_id     text not null,
    -- JSON of rg, birth_date, gender_type, emails, phones, address; null once erased.
    profile_sealed bytea,
    is_onboarded   boolean not null default false, -- whether onboarding.completed was told of the current state
    event_sequence integer not null default 0,
    -- Raised by whoever takes the guard: what was read without it still holds while this is the same (docs/adr/0045).
    revision       integer not null default 0,
    erased_at      timestamptz,
    created_at     timestamptz not null,
    updated_at     timestamptz not null,
    primary key (integrator_id, participant_id),
    unique (username, integrator_id),
    foreign key (integrator_id, participant_id) references approvers (integrator_id, approver_id),
    check ((erased_at is null) = (profile_sealed is not null))
) with (fillfactor = 70);
create index participants_by_id on participants (participant_id); -- the back office names no campaign

create table points_accounts (
    integrator_id  uuid not null,
    participant_id uuid not null,
    available      bigint not null default 0 check (available >= 0),
    reserved       bigint not null default 0 check (reserved >= 0),
    credited       bigint not null default 0 check (credited >= 0),
    debited        bigint not null default 0 check (debited >= 0),
    entry_count    integer not null default 0,
    updated_at     timestamptz not null,
    primary key (integrator_id, participant_id),
    foreign key (integrator_id, participant_id) references participants,
    check (available + reserved = credited - debited)
) with (fillfactor = 45);

create table points_entries (
    integrator_id      uuid not null,
    entry_id           uuid not null,
    participant_id     uuid not null,
    -- Its place in the ledger of its account, from 1 without a gap: lines of one transaction share their time.
    entry_no           integer not null check (entry_no >= 1),
    entry_type         text not null check (entry_type in
        ('credit', 'adjustment', 'expiration', 'reserve', 'release', 'debit', 'reversal')),
    -- Above 0; below it only an adjustment that takes points away.
    points             bigint not null check (points <> 0 and (points > 0 or entry_type = 'adjustment')),
    available_after    bigint not null check (available_after >= 0),
    reserved_after     bigint not null check (reserved_after >= 0),
    purchase_id        uuid,
    order_id           uuid,
    reversal_id        uuid,
    authorization_code text not null,
    description        text not null,
    external_reference text,
    correlation_id     text not null,
    created_at         timestamptz not null,
    primary key (integrator_id, participant_id, entry_no),
    -- No key check of account and purchase: a line is made of their rows, by the statement that writes or moves them, and
    -- these stay for ever (docs/adr/0048).
    check ((entry_type in ('reserve', 'release', 'debit', 'reversal')) = (purchase_id is not null)),
    check ((entry_type = 'reversal') = (reversal_id is not null and order_id is not null))
);
create unique index points_entries_one_reserve on points_entries (purchase_id, integrator_id) where entry_type = 'reserve';
-- Debited or released, never both (redemptions.md §11.10).
create unique index points_entries_one_end on points_entries (purchase_id, integrator_id)
    where entry_type in ('debit', 'release');
create unique index points_entries_by_reversal on points_entries (reversal_id, integrator_id) where reversal_id is not null;
create trigger points_entries_are_fixed before update or delete on points_entries
    for each row execute function refuse_change();
create trigger points_accounts_stay before delete on points_accounts
    for each row execute function refuse_change();
create trigger participants_stay before delete on participants
    for each row execute function refuse_change();

grant select on participants, points_accounts, points_entries to aval_app_api, aval_app_settle, aval_readonly, aval_backup;
grant insert on participants, points_accounts, points_entries to aval_app_api;
grant update on participants, points_accounts to aval_app_api;
grant select on participants to aval_app_notify;
grant insert on points_entries to aval_app_settle;
grant update on points_accounts, participants to aval_app_settle;
