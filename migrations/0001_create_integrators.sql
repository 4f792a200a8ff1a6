-- Tenants, their credentials, and the keys of those who administer the deployment.
create table integrators (
    integrator_id            uuid primary key,
    name                     text not null check (char_length(name) between 1 and 80),
    ispb                     text not null check (ispb ~ '^[0-9]{8}$'),
    mode                     text not null check (mode in ('sandbox', 'live')),
    locale                   text not null default 'pt-BR' check (locale in ('pt-BR', 'en')),
    settlement_mode          text not null default 'async' check (settlement_mode in ('async', 'sync')),
    sync_wait_seconds        smallint not null default 8 check (sync_wait_seconds between 1 and 20),
    approval_window_minutes  smallint not null default 60 check (approval_window_minutes between 5 and 1440),
    resend_cooldown_seconds  smallint not null default 30 check (resend_cooldown_seconds between 5 and 300),
    max_resends              smallint not null default 5 check (max_resends between 0 and 20),
    token_alphabets          jsonb not null default '{}',
    rp_id                    text,
    origins                  text[] not null default '{}' check (cardinality(origins) <= 10),
    require_sha256           boolean not null default false,
    signature_window_seconds smallint not null default 60 check (signature_window_seconds between 60 and 300),
    contact_cooldown_hours   smallint not null default 24 check (contact_cooldown_hours between 0 and 72),
    device_cooldown_hours    smallint not null default 24 check (device_cooldown_hours between 0 and 72),
    ted_hours                boolean not null default true,
    requests_per_second      integer check (requests_per_second between 1 and 10000),
    budgets                  boolean not null default true,
    rail_url                 text,
    rail_secret_sealed       bytea,
    fixed_token              text check (fixed_token ~ '^[0-9A-Za-z]{6}$'),
    active                   boolean not null default true,
    pix_fee_centavos         bigint not null default 0 check (pix_fee_centavos >= 0),
    ted_fee_centavos         bigint not null default 0 check (ted_fee_centavos >= 0),
    -- Rises with every change; a process that caches the row compares it inside each deciding statement.
    version                  integer not null default 1,
    created_at               timestamptz not null,
    updated_at               timestamptz not null,
    check (fixed_token is null or mode = 'sandbox'),
    check (rail_url is null or mode = 'live')
);

create table credentials (
    integrator_id   uuid not null references integrators,
    credential_id   uuid not null,
    credential_type text not null check (credential_type in ('bearer', 'signed')),
    api_key_hash    bytea check (octet_length(api_key_hash) = 32),
    api_client_key  uuid,
    public_key      text,
    scopes          text[] not null,
    created_at      timestamptz not null,
    revoked_at      timestamptz,
    primary key (integrator_id, credential_id),
    check ((credential_type = 'bearer') = (api_key_hash is not null)),
    check ((credential_type = 'signed') = (api_client_key is not null and public_key is not null))
);
-- The only look-ups without an integrator: from what the caller presents to the integrator it belongs to.
create unique index credentials_by_api_key on credentials (api_key_hash);
create unique index credentials_by_client_key on credentials (api_client_key);

create table request_signatures (
    integrator_id  uuid not null references integrators,
    signature_hash bytea not null check (octet_length(signature_hash) = 32),
    expires_at     timestamptz not null,
    primary key (integrator_id, signature_hash)
);
create index request_signatures_expiry on request_signatures (expires_at);

create table admin_keys (
    admin_key_id uuid primary key,
    name         text not null check (char_length(name) between 1 and 80),
    key_hash     bytea not null unique check (octet_length(key_hash) = 32),
    scopes       text[] not null,
    created_at   timestamptz not null,
    revoked_at   timestamptz
);
create unique index admin_keys_active_name on admin_keys (name) where revoked_at is null;
