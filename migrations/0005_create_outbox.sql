-- Promised side effects: messages to approvers, and webhooks to integrators.
create table outbox (
    integrator_id  uuid not null,
    message_id     uuid not null,
    topic          text not null check (topic in ('token', 'notice')),
    operation_id   uuid,
    generation     smallint,
    approver_id    uuid not null,
    contact_id     uuid not null,
    channel        text not null check (channel in ('sms', 'email')),
    payload        jsonb not null default '{}',
    correlation_id text not null,
    state          text not null default 'ready' check (state in ('ready', 'delivered', 'failed', 'void', 'parked')),
    claim_count    smallint not null default 0,
    fence          integer not null default 0,
    due_at         timestamptz not null,
    last_error     text,
    created_at     timestamptz not null,
    finished_at    timestamptz,
    primary key (integrator_id, message_id),
    foreign key (integrator_id, operation_id) references operations,
    foreign key (integrator_id, contact_id) references contacts,
    check ((topic = 'token') = (operation_id is not null and generation is not null))
) with (fillfactor = 70);
create index outbox_due on outbox (due_at) where state = 'ready';
create index outbox_parked on outbox (finished_at) where state = 'parked';
create index outbox_by_operation on outbox (operation_id) where operation_id is not null;

create table webhook_endpoints (
    integrator_id          uuid not null references integrators,
    endpoint_id            uuid not null,
    url                    text not null check (char_length(url) <= 2048),
    event_types            text[] not null,
    headers_sealed         bytea,
    secret_sealed          bytea not null,
    former_secret_sealed   bytea,
    former_secret_until    timestamptz,
    enabled                boolean not null default true,
    created_at             timestamptz not null,
    updated_at             timestamptz not null,
    deleted_at             timestamptz,
    primary key (integrator_id, endpoint_id)
);

create table events (
    integrator_id  uuid not null,
    event_id       uuid not null,
    -- Whose sequence it counts in; the event of an item counts in its batch.
    operation_id   uuid not null,
    item_id        uuid,
    -- The kind of what happened: of the item, if there is one.
    operation_kind text not null,
    sequence       integer not null check (sequence >= 1),
    event_type     text not null,
    body           text not null,
    correlation_id text not null,
    created_at     timestamptz not null,
    primary key (integrator_id, event_id),
    unique (operation_id, sequence, integrator_id),
    foreign key (integrator_id, operation_id) references operations,
    foreign key (integrator_id, item_id) references operations
);
create index events_by_time on events (integrator_id, created_at);
create index events_by_item on events (item_id) where item_id is not null;

create table callbacks (
    integrator_id uuid not null,
    callback_id   uuid not null,
    event_id      uuid not null,
    endpoint_id   uuid not null,
    -- Tells of an item of a batch: an endpoint gets these in turn with the others.
    is_item       boolean not null default false,
    status        text not null default 'pending' check (status in ('pending', 'sent', 'failed')),
    claim_count   smallint not null default 0,
    fence         integer not null default 0,
    due_at        timestamptz not null,
    last_status   smallint,
    last_error    text,
    created_at    timestamptz not null,
    updated_at    timestamptz not null,
    primary key (integrator_id, callback_id),
    unique (event_id, endpoint_id, integrator_id),
    foreign key (integrator_id, event_id) references events,
    foreign key (integrator_id, endpoint_id) references webhook_endpoints
) with (fillfactor = 70);
create index callbacks_due on callbacks (endpoint_id, is_item, due_at) where status = 'pending';
create index callbacks_failed on callbacks (updated_at) where status = 'failed';

-- A channel closed by its failure breaker, for all processes.
create table channel_states (
    channel              text primary key check (channel in ('sms', 'email')),
    consecutive_failures integer not null default 0,
    closed_until         timestamptz
);
insert into channel_states (channel) values ('sms'), ('email');
