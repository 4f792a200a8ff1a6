"""What a production database must not hold and must have (promises.md D19, transfers.md §8.1)."""

from aval.storage.database import Connection


async def sandbox_shortcuts(connection: Connection) -> list[tuple[str, str]]:
    """Active live integrators with a setting that is allowed outside production only: its key, and what it needs."""
    rows = await connection.fetch(
        """
        select integrator_id::text as integrator, needs
          from integrators,
               lateral (values (not budgets, 'budgets'), (requests_per_second is null, 'requests_per_second'),
                               (rail_url is null, 'a rail_url'),
                               ('http:' = any (select split_part(origin, '//', 1) from unnest(origins) as origin),
                                'https origins')) as shortcut (is_taken, needs)
         where mode = 'live' and tenant_type = 'integrator' and active and is_taken
         order by integrator_id, needs
        """
    )
    return [(row["integrator"], row["needs"]) for row in rows]


async def has_standby(connection: Connection) -> bool:
    """Whether commits wait for a synchronous standby."""
    return bool(
        await connection.fetchval(
            "select current_setting('synchronous_standby_names') <> ''"
            " and current_setting('synchronous_commit') in ('on', 'remote_apply', 'remote_write')"
        )
    )
