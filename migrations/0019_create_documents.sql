-- Identity documents (redemptions.md §3.2, docs/adr/0036). What was sent lies encrypted in the object store; here are
-- its state, its hash and its key, sealed under a key that is not in PostgreSQL.
create table identity_documents (
    integrator_id  uuid not null,
    document_id    uuid not null,
    participant_id uuid not null,
    document_type  text not null check (document_type in
        ('rg', 'cnh', 'rne', 'passport', 'cnh_digital', 'selfie', 'proof_of_address')),
    status         text not null check (status in
        ('draft', 'pending', 'approved', 'rejected', 'resubmission_requested', 'expired')),
    attempt        smallint not null default 1 check (attempt between 1 and 1000),
    has_new_file   boolean not null default false, -- since the draft was made, or new files were asked for
    -- The last word of a reviewer; a reset of the device leaves only its reason, and no decision.
    decision       text check (decision in ('approve', 'reject', 'request_resubmission', 'reopen')),
    reason_code    text,
    public_message text check (char_length(public_message) between 1 and 500),
    internal_note  text check (char_length(internal_note) between 1 and 2000),
    expires_on     date,
    decided_by     text,
    decided_at     timestamptz,
    submitted_at   timestamptz,
    purged_at      timestamptz,
    event_sequence integer not null default 0,
    created_at     timestamptz not null,
    updated_at     timestamptz not null,
    primary key (integrator_id, document_id),
    foreign key (integrator_id, participant_id) references participants,
    check (status = 'draft' or submitted_at is not null),
    check (status in ('draft', 'pending') or decided_at is not null),
    check (status not in ('rejected', 'resubmission_requested') or reason_code is not null),
    check (expires_on is null or status in ('approved', 'expired', 'resubmission_requested', 'pending')),
    check (status <> 'expired' or expires_on is not null)
) with (fillfactor = 70);
-- A reset of the device asks for every approved document again, be there several of a type.
create unique index identity_documents_in_progress on identity_documents (participant_id, document_type, integrator_id)
    where status in ('draft', 'pending') or (status = 'resubmission_requested' and decision is not null);
create index identity_documents_by_id on identity_documents (document_id); -- reviewers name no campaign
create index identity_documents_by_participant on identity_documents (participant_id, created_at);
create index identity_documents_in_review on identity_documents (submitted_at) where status = 'pending';
create index identity_documents_untouched on identity_documents (updated_at) where status = 'draft';
create index identity_documents_expiring on identity_documents (expires_on) where status = 'approved';
create index identity_documents_decided on identity_documents (decided_at)
    where purged_at is null and status in ('approved', 'rejected', 'resubmission_requested', 'expired');

-- Every object there may be in the store: written down before the object is, and forgotten after it is gone.
create table document_objects (
    integrator_id uuid not null,
    object_id     uuid not null,
    state         text not null default 'written' check (state in ('written', 'in_use', 'discarded')),
    due_at        timestamptz, -- when it is deleted unless a file takes it into use
    created_at    timestamptz not null,
    primary key (integrator_id, object_id),
    check ((state = 'in_use') = (due_at is null))
);
create index document_objects_due on document_objects (due_at) where due_at is not null;

create table document_files (
    integrator_id uuid not null,
    document_id   uuid not null,
    side          text not null check (side in ('front', 'back', 'single')),
    version       integer not null check (version >= 1), -- one more with each file that replaces the former
    media_type    text not null check (media_type in ('image/jpeg', 'image/png', 'application/pdf')),
    received_size integer not null check (received_size between 1 and 5242880),
    sha256        bytea not null check (octet_length(sha256) = 32), -- of what was received
    object_id     uuid,
    key_sealed    bytea,
    created_at    timestamptz not null,
    destroyed_at  timestamptz,
    primary key (integrator_id, document_id, side),
    unique (object_id, integrator_id),
    foreign key (integrator_id, document_id) references identity_documents on delete cascade,
    foreign key (integrator_id, object_id) references document_objects,
    check ((object_id is null) = (destroyed_at is not null)),
    check ((key_sealed is null) = (destroyed_at is not null))
);

create trigger identity_documents_stay before delete on identity_documents
    for each row when (old.status <> 'draft') execute function refuse_change();
create trigger document_objects_stay before delete on document_objects
    for each row when (old.state <> 'discarded') execute function refuse_change();
create trigger document_objects_move_one_way before update of state on document_objects
    for each row when (old.state <> new.state and not (
        old.state = 'written' or (old.state = 'in_use' and new.state = 'discarded')))
    execute function refuse_change();
create trigger identity_documents_move_by_the_table before update of status on identity_documents
    for each row when (old.status <> new.status and not (
        (old.status = 'draft' and new.status = 'pending')
        or (old.status = 'pending' and new.status in ('approved', 'rejected', 'resubmission_requested'))
        or (old.status = 'approved' and new.status in ('expired', 'resubmission_requested'))
        or (old.status = 'rejected' and new.status = 'resubmission_requested')
        or (old.status = 'resubmission_requested' and new.status = 'pending')))
    execute function refuse_wrong_move();

grant select on identity_documents, document_files, document_objects to aval_app_api, aval_app_settle, aval_backup;
grant select (integrator_id, document_id, participant_id, document_type, status, attempt, decision, reason_code,
    expires_on, decided_at, submitted_at, purged_at, created_at, updated_at) on identity_documents to aval_readonly;
grant insert on identity_documents, document_files, document_objects to aval_app_api;
grant update (status, attempt, has_new_file, decision, reason_code, public_message, internal_note, expires_on,
    decided_by, decided_at, submitted_at, purged_at, event_sequence, updated_at) on identity_documents
    to aval_app_api, aval_app_settle;
grant update (version, media_type, received_size, sha256, object_id, key_sealed, created_at, destroyed_at)
    on document_files to aval_app_api;
grant update (object_id, key_sealed, destroyed_at) on document_files to aval_app_settle; -- purge, and a rotated key
grant update (state, due_at) on document_objects to aval_app_api, aval_app_settle;
grant delete on identity_documents to aval_app_api, aval_app_settle; -- drafts
grant delete on document_objects to aval_app_settle;
