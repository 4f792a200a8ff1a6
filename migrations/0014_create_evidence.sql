-- One sealed record of each approval (docs/adr/0031): what was shown, by which factor it was approved, and when.
create table evidence (
    integrator_id uuid not null,
    operation_id  uuid not null,
    kid           text not null,
    -- The file as `aval evidence` hands it out.
    file          text not null,
    sealed_at     timestamptz not null,
    primary key (integrator_id, operation_id),
    foreign key (integrator_id, operation_id) references operations
);
create trigger evidence_is_fixed before update or delete on evidence
    for each row execute function refuse_change();

-- The sealer reads approvals in the order of time, from where it was: a few rows, however long it was away.
create index audit_approvals on audit (at)
    where action = 'operation.judged' and details ->> 'status' in ('pending', 'approved');

grant select on integrators, accounts, account_approvers, operations, challenges, comparisons, outbox, devices,
    device_decisions, evidence, sweeps, schema_migrations, schema_manifest to aval_sealer;
grant select (integrator_id, approver_id, document_masked) on approvers to aval_sealer;
grant insert on evidence, sweeps to aval_sealer;
grant update on sweeps to aval_sealer;
grant select on evidence to aval_readonly, aval_backup;
