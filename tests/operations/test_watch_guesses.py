"""Alarms come from the wrong tokens that budgets count, and the worker says each once."""

import asyncio

from structlog.testing import capture_logs

from aval.domain.budget import BudgetFigures, GuessAlarm
from aval.operations.watch_guesses import watch_guesses
from aval.worker import loop
from tests.factories import Party
from tests.stage import Stage, working

FIGURES = BudgetFigures(integrator_wrong_24h_max=4, integrator_wrong_warn_percent=75, platform_wrong_24h_alarm=5)


async def guess(stage: Stage, party: Party, count: int, kind: str = "pix_transfer") -> None:
    key = await stage.request(party, kind)
    for _ in range(count):
        await stage.validate(party, key, "UUUUUU", kind)


async def test_wrong_tokens_of_budgets_alarm_and_others_do_not(own_stage: Stage):
    settle_db = await own_stage.open_as("aval_app_settle")
    party, free = await own_stage.party(budgets=True), await own_stage.party()
    await guess(own_stage, free, 4)
    await guess(own_stage, party, 2)
    await guess(own_stage, party, 2, "ted")
    assert await watch_guesses(settle_db, figures=FIGURES) == []
    await guess(own_stage, party, 1)
    warning = GuessAlarm("integrator_guess_warning", 3, str(party.key))
    assert await watch_guesses(settle_db, figures=FIGURES) == [GuessAlarm("platform_guess_alarm", 5), warning]


async def test_the_worker_says_an_alarm_once_while_it_lasts(own_stage: Stage, monkeypatch):
    monkeypatch.setattr(loop, "WATCH_INTERVAL", loop.timedelta(milliseconds=20))
    party = await own_stage.party(budgets=True)
    await guess(own_stage, party, 3)
    with capture_logs() as logs:
        async with working(await own_stage.worker(figures=FIGURES)):
            await asyncio.sleep(1)
    said = [line for line in logs if line["event"].endswith(("_alarm", "_warning"))]
    assert [(line["event"], line["integrator_key"], line["count"], line["log_level"]) for line in said] == [
        ("integrator_guess_warning", str(party.key), 3, "warning")
    ]
