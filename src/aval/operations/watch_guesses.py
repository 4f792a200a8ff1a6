"""See whether wrong tokens come near their budgets, before they pause anybody (promises.md §7)."""

from collections import Counter

from aval.domain.budget import BudgetFigures, GuessAlarm, guess_alarms
from aval.storage.database import Database
from aval.storage.metrics import read_wrong_tokens


async def watch_guesses(db: Database, *, figures: BudgetFigures) -> list[GuessAlarm]:
    """What is to be told now; it stays so until the window has room again."""
    async with db.reading() as connection:
        wrong = await read_wrong_tokens(connection)
    by_integrator: Counter[str] = Counter()
    for row in wrong:
        if row.alphabet == "crockford32":
            by_integrator[row.integrator_key] += row.budgeted
    return guess_alarms(by_integrator, sum(row.budgeted for row in wrong), figures)
