from contextlib import AsyncExitStack
from dataclasses import asdict, fields
from datetime import date

import pytest

from aval.bootstrap import open_channels, rules_of
from aval.channels.closed import ClosedChannel
from aval.channels.email import SmtpEmail
from aval.channels.inbox import SandboxInbox
from aval.channels.sms import AppriseSms, GatewaySms
from aval.cli.refusal import CommandRefused
from aval.domain.budget import BudgetFigures
from aval.settings import Settings

# Apprise's own, in Python 3.11 and 3.12.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

GATEWAY = {"AVAL_SMS_GATEWAY_URL": "https://gateway.example.com/messages"}
SMTP = {"AVAL_SMTP_URL": "smtps://aval:hidden@mail.example.com"}


@pytest.mark.parametrize(
    ("environ", "sms", "email"),
    [
        ({}, ClosedChannel, ClosedChannel),
        (GATEWAY, GatewaySms, ClosedChannel),
        (SMTP, ClosedChannel, SmtpEmail),
        ({"AVAL_SMS_URL": "json://localhost/sms"}, AppriseSms, ClosedChannel),
        ({**GATEWAY, **SMTP, "AVAL_CHANNELS_OFF": "sms"}, ClosedChannel, SmtpEmail),
    ],
)
async def test_a_channel_is_what_was_set_up_and_a_sandbox_always_has_its_inbox(
    environ: dict[str, str], sms: type, email: type
) -> None:
    settings = Settings.read(environ)
    async with AsyncExitStack() as stack:
        channel_of = open_channels(settings, stack)
        assert isinstance(channel_of("sms", False), sms)
        assert isinstance(channel_of("email", False), email)
        assert all(isinstance(channel_of(name, True), SandboxInbox) for name in ("sms", "email"))
    closed = rules_of(settings).closed_channels
    assert closed == {name for name, kind in (("sms", sms), ("email", email)) if kind is ClosedChannel}


async def test_a_provider_nobody_knows_is_refused_by_the_name_of_its_setting() -> None:
    settings = Settings.read({"AVAL_SMS_URL": "pigeon://hidden@loft"})
    async with AsyncExitStack() as stack:
        with pytest.raises(CommandRefused) as refused:
            open_channels(settings, stack)
    assert refused.value.sentences[0].startswith("AVAL_SMS_URL must")
    assert "hidden" not in refused.value.sentences[0]


def test_budgets_and_holidays_reach_the_rules() -> None:
    given: dict[str, int | str] = {
        each.name: number if each.type is int else "refuse"
        for number, each in enumerate(fields(BudgetFigures), start=31)
    }
    environ = {f"AVAL_{name.upper()}": str(figure) for name, figure in given.items()}
    rules = rules_of(Settings.read(environ | {"AVAL_TED_HOLIDAYS": "2026-12-24"}))
    assert asdict(rules.figures) == given
    assert date(2026, 12, 24) in rules.holidays
    assert rules_of(Settings.read({})).figures == BudgetFigures()
