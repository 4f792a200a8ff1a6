-- Redemptions (docs/adr/0034): a campaign is a tenant like any integrator, so that challenges, comparisons, messages,
-- webhooks, idempotency keys and audit serve both.
alter table integrators add column tenant_type text not null default 'integrator'
    check (tenant_type in ('integrator', 'campaign'));
alter table integrators alter column ispb drop not null;
alter table integrators add constraint integrators_ispb check ((tenant_type = 'integrator') = (ispb is not null));

create table campaigns (
    integrator_id  uuid primary key references integrators,
    -- Chosen by the operator; the only look-up of a campaign without its tenant, and only the back office makes it.
    campaign_id    text not null unique check (campaign_id ~ '^[A-Za-z0-9._-]{1,64}$'),
    client_id      text not null check (client_id ~ '^[A-Za-z0-9._-]{1,64}$'),
    status         text not null default 'active' check (status in ('active', 'paused', 'closed')),
    -- Both {id: name}.
    catalogs       jsonb not null,
    vendors        jsonb not null,
    timezone       text not null default 'America/Sao_Paulo',
    -- Issuer, audience, jwks_uri and names of claims of participant tokens; null until they are known.
    oidc           jsonb,
    policy_version integer not null default 1 check (policy_version >= 1),
    created_at     timestamptz not null,
    updated_at     timestamptz not null
);

create table two_factor_policies (
    integrator_id uuid not null references campaigns,
    version       integer not null check (version >= 1),
    policy        jsonb not null,
    changed_by    text not null,
    changed_at    timestamptz not null,
    primary key (integrator_id, version)
);
create trigger two_factor_policies_are_fixed before update or delete on two_factor_policies
    for each row execute function refuse_change();

create table applications (
    integrator_id         uuid not null references campaigns,
    -- The `client_id` of OAuth2; its webhook endpoint has the same key.
    application_id        uuid not null,
    name                  text not null check (char_length(name) between 1 and 80),
    client_secret_hash    bytea not null check (octet_length(client_secret_hash) = 32),
    subscription_key_hash bytea not null check (octet_length(subscription_key_hash) = 32),
    scopes                text[] not null,
    calls_per_minute      integer check (calls_per_minute between 1 and 1000000),
    created_at            timestamptz not null,
    updated_at            timestamptz not null,
    revoked_at            timestamptz,
    primary key (integrator_id, application_id)
);
create unique index applications_by_client on applications (application_id);
create unique index applications_by_subscription_key on applications (subscription_key_hash);

create table application_keys (
    integrator_id  uuid not null,
    key_id         uuid not null,
    application_id uuid not null,
    api_key_hash   bytea not null check (octet_length(api_key_hash) = 32),
    created_at     timestamptz not null,
    revoked_at     timestamptz,
    primary key (integrator_id, key_id),
    foreign key (integrator_id, application_id) references applications
);
create unique index application_keys_by_hash on application_keys (api_key_hash);
create index application_keys_by_application on application_keys (application_id);

grant select on campaigns, two_factor_policies to aval_app_api, aval_readonly, aval_backup;
grant select on applications, application_keys to aval_app_api, aval_backup;
grant insert on campaigns, two_factor_policies, applications, application_keys to aval_app_api;
grant update on campaigns, applications, application_keys to aval_app_api;
grant select on campaigns, two_factor_policies to aval_app_settle, aval_app_notify;
