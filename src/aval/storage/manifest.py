"""What the migrations made, as a list that can be compared with what is there (promises.md D19)."""

from dataclasses import dataclass

from aval.storage.database import Connection

CATALOGUE = """
with tables as (
    select c.oid, c.relname, c.relkind, c.relpersistence, c.relacl, c.relrowsecurity, c.relforcerowsecurity
      from pg_class c where c.relnamespace = 'aval'::regnamespace and c.relkind in ('r', 'p', 'v', 'S')
)
select 'table' as kind, relname::text as name,
       concat_ws(' ', relkind, relpersistence, relrowsecurity, relforcerowsecurity) as definition from tables
union
select 'column', t.relname || '.' || a.attname,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
                 (select pg_get_expr(d.adbin, d.adrelid) from pg_attrdef d
                   where d.adrelid = t.oid and d.adnum = a.attnum))
  from tables t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
union
select 'constraint', t.relname || '.' || c.conname, pg_get_constraintdef(c.oid)
  from tables t join pg_constraint c on c.conrelid = t.oid where c.contype <> 'n'
union
select 'index', i.relname::text,
       concat_ws(' ', pg_get_indexdef(x.indexrelid), x.indisvalid and x.indisready)
  from tables t join pg_index x on x.indrelid = t.oid join pg_class i on i.oid = x.indexrelid
union
select 'trigger', t.relname || '.' || g.tgname, concat_ws(' ', pg_get_triggerdef(g.oid), g.tgenabled)
  from tables t join pg_trigger g on g.tgrelid = t.oid where not g.tgisinternal
union
select 'policy', t.relname || '.' || p.polname,
       concat_ws(' ', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
                 pg_get_expr(p.polwithcheck, p.polrelid))
  from tables t join pg_policy p on p.polrelid = t.oid
union
select 'function', p.oid::regprocedure::text, concat_ws(' ', p.prosecdef, p.proconfig, md5(p.prosrc))
  from pg_proc p where p.pronamespace = 'aval'::regnamespace and p.prokind = 'f'
union
select 'grant', concat_ws(' ', e.privilege_type, 'on', t.relname, 'to', coalesce(r.rolname, 'public')), ''
  from tables t cross join aclexplode(t.relacl) e left join pg_roles r on r.oid = e.grantee
union
select 'grant', concat_ws(' ', e.privilege_type, 'on', t.relname || '.' || a.attname, 'to',
                          coalesce(r.rolname, 'public')), ''
  from tables t join pg_attribute a on a.attrelid = t.oid and not a.attisdropped
       cross join aclexplode(a.attacl) e left join pg_roles r on r.oid = e.grantee
union
select 'grant', concat_ws(' ', e.privilege_type, 'on function', p.oid::regprocedure, 'to',
                          coalesce(r.rolname, 'public')), ''
  from pg_proc p cross join aclexplode(p.proacl) e left join pg_roles r on r.oid = e.grantee
 where p.pronamespace = 'aval'::regnamespace
union
select 'grant', concat_ws(' ', e.privilege_type, 'on schema', n.nspname, 'to', coalesce(r.rolname, 'public')), ''
  from pg_namespace n cross join aclexplode(n.nspacl) e left join pg_roles r on r.oid = e.grantee
 where n.nspname = 'aval'
"""
SERVER_MAJOR = "select current_setting('server_version_num')::int / 10000"


@dataclass(frozen=True, slots=True)
class Drift:
    """One way in which the schema is no longer what the migrations made."""

    kind: str
    name: str
    change: str  # "missing", "changed" or "added"


async def remember_schema(connection: Connection, *, is_changed: bool) -> None:
    """Write the manifest after migrations, or after PostgreSQL itself was upgraded and words things anew."""
    major = await connection.fetchval(SERVER_MAJOR)
    is_current = await connection.fetchval(
        "select exists (select from aval.schema_manifest where server_major = $1)", major
    )
    if is_current and not is_changed:
        return
    await connection.execute("begin")
    await connection.execute("delete from aval.schema_manifest")
    await connection.execute(
        "insert into aval.schema_manifest (kind, name, definition, server_major)"  # noqa: S608 - a constant
        f" select kind, name, definition, $1 from ({CATALOGUE}) catalogue",
        major,
    )
    await connection.execute("commit")


async def schema_drift(connection: Connection) -> list[Drift]:
    """Compare the schema with the manifest; under another PostgreSQL version by names alone."""
    if not await _is_remembered(connection):
        return [Drift("table", "schema_manifest", "missing")]
    rows = await connection.fetch(
        f"""
        select kind, name,
               case when c.kind is null then 'missing' when m.kind is null then 'added' else 'changed' end as change
          from aval.schema_manifest m full join ({CATALOGUE}) c using (kind, name)
         where c.kind is null or m.kind is null
            or (m.definition <> c.definition and m.server_major = ({SERVER_MAJOR}))
         order by 1, 2
        """  # noqa: S608 - constants only
    )
    return [Drift(**row) for row in rows]


async def _is_remembered(connection: Connection) -> bool:
    if not await connection.fetchval("select to_regclass('aval.schema_manifest') is not null"):
        return False
    return bool(await connection.fetchval("select exists (select from aval.schema_manifest)"))
