-- Devices that sign what they show (docs/adr/0025). A device is an operation of kind `device`, which moves no money;
-- whether it is active is told by its challenge and by disabled_at.
alter table operations alter column amount_centavos drop not null;
alter table operations add constraint operations_without_amount check ((kind = 'device') = (amount_centavos is null));

-- From a session id to its integrator: a device calls without a credential, so this look-up alone has no integrator.
-- Registering and approving share it, so that an id is never used twice on a deployment.
create table session_ids (
    session_id    uuid primary key,
    integrator_id uuid not null references integrators
);

create table device_challenges (
    integrator_id uuid not null,
    session_id    uuid not null,
    account_id    uuid not null,
    approver_id   uuid not null,
    challenge     bytea not null check (octet_length(challenge) = 32),
    expires_at    timestamptz not null,
    created_at    timestamptz not null,
    primary key (integrator_id, session_id),
    foreign key (integrator_id, account_id) references accounts,
    foreign key (integrator_id, approver_id) references approvers,
    check (expires_at = created_at + interval '5 minutes')
);

create table devices (
    integrator_id      uuid not null,
    device_id          uuid not null,
    account_id         uuid not null,
    approver_id        uuid not null,
    -- The challenge it answered; one challenge registers one device.
    session_id         uuid not null,
    name               text not null check (char_length(name) between 1 and 40),
    credential_type    text not null check (credential_type in ('webauthn', 'p256')),
    public_key         bytea not null,
    credential_id      bytea check (octet_length(credential_id) between 1 and 1023),
    sign_count         bigint not null default 0 check (sign_count between 0 and 4294967295),
    is_backup_eligible boolean,
    created_at         timestamptz not null,
    disabled_at        timestamptz,
    primary key (integrator_id, device_id),
    unique (session_id, integrator_id),
    foreign key (integrator_id, device_id) references operations,
    foreign key (integrator_id, session_id) references device_challenges,
    foreign key (integrator_id, account_id) references accounts,
    foreign key (integrator_id, approver_id) references approvers,
    check ((credential_type = 'webauthn') = (credential_id is not null and is_backup_eligible is not null))
);
create index devices_by_approver on devices (approver_id, account_id);

create table device_sessions (
    integrator_id    uuid not null,
    session_id       uuid not null,
    operation_id     uuid not null,
    status           text not null default 'pending' check (status in ('pending', 'approved', 'denied')),
    nonce            text check (nonce ~ '^[A-Za-z0-9_-]{43}$'),
    nonce_expires_at timestamptz,
    device_id        uuid,
    created_at       timestamptz not null,
    updated_at       timestamptz not null,
    primary key (integrator_id, session_id),
    unique (operation_id, integrator_id),
    foreign key (integrator_id, operation_id) references operations,
    foreign key (integrator_id, device_id) references devices,
    check ((nonce is null) = (nonce_expires_at is null)),
    check (nonce is null or status = 'pending'),
    check ((device_id is null) = (status = 'pending'))
) with (fillfactor = 70);
create index device_sessions_by_device on device_sessions (device_id) where device_id is not null;

-- Each signature that counted, kept as evidence; the nonce is the key, so that none counts twice.
create table device_decisions (
    integrator_id  uuid not null,
    nonce          text not null,
    session_id     uuid not null,
    operation_id   uuid not null,
    device_id      uuid not null,
    decision       text not null check (decision in ('approve', 'deny')),
    reason         text check (reason in ('not_me', 'wrong_details', 'other')),
    challenge      bytea not null check (octet_length(challenge) = 32),
    -- The fields of the proof, base64url as they came.
    proof          jsonb not null,
    -- Where it was accepted: the integrator may move.
    rp_id          text,
    origins        text[] not null,
    correlation_id text not null,
    decided_at     timestamptz not null,
    primary key (integrator_id, nonce),
    foreign key (integrator_id, session_id) references device_sessions,
    foreign key (integrator_id, operation_id) references operations,
    foreign key (integrator_id, device_id) references devices,
    check ((decision = 'deny') = (reason is not null))
);
create index device_decisions_by_operation on device_decisions (operation_id);

create trigger session_ids_are_fixed before update or delete on session_ids
    for each row execute function refuse_change();
create trigger device_challenges_are_fixed before update or delete on device_challenges
    for each row execute function refuse_change();
create trigger device_decisions_are_fixed before update or delete on device_decisions
    for each row execute function refuse_change();
create trigger devices_stay before delete on devices
    for each row execute function refuse_change();
create trigger devices_move_forward before update on devices
    for each row when (new.sign_count < old.sign_count
        or (old.disabled_at is not null and new.disabled_at is distinct from old.disabled_at)
        or new.integrator_id is distinct from old.integrator_id or new.device_id is distinct from old.device_id
        or new.account_id is distinct from old.account_id or new.approver_id is distinct from old.approver_id
        or new.public_key is distinct from old.public_key)
    execute function refuse_change();
create trigger device_sessions_stay before delete on device_sessions
    for each row execute function refuse_change();
create trigger device_sessions_move_by_the_table before update on device_sessions
    for each row when (new.operation_id <> old.operation_id or (old.status <> new.status and not (
        (old.status = 'pending' and new.status in ('approved', 'denied'))
        or (old.status = 'approved' and new.status = 'pending'))))
    execute function refuse_wrong_move();

grant select, insert on session_ids, device_challenges, devices, device_sessions, device_decisions to aval_app_api;
grant update (sign_count, disabled_at) on devices to aval_app_api;
grant update (status, nonce, nonce_expires_at, device_id, updated_at) on device_sessions to aval_app_api;
grant select on devices, device_sessions, device_decisions to aval_readonly;
grant select on session_ids, device_challenges, devices, device_sessions, device_decisions to aval_backup;
