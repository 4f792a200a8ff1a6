-- One row per comparison, decision and administrative act, written in the transaction that decided it.
-- Acts on the deployment itself carry the nil integrator.
create table audit (
    integrator_id  uuid not null,
    audit_id       uuid not null,
    at             timestamptz not null,
    actor          text not null,
    action         text not null,
    operation_id   uuid,
    details        jsonb not null default '{}',
    correlation_id text not null,
    primary key (integrator_id, audit_id)
);
create index audit_by_operation on audit (operation_id) where operation_id is not null;
