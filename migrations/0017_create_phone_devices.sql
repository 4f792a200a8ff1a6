-- A participant's phone (redemptions.md §3.1). Its number is a row of `contacts` under the same key, which the messages'
-- role alone reads; whether a token may travel to it is told here.
alter table contacts drop constraint contacts_contact_type_check;
alter table contacts add constraint contacts_contact_type_check check (contact_type in ('sms', 'email', 'device'));
drop index contacts_current;
create unique index contacts_current on contacts (approver_id, contact_type, integrator_id)
    where removed_at is null and contact_type <> 'device';
-- Whoever asks for contacts of an approver names no type that the index above could be sure of.
create index contacts_by_approver on contacts (approver_id, created_at);

-- Operations of redemptions move no money and name no account; the approver is the participant. The request of a
-- purchase has an Idempotency-Key, if any.
alter table operations alter column account_id drop not null;
alter table operations alter column request_control_key drop not null;
alter table operations drop constraint operations_kind_check;
alter table operations add constraint operations_kind_check check (kind in
    ('pix_transfer', 'pix_transfer_batch', 'ted', 'ted_batch', 'device', 'purchase', 'device_registration',
     'device_replacement'));
alter table operations drop constraint operations_without_amount;
alter table operations add constraint operations_without_amount check (
    (kind in ('device', 'purchase', 'device_registration', 'device_replacement')) = (amount_centavos is null));
alter table operations add constraint operations_without_account check (
    (kind in ('purchase', 'device_registration', 'device_replacement')) = (account_id is null));
alter table operations add constraint operations_without_request check (
    (kind = 'purchase') = (request_control_key is null));

-- One guard row for each number of a campaign, by its keyed hash: how many use it, how many messages went to it.
create table phone_numbers (
    integrator_id uuid not null references campaigns,
    number_index  bytea not null check (octet_length(number_index) = 32),
    primary key (integrator_id, number_index)
);

create table phone_devices (
    integrator_id    uuid not null,
    device_id        uuid not null, -- also of its contact, and of the operation that registers it
    participant_id   uuid not null,
    number_index     bytea not null,
    masked_number    text not null,
    status           text not null check (status in
        ('pending_verification', 'pending_replacement', 'active', 'blocked', 'replaced', 'removed', 'failed')),
    failure_reason   text,
    policy_version   integer not null,
    replacement_id   uuid, -- the operation in which the former device approves this one
    verified_at      timestamptz,
    active_from      timestamptz,
    replaced_by      uuid,
    undeliverable_at timestamptz,
    event_sequence   integer not null default 0,
    created_at       timestamptz not null,
    updated_at       timestamptz not null,
    primary key (integrator_id, device_id),
    foreign key (integrator_id, participant_id) references participants,
    foreign key (integrator_id, number_index) references phone_numbers,
    foreign key (integrator_id, device_id) references contacts (integrator_id, contact_id),
    foreign key (integrator_id, policy_version) references two_factor_policies,
    foreign key (integrator_id, replaced_by) references phone_devices,
    check ((status = 'failed') = (failure_reason is not null)),
    check ((status = 'replaced') = (replaced_by is not null)),
    check (status not in ('active', 'blocked') or (verified_at is not null and active_from is not null))
) with (fillfactor = 70);
create unique index phone_devices_in_use on phone_devices (participant_id, integrator_id)
    where status in ('active', 'blocked');
create unique index phone_devices_in_registration on phone_devices (participant_id, integrator_id)
    where status in ('pending_verification', 'pending_replacement');
create index phone_devices_by_number on phone_devices (number_index);
create index phone_devices_by_participant on phone_devices (participant_id, created_at);
create unique index phone_devices_by_replacement on phone_devices (replacement_id, integrator_id)
    where replacement_id is not null;
create trigger phone_devices_stay before delete on phone_devices
    for each row execute function refuse_change();
create trigger phone_devices_move_by_the_table before update of status on phone_devices
    for each row when (old.status <> new.status and not (
        (old.status = 'pending_verification' and new.status in ('active', 'pending_replacement', 'failed'))
        or (old.status = 'pending_replacement' and new.status in ('active', 'failed'))
        or (old.status = 'active' and new.status in ('blocked', 'replaced', 'removed'))
        or (old.status = 'blocked' and new.status in ('active', 'removed'))))
    execute function refuse_wrong_move();

-- GET /devices/{id} with devices.read_full (audited): the API's role may not read destinations otherwise.
create function phone_number_sealed(of_integrator uuid, of_device uuid) returns bytea
    language sql stable security definer set search_path = aval, pg_temp
as $$
    select destination_sealed from contacts
     where integrator_id = of_integrator and contact_id = of_device and contact_type = 'device'
$$;
revoke all on function phone_number_sealed(uuid, uuid) from public;
grant execute on function phone_number_sealed(uuid, uuid) to aval_app_api;

grant select on phone_numbers, phone_devices to aval_app_api, aval_app_settle, aval_readonly, aval_backup;
grant insert on phone_numbers, phone_devices to aval_app_api;
grant update on phone_numbers to aval_app_api; -- to lock it
grant update on phone_devices to aval_app_api, aval_app_settle;
grant update (destination_sealed, masked_destination, usable_at) on contacts to aval_app_api; -- activation, erasure
grant select (integrator_id, contact_id, removed_at) on contacts to aval_app_settle;
grant update (removed_at) on contacts to aval_app_settle; -- a registration that failed
grant select on phone_devices to aval_app_notify;
grant update (undeliverable_at, event_sequence, updated_at) on phone_devices to aval_app_notify;
