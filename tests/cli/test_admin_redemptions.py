"""`aval admin` for campaigns and what belongs to them, against a real database."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from aval.storage.keys_file import KeysFile
from tests.cli.conftest import Command

CPF = "31860492533"
UNKNOWN = "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264"
Do = Callable[..., Any]


@pytest.fixture
def admin(command: Command, keys: KeysFile) -> Do:
    """Run `aval admin … --json` and read its document."""
    keys.create()

    def run(*words: str) -> Any:
        ended = command("admin", *words, "--json")
        assert ended.exit_code == 0, ended.output
        return json.loads(ended.stdout)

    return run


@pytest.fixture
def campaign(admin: Do) -> str:
    made = admin(
        *("campaigns", "create", "--campaign", "40510", "--name", "Clube Sol", "--client-id", "cliente-1"),
        *("--mode", "sandbox", "--catalog", "gold=Ouro", "--catalog", "blue=Azul", "--vendor", "loja=Loja Sol"),
    )
    return str(made["id"])


@pytest.fixture
def person(admin: Do, campaign: str) -> str:
    words = ("--name", "Helena Prado", "--username", "helena", "--document-number", CPF, "--catalog", "gold")
    made = admin("participants", "create", "--campaign", campaign, *words, "--email", "helena@example.com")
    return str(made["id"])


def test_a_campaign_is_made_changed_and_listed(admin: Do, campaign: str) -> None:
    changed = admin("campaigns", "change", "--campaign", campaign, "--status", "paused", "--vendor", "nova=Nova")
    assert (changed["status"], changed["vendors"]) == ("paused", [{"id": "nova", "name": "Nova"}])
    assert [each["id"] for each in changed["catalogs"]] == ["blue", "gold"]
    assert admin("campaigns", "show", "--campaign", campaign) == changed
    assert admin("campaigns", "list") == [changed]


def test_a_policy_changes_where_it_is_told_to_and_keeps_the_rest(admin: Do, campaign: str) -> None:
    first = admin(
        *("policies", "change", "--campaign", campaign, "--enabled", "--min-points", "1000"),
        *("--max-points-per-day", "200000", "--applies-to", "external"),
    )
    assert (first["version"], first["enabled"], first["min_points"], first["applies_to"]) == (
        2,
        True,
        1000,
        ["external"],
    )
    second = admin("policies", "change", "--campaign", campaign, "--max-points-per-day", "none", "--max-resends", "3")
    assert (second["version"], second["enabled"], second["min_points"], second["max_resends"]) == (3, True, 1000, 3)
    assert (second["risk"]["max_points_per_day"], second["risk"]["max_pending_purchases"]) == (None, 5)
    assert second["changed_by"] == "command-line"
    assert admin("policies", "show", "--campaign", campaign, "--version", "2") == first


def test_an_application_shows_its_credentials_once(command: Command, admin: Do, campaign: str) -> None:
    made = command("admin", "applications", "create", "--campaign", campaign, "--name", "Loja", "--json")
    secrets = json.loads(made.stdout)
    assert secrets["api_key"].startswith("aval_test_") and "shown this once" in made.stderr
    client = ("--campaign", campaign, "--application", secrets["client_id"])
    key = admin("applications", "add-key", *client)["key_id"]
    admin("applications", "revoke-key", *client, "--key", key)
    assert admin("applications", "change", *client, "--calls-per-minute", "60")["calls_per_minute"] == 60
    admin("applications", "revoke", *client)
    (listed,) = admin("applications", "list", "--campaign", campaign)
    assert (listed["active"], "api_key" in listed) == (False, False)


def test_a_participant_is_entered_found_changed_and_suspended(admin: Do, campaign: str, person: str) -> None:
    shown = admin("participants", "show", "--participant", person)
    assert (shown["document_number"], shown["onboarding_status"]) == (CPF, "not_started")
    for query in (("--login", "helena"), ("--document", CPF)):
        assert admin("participants", "find", "--campaign", campaign, *query) == [shown]
    assert admin("participants", "find", "--campaign", campaign, "--login", "nobody") == []
    changed = admin("participants", "change", "--participant", person, "--status", "INACTIVE", "--catalog", "blue")
    assert (changed["status"], changed["segment"]["catalog_id"]) == ("INACTIVE", "blue")


def test_a_participant_is_erased_once_somebody_is_sure(command: Command, admin: Do, person: str) -> None:
    assert command("admin", "participants", "erase", "--participant", person).exit_code == 1
    assert admin("participants", "show", "--participant", person)["document_number"] == CPF
    erased = admin("participants", "erase", "--participant", person, "--yes")
    assert (erased["document_number"], erased["name"], erased["status"]) == (None, None, "INACTIVE")


def test_points_are_posted_once_under_a_key_and_shown(admin: Do, person: str) -> None:
    words = ("points", "post", "--participant", person, "--description", "Campanha")
    first = admin(*words, "--type", "credit", "--points", "100", "--key", "k-1")
    assert admin(*words, "--type", "credit", "--points", "100", "--key", "k-1") == first
    admin(*words, "--type", "adjustment", "--points", "-30")
    assert admin("points", "balance", "--participant", person)["points_value"] == 70
    lines = admin("points", "statement", "--participant", person)
    assert [(line["type"], line["value_points"]) for line in lines] == [("adjustment", 30), ("credit", 100)]


def test_tables_are_for_people(command: Command, person: str) -> None:
    assert "Clube Sol" in command("admin", "campaigns", "list").stdout
    assert "Nothing moved." in command("admin", "points", "statement", "--participant", person).stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("points", "post", "--participant", "{person}", "--type", "expiration", "--points", "1", "--description", "x"),
         "There are not enough points"),
        (("points", "post", "--participant", "{person}", "--type", "credit", "--points", "0", "--description", "x"),
         "--points must be a whole number"),
        (("points", "balance", "--participant", UNKNOWN), "Nothing was found under the given ids"),
        (("campaigns", "show", "--campaign", "nobody"), "Nothing was found under the given ids"),
        (("campaigns", "create", "--campaign", "40510", "--name", "X", "--client-id", "c"), "status"),
        (("campaigns", "change", "--campaign", "40510", "--timezone", "Nowhere"), "--timezone must be an IANA name"),
        (("campaigns", "change", "--campaign", "40510"), "Give at least one option"),
        (("campaigns", "change", "--campaign", "40510", "--catalog", "gold"), "must be ID=NAME"),
        (("policies", "change", "--campaign", "40510", "--max-points-per-day", "many"), "above 0, or none"),
        (("applications", "create", "--campaign", "40510", "--name", "X", "--calls-per-minute", "x"), "whole number"),
        (("participants", "find", "--campaign", "nobody", "--login", "x"), "Nothing was found under the given ids"),
    ],
)  # fmt: skip
def test_a_refusal_is_a_sentence(command: Command, person: str, words: tuple[str, ...], sentence: str) -> None:
    ended = command("admin", *(word.format(person=person) for word in words))
    assert ended.exit_code == 2, ended.output
    assert sentence in " ".join(ended.output.split()), ended.output


def test_a_key_without_the_scope_does_not_act_for_a_campaign(
    command: Command, campaign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = command("admin", "key", "create", "points", "--scope", "points.write").stdout.strip()
    monkeypatch.setenv("AVAL_ADMIN_KEY", key)
    assert command("admin", "campaigns", "list").exit_code == 0
    for words in (("participants", "find", "--login", "x"), ("campaigns", "change", "--status", "closed")):
        ended = command("admin", *words, "--campaign", campaign)
        assert ended.exit_code == 2, ended.output


def test_webhooks_of_a_campaign_are_seen_and_sent_again(command: Command, admin: Do, campaign: str) -> None:
    made = admin(
        *("applications", "create", "--campaign", campaign, "--name", "Loja"),
        *("--webhook-url", "https://hooks.example.com/a"),
    )
    admin("policies", "change", "--campaign", campaign, "--enabled")
    (row,) = admin("webhooks", "log", "--campaign", campaign, "--endpoint", made["client_id"])
    assert (row["event_type"], row["callback_status"]) == ("two_factor.policy_changed", "pending")
    day = date.fromisoformat(row["event_at"][:10])
    span = ("--from", str(day), "--to", str(day + timedelta(days=1)))
    counted = admin("webhooks", "replay", "--campaign", campaign, "--status", "pending", "--dry-run", *span)
    assert counted == {"found": 1, "endpoint_off": 0, "replayed": 0, "dry_run": True}
    for words in ((), ("--campaign", campaign, "--integrator", UNKNOWN)):
        refused = command("admin", "webhooks", "log", *words)
        assert (refused.exit_code, "either --integrator or --campaign" in refused.output) == (2, True)
    assert command("admin", "webhooks", "log", "--campaign", "nobody").exit_code == 2
