from datetime import date, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from aval.settings import Settings, every_setting, unknown_variables
from aval.settings.kinds import SettingsError

URL = {"AVAL_DATABASE_URL": "postgresql://aval@localhost/aval"}


def _sentences(environ: dict[str, str], environment: str = "development") -> list[str]:
    with pytest.raises(SettingsError) as refused:
        Settings.read(environ, default_environment=environment)
    return str(refused.value).splitlines()


def test_defaults_are_those_of_the_documents() -> None:
    settings = Settings.read(URL, default_environment="production")
    assert (settings.http.host, settings.http.port, settings.http.ops_port) == ("127.0.0.1", 8321, 8322)
    assert settings.worker.poll == timedelta(milliseconds=20)
    assert [gap.total_seconds() for gap in settings.worker.webhook_retry_gaps] == [
        60, 300, 900, 3600, 10_800, 21_600, 43_200,
    ]  # fmt: skip
    budgets = settings.budgets
    assert (budgets.approver_wrong_24h_max, budgets.approver_wrong_30d_max, budgets.approver_wrong_in_a_row_max) == (
        20,
        100,
        100,
    )
    assert (budgets.integrator_wrong_24h_max, budgets.platform_wrong_24h_max) == (240, 25_000)
    assert (budgets.approver_digits_wrong_30d_max, budgets.integrator_digits_wrong_24h_max) == (8, 24)
    assert not settings.channels.local_targets


def test_development_listens_on_one_port_and_allows_local_targets() -> None:
    settings = Settings.read({"AVAL_PORT": "9000"}, default_environment="development")
    assert settings.http.ops_port == 9000
    assert settings.channels.local_targets
    assert settings.database.url == ""


def test_a_command_without_a_default_takes_a_database_address_for_production() -> None:
    assert Settings.read(URL).is_production
    assert not Settings.read({}).is_production


def test_an_empty_variable_is_an_unset_one() -> None:
    assert Settings.read({"AVAL_PORT": " "}, default_environment="development").http.port == 8321


def test_values_are_read_in_their_kinds(tmp_path: Path) -> None:
    settings = Settings.read(
        {
            "AVAL_DATA_DIR": str(tmp_path),
            "AVAL_TRUSTED_PROXIES": "10.0.0.0/8, 192.168.1.1",
            "AVAL_TED_HOLIDAYS": "2026-12-25 2027-01-01",
            "AVAL_CHANNELS_OFF": "sms",
            "AVAL_STANDBY_REQUIRED": "Yes",
        }
    )
    assert settings.database.keys_file == tmp_path / "keys.json"
    assert settings.http.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("192.168.1.1/32"))
    assert settings.worker.ted_holidays == (date(2026, 12, 25), date(2027, 1, 1))
    assert settings.channels.channels_off == ("sms",)
    assert settings.database.standby_required


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("AVAL_PORT", "80x", "AVAL_PORT must be a whole number from 1 to 65535."),
        ("AVAL_PORT", "70000", "AVAL_PORT must be a whole number from 1 to 65535."),
        ("AVAL_POOL_SIZE", "21", "AVAL_POOL_SIZE must be a whole number from 4 to 20."),
        ("AVAL_ENV", "staging", "AVAL_ENV must be one of production, development."),
        ("AVAL_BODY_TIMEOUT", "0", "AVAL_BODY_TIMEOUT must be a number of seconds from 0.001 to 300."),
        ("AVAL_BODY_TIMEOUT", "nan", "AVAL_BODY_TIMEOUT must be a number of seconds from 0.001 to 300."),
        ("AVAL_LOCAL_TARGETS", "maybe", "AVAL_LOCAL_TARGETS must be on or off."),
        ("AVAL_TED_HOLIDAYS", "25/12/2026", "AVAL_TED_HOLIDAYS must be a list of days such as 2026-12-25."),
        ("AVAL_CHANNELS_OFF", "pigeon", "AVAL_CHANNELS_OFF must be a list of sms and email."),
        (
            "AVAL_DATABASE_URL",
            "mysql://aval:hidden@localhost/aval",
            "AVAL_DATABASE_URL must be an address that starts with postgresql:// or postgres://.",
        ),
    ],
)
def test_a_wrong_value_is_told_in_one_sentence_without_the_value(variable: str, value: str, sentence: str) -> None:
    assert _sentences({variable: value}) == [sentence]


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({**URL, "AVAL_LOCAL_TARGETS": "on"}, "AVAL_LOCAL_TARGETS"),
        ({}, "AVAL_DATABASE_URL"),
        ({**URL, "AVAL_HOST": "0.0.0.0"}, "AVAL_TRUSTED_PROXIES"),
        ({**URL, "AVAL_OPS_PORT": "8321"}, "AVAL_OPS_PORT"),
    ],
)
def test_production_refuses_what_development_allows(environ: dict[str, str], variable: str) -> None:
    assert [line.split()[0] for line in _sentences(environ, "production")] == [variable]
    Settings.read(environ, default_environment="development")


def test_every_problem_is_told_at_once() -> None:
    variables = [line.split()[0] for line in _sentences({"AVAL_PORT": "x", "AVAL_LOG_LEVEL": "loud"})]
    assert variables == ["AVAL_LOG_LEVEL", "AVAL_PORT"]


def test_a_secret_may_lie_in_a_file_and_never_prints(tmp_path: Path) -> None:
    file = tmp_path / "smtp"
    file.write_text("smtps://aval:hidden@mail.example.com:465\n")
    settings = Settings.read({"AVAL_SMTP_URL_FILE": str(file), "AVAL_SMS_GATEWAY_KEY": "hidden"})
    assert settings.channels.smtp_url == "smtps://aval:hidden@mail.example.com:465"
    assert "hidden" not in repr(settings)
    assert _sentences({"AVAL_SMTP_URL_FILE": str(tmp_path / "nowhere")})[0].startswith("AVAL_SMTP_URL must")


def test_misspelt_variables_are_found() -> None:
    assert unknown_variables({"AVAL_PROT": "1", "AVAL_PORT": "1", "AVAL_SMTP_URL_FILE": "x", "PATH": "y"}) == [
        "AVAL_PROT"
    ]


def test_every_setting_is_described_once() -> None:
    variables = [setting.variable for setting in every_setting()]
    assert len(variables) == len(set(variables))
    assert all(setting.about.endswith(".") and setting.must for setting in every_setting())
    assert all(setting.shown for setting in every_setting() if callable(setting.default))
