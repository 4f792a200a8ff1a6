"""Settings of a tenant: defaults by mode, and what production does not allow."""

from dataclasses import replace
from datetime import timedelta

import pytest

from aval.domain.integrator import SETTING_NAMES, IntegratorSettings, settings_problems

SANDBOX = IntegratorSettings.of({"name": "Loja", "ispb": "12345678", "mode": "sandbox"})
LIVE = IntegratorSettings.of(
    {"name": "Banco", "ispb": "87654321", "mode": "live", "rail_url": "https://core.example.com"}
)


def problems(settings, *, is_production):
    return [field for field, _ in settings_problems(settings, is_production=is_production)]


def test_what_is_given_wins_over_the_default_of_the_mode():
    given = {"name": "Loja", "ispb": "12345678", "mode": "sandbox", "ted_hours": True, "contact_cooldown_hours": 3}
    settings = IntegratorSettings.of(given)
    assert (settings.ted_hours, settings.contact_cooldown) == (True, timedelta(hours=3))
    assert (SANDBOX.ted_hours, SANDBOX.contact_cooldown) == (False, timedelta(0))
    assert (LIVE.ted_hours, LIVE.contact_cooldown) == (True, timedelta(hours=24))


@pytest.mark.parametrize("is_production", [False, True])
def test_the_defaults_of_both_modes_are_allowed_everywhere(is_production):
    assert problems(SANDBOX, is_production=is_production) == []
    assert problems(LIVE, is_production=is_production) == []


@pytest.mark.parametrize(
    ("settings", "in_development", "in_production"),
    [
        (replace(LIVE, budgets=False), [], ["budgets"]),
        (replace(LIVE, requests_per_second=None), [], ["requests_per_second"]),
        (replace(LIVE, rail_url=None), [], ["rail_url"]),
        (replace(LIVE, fixed_token="ABC123"), ["fixed_token"], ["fixed_token"]),
        (replace(SANDBOX, rail_url="https://core.example.com"), ["rail_url"], ["rail_url"]),
        (replace(SANDBOX, fixed_token="ABC123", budgets=True), [], []),
        (replace(SANDBOX, origins=("https://a.example.com", "http://localhost:8321")), [], ["origins"]),
        (replace(LIVE, origins=("http://localhost",)), [], ["origins"]),
        (replace(LIVE, origins=("https://localhost.example.com",)), [], []),
    ],
)
def test_production_holds_integrators_to_the_safe_settings(settings, in_development, in_production):
    assert problems(settings, is_production=False) == in_development
    assert problems(settings, is_production=True) == in_production


def test_a_fixed_token_does_not_print():
    assert "ABC123" not in repr(replace(SANDBOX, fixed_token="ABC123"))
    assert "fixed_token" in SETTING_NAMES
