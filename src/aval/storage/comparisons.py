"""The comparisons that were evaluated; budgets are windows over these rows, never a counter."""

from collections.abc import Collection, Mapping
from uuid import UUID

from aval.domain.budget import GuessHistory, WrongComparison
from aval.storage.database import Connection
from aval.storage.rows import columns

APPROVER_ROWS_MAX = 1_000  # the highest budget of an approver that a setting may give

_BY_APPROVER = """
select r.integrator_id, r.approver_id, w.judged_at, w.alphabet = 'digits' as is_digits, w.comparison_no = 5 as is_fifth
  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, approver_id)
 cross join lateral (
       select judged_at, alphabet, comparison_no from comparisons
        where integrator_id = r.integrator_id and approver_id = r.approver_id and is_budgeted and verdict <> 'right'
          and judged_at > clock_timestamp() - interval '30 days'
        order by judged_at desc limit $3) w
 order by r.integrator_id, r.approver_id, w.judged_at desc
"""
_IN_A_ROW = """
select r.integrator_id, r.approver_id,
       (select count(*) from (
          select from comparisons w
           where w.integrator_id = r.integrator_id and w.approver_id = r.approver_id and w.is_budgeted
             and w.verdict <> 'right'
             and w.judged_at > coalesce((
                 select max(judged_at) from comparisons s where s.integrator_id = r.integrator_id
                    and s.approver_id = r.approver_id and s.is_budgeted and s.verdict = 'right'), '-infinity')
             and w.judged_at > coalesce((
                 select max(created_at) from contacts k where k.integrator_id = r.integrator_id
                    and k.approver_id = r.approver_id), '-infinity')
           limit $3) x) as wrong_in_a_row
  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, approver_id)
"""
# Windows of promises.md §7: 240 wrong 32-symbol and 24 wrong digits tokens an integrator, 25,000 the deployment.
_AROUND = """
select integrator_id, count(*) filter (where alphabet = 'crockford32') as wrong,
       count(*) filter (where alphabet = 'digits') as wrong_digits,
       min(judged_at) filter (where alphabet = 'crockford32') + interval '24 hours' as room_at,
       min(judged_at) filter (where alphabet = 'digits') + interval '24 hours' as digits_room_at,
       min(judged_at) + interval '24 hours' as platform_room_at
  from comparisons
 where verdict <> 'right' and is_budgeted and judged_at > clock_timestamp() - interval '24 hours'
 group by integrator_id
"""


async def read_guess_histories(
    connection: Connection, approvers: Collection[tuple[UUID, UUID]]
) -> Mapping[tuple[UUID, UUID], GuessHistory]:
    """What was guessed wrong by each (integrator, approver) and around them, by the database's clock."""
    keys = columns(sorted(set(approvers)))
    wrong: dict[tuple[UUID, UUID], list[WrongComparison]] = {(i, a): [] for i, a in approvers}
    for row in await connection.fetch(_BY_APPROVER, *keys, APPROVER_ROWS_MAX):
        comparison = WrongComparison(row["judged_at"], row["is_digits"], row["is_fifth"])
        wrong[row["integrator_id"], row["approver_id"]].append(comparison)
    in_a_row = {
        (row["integrator_id"], row["approver_id"]): row["wrong_in_a_row"]
        for row in await connection.fetch(_IN_A_ROW, *keys, APPROVER_ROWS_MAX)
    }
    around = {row["integrator_id"]: row for row in await connection.fetch(_AROUND)}
    platform = sum(row["wrong"] + row["wrong_digits"] for row in around.values())
    return {
        (integrator, approver): GuessHistory(
            by_approver=comparisons,
            wrong_in_a_row=in_a_row[integrator, approver],
            integrator_wrong_24h=around[integrator]["wrong"] if integrator in around else 0,
            integrator_digits_wrong_24h=around[integrator]["wrong_digits"] if integrator in around else 0,
            platform_wrong_24h=platform,
            integrator_room_at=around[integrator]["room_at"] if integrator in around else None,
            integrator_digits_room_at=around[integrator]["digits_room_at"] if integrator in around else None,
            platform_room_at=min((row["platform_room_at"] for row in around.values()), default=None),
        )
        for (integrator, approver), comparisons in wrong.items()
    }
