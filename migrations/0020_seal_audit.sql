-- The audit as a sealed chain (docs/adr/0041). Each row keeps the transaction that wrote it. Transactions below the
-- oldest one that still runs have ended, so no row can come to lie among those the sealer has taken.
-- Two functions, so that `aval migrate` may shift both in a database that was restored where transactions count anew.
create function audit_transaction() returns xid8 language sql stable parallel safe
    as $$ select pg_catalog.pg_current_xact_id() $$;
create function audit_horizon() returns xid8 language sql stable parallel safe
    as $$ select pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) $$;
revoke all on function audit_transaction(), audit_horizon() from public;
grant execute on function audit_transaction() to aval_app_api, aval_app_settle, aval_audit_writer;
grant execute on function audit_horizon() to aval_sealer;

alter table audit add column xact xid8 not null default audit_transaction();
create index audit_by_transaction on audit (xact);

create table audit_links (
    link_no             bigint primary key check (link_no >= 1),
    rows_before         bigint not null check (rows_before >= 0),
    row_count           integer not null check (row_count between 1 and 1000),
    -- Where it ends, in the order of (xact, integrator_id, audit_id); it begins after the end of the one before.
    last_xact           xid8 not null,
    last_integrator_id  uuid not null,
    last_audit_id       uuid not null,
    -- Of each row in this order: audit_id and a mark, a keyed hash of its number and all its values; 16 bytes each.
    marks               bytea not null check (octet_length(marks) = 32 * row_count),
    former              bytea not null unique check (octet_length(former) = 32),
    kid                 text not null,
    sealed_at           timestamptz not null,
    seal                bytea not null unique check (octet_length(seal) = 32)
);
create trigger audit_links_are_fixed before update or delete on audit_links
    for each row execute function refuse_change();

create function refuse_fork() returns trigger language plpgsql as $$
begin
    if (new.link_no > 1 or new.rows_before > 0) and not exists (
        select from aval.audit_links l
         where l.link_no = new.link_no - 1 and l.seal = new.former and l.rows_before + l.row_count = new.rows_before)
    then
        raise exception 'aval: link % does not follow the last one', new.link_no using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger audit_links_follow before insert on audit_links for each row execute function refuse_fork();

grant select on audit_links to aval_app_api, aval_sealer, aval_readonly, aval_backup;
grant insert on audit_links to aval_sealer;
