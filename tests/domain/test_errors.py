import re
from collections import Counter

import pytest

from aval.domain.errors import (
    CATALOGUE,
    REJECTION_ERRORS,
    REJECTION_REASONS,
    SCHEMA_ERRORS_MAX,
    Refusal,
    entry,
    filled,
    in_redemptions,
    problem_body,
    read_catalogue,
    schema_refusal,
)

ANSWERS = {400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503}
CODES = {
    "QIT": "000001 000400 000404 000500 000753 000940 000941 000942 000943 000944 000945",
    "PMB": "000023 000026 000901 000902",
    "GDF": "000003 000014 000018",
    "PXT": "000004 000023 000132 000171 000172 000173 000174 000175 000176 000178 000180 000901 000902 000903 000904 "
    "000905 000906 000907 000908 000909 000910 000911 000912 000913 000914 000915 000916 000917 000918 000919 000922 "
    "000923",
    "TED": "000006 000009 000011 000020 000044 000045 000046 000079 000080 000081 000082 000083 000084 000085 000086 "
    "000087 000101 000102 000110 000901 000902 000903 000904 000905 000911 000912 000913 000914 000917 000918 000919 "
    "000922 000923",
    "OBD": "000002 000088 000097 000099 000100 0000100 000902 000903 000904 000906 000908 000909 000913 000920 000921 "
    "000924 000925 000926",
    "RDM": "000020 000082 000083 000084 000086 000110 000902 000903 000904 000910 000911 000912 000913 000914 000915 "
    "000916 000917 000918 000919 000920 000921 000923 000924 000925 000926 000927 000928 000929",
    "": "11 86 87 97 103 113 120 283 314 322 325 326 328 329 330 332 342 343",
}
# What every family of operations answers while its token is judged (spec transfers.md §4.1).
TOKEN_STEPS = {
    "operation_not_found": "PXT000023 PXT000178 TED000020 TED000101 OBD000100",
    "account_not_found": "PXT000004 PXT000004 TED000009 TED000009 OBD000002",
    "idempotency_conflict": "PXT000902 PXT000902 TED000902 TED000902 OBD000902",
    "attempts_exceeded": "PXT000171 PXT000171 TED000082 TED000082 OBD000099",
    "invalid_status": "PXT000175 PXT000180 TED000086 TED000102 OBD000921",
    "token_required": "PXT000908 PXT000908 TED000110 TED000110 OBD000908",
    "token_expired": "PXT000172 PXT000172 TED000083 TED000083 OBD000920",
    "error_validating_token": "PXT000174 PXT000174 TED000085 TED000085 QIT000944",
    "incorrect_token": "PXT000173 PXT000173 TED000084 TED000084 OBD0000100",
    "approver_not_allowed": "PXT000906 PXT000906 TED000079 TED000079 OBD000906",
    "account_unavailable": "PXT000918 PXT000918 TED000918 TED000918 OBD000088",
    "tfa_info_required": "PXT000909 PXT000909 TED000080 TED000080 OBD000909",
    "resend_too_soon": "PXT000903 PXT000903 TED000903 TED000903 OBD000903",
    "resend_limit_reached": "PXT000904 PXT000904 TED000904 TED000904 OBD000904",
    "contact_not_available": "PXT000913 PXT000913 TED000913 TED000913 OBD000913",
    "channel_closed_on_create": "PXT000910 PXT000910 TED000081 TED000081 OBD000097",
    "channel_closed_on_resend": "PXT000176 PXT000176 TED000087 TED000087 OBD000097",
    "invalid_uuid": "QIT000001 QIT000001 TED000046 TED000046 QIT000001",
}
FAMILIES = ("pix", "pix_batch", "ted", "ted_batch", "device")


def test_every_published_code_is_catalogued_and_no_other() -> None:
    published = {prefix + number for prefix, numbers in CODES.items() for number in numbers.split()}
    assert {found.code for found in CATALOGUE.values()} == published


def test_a_code_has_one_entry() -> None:
    counted = Counter(found.code for found in set(CATALOGUE.values()))
    assert {code: count for code, count in counted.items() if count > 1} == {"11": 5, "322": 4}  # redemptions.md §8


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_entry_is_complete(name: str) -> None:
    found = CATALOGUE[name]
    assert found.http is None or found.http in ANSWERS
    assert found.title and found.description and found.translation
    assert re.findall(r"\{\w+\}", found.description) == re.findall(r"\{\w+\}", found.translation)


def test_only_two_reasons_are_never_answers() -> None:
    silent = {name for name, found in CATALOGUE.items() if found.http is None}
    families = ("pix", "pix_batch", "ted", "ted_batch")
    reasons = ("approval_window_expired", "denied_by_approver")
    assert silent == {f"{family}.{reason}" for family in families for reason in reasons}


@pytest.mark.parametrize(("slug", "codes"), TOKEN_STEPS.items())
def test_a_slug_means_the_same_in_every_family(slug: str, codes: str) -> None:
    assert [entry(f"{family}.{slug}").code for family in FAMILIES] == codes.split()


@pytest.mark.parametrize(
    ("reason", "pix", "ted"),
    [
        ("attempts_exceeded", "PXT000171", "TED000082"),
        ("approver_not_allowed", "PXT000906", "TED000079"),
        ("account_unavailable", "PXT000918", "TED000918"),
        ("outside_ted_hours", None, "TED000011"),
        ("limit_exceeded", "PXT000914", "TED000914"),
        ("insufficient_funds", "PXT000901", "TED000901"),
        ("approval_window_expired", "PXT000922", "TED000922"),
        ("denied_by_approver", "PXT000923", "TED000923"),
        ("target_account_not_found", "PXT000132", "TED000006"),
        ("rail_refused", "PXT000919", "TED000919"),
    ],
)
def test_a_rejection_reason_has_its_code(reason: str, pix: str | None, ted: str) -> None:
    slug = REJECTION_ERRORS[reason]
    assert (CATALOGUE[f"pix.{slug}"].code if pix else None) == pix
    assert (f"pix.{slug}" in CATALOGUE) is (pix is not None)
    assert CATALOGUE[f"ted.{slug}"].code == ted


def test_the_table_of_reasons_is_closed() -> None:
    assert list(REJECTION_ERRORS) == list(REJECTION_REASONS)
    assert len(set(REJECTION_REASONS)) == 10


def test_the_number_of_a_code_is_an_integer() -> None:
    assert CATALOGUE["ted.attempts_exceeded"].number == 82


@pytest.mark.parametrize(
    ("name", "title", "title_on_resend", "code_on_resend"),
    [
        ("ted.account_not_found", "Not Found", "Account not found", "TED000009"),
        ("ted_batch.account_not_found", "Not Found", "Account not found", "TED000009"),
        ("ted_batch.operation_not_found", "TedBatch not Found", "Not Found", "TED000020"),
        ("pix.account_not_found", "Account not found", "Account not found", "PXT000004"),
    ],
)
def test_some_entries_read_differently_on_a_resend(
    name: str, title: str, title_on_resend: str, code_on_resend: str
) -> None:
    assert entry(name).title == title
    assert entry(name, is_resend=True).title == title_on_resend
    assert entry(name, is_resend=True).code == code_on_resend


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("pix.account_not_found", "Account not found for: K"),
        ("pix_batch.account_not_found", "Account not found for: K"),
        ("ted.account_not_found", "Account not found for the given key: K"),
        ("device.account_not_found", "Bank account not found"),
    ],
)
def test_one_call_fills_the_placeholders_of_every_family(name: str, description: str) -> None:
    assert filled(entry(name), {"account_key": "K"}).description == description


def test_values_are_filled_in_one_pass_and_kept_as_they_are() -> None:
    told = filled(entry("pmb.invalid_template"), {"reason": r"{reason} \1 {0} %s"})
    assert told.description == r"The template is not valid: {reason} \1 {0} %s"


def test_a_missing_value_is_a_bug() -> None:
    with pytest.raises(KeyError):
        problem_body("ted.resend_too_soon")


def test_a_body_has_its_members_in_the_documented_order() -> None:
    body = problem_body("ted.incorrect_token", extra_fields={"reason": "superseded_token"})
    assert list(body.items()) == [
        ("title", "Incorrect Token"),
        ("description", "Token sent does not match expected"),
        ("translation", "Token enviado não condiz com, o esperado"),
        ("code", "TED000084"),
        ("extra_fields", {"reason": "superseded_token"}),
    ]


def test_a_refusal_carries_all_the_edge_needs() -> None:
    refusal = Refusal("pix.resend_too_soon", seconds=12, headers={"Retry-After": "12"})
    assert refusal.http == 429
    assert refusal.headers == {"Retry-After": "12"}
    assert refusal.body()["translation"] == "Um novo token pode ser solicitado em 12 segundos"
    assert refusal.body()["extra_fields"] == {}


def test_a_refusal_on_a_resend_has_the_title_of_the_resend() -> None:
    refusal = Refusal("ted.account_not_found", account_key="K", is_resend=True)
    assert (refusal.http, refusal.body()["title"]) == (404, "Account not found")


def test_a_refusal_prints_its_name_only() -> None:
    assert str(Refusal("gdf.unknown_client_key", api_client_key="secret")) == "gdf.unknown_client_key"


@pytest.mark.parametrize("name", ["ted.no_such_error", "ted.denied_by_approver"])
def test_a_refusal_of_an_unknown_or_silent_entry_is_a_bug(name: str) -> None:
    with pytest.raises((KeyError, AssertionError)):
        Refusal(name)


def test_a_schema_refusal_names_fields_and_reasons_up_to_a_limit() -> None:
    refusal = schema_refusal(*[(f"teds[{index}]", "missing") for index in range(SCHEMA_ERRORS_MAX + 5)])
    assert refusal.body()["code"] == "QIT000001"
    assert len(refusal.extra_fields["errors"]) == SCHEMA_ERRORS_MAX
    assert refusal.extra_fields["errors"][3] == {"field": "teds[3]", "reason": "missing"}


def test_a_family_without_an_entry_of_its_own_answers_as_the_one_it_falls_back_to() -> None:
    found = read_catalogue(
        """
        [family_falls_back]
        many = "one"
        [answers_as]
        "one.alias" = "one.gone"
        [answers_on_resend]
        [filled_by]
        [one.gone]
        http = 404
        code = "ONE1"
        title = "Gone"
        description = "Gone"
        translation = "Foi"
        [one.kept]
        code = "ONE2"
        title = "Kept"
        description = "Kept"
        translation = "Ficou"
        [many.gone]
        http = 404
        code = "MANY1"
        title = "All gone"
        description = "Gone"
        translation = "Foram"
        """
    )
    assert {name: each.code for name, each in found.entries.items()} == {
        "one.gone": "ONE1",
        "one.kept": "ONE2",
        "one.alias": "ONE1",
        "many.gone": "MANY1",
        "many.kept": "ONE2",
        "many.alias": "ONE1",
    }
    assert (found.resent, found.filled_by, found.in_redemptions) == ({}, {}, {})


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name.startswith("rdm.")])
def test_every_answer_of_redemptions_has_its_reason(name: str) -> None:
    values = {"details": "D", "sku": "F-100", "seconds": 1}
    assert problem_body(name, values)["extra_fields"] == {"reason": CATALOGUE[name].reason}
    assert CATALOGUE[name].reason


def test_an_order_that_does_not_fit_tells_its_fault_apart() -> None:
    body = problem_body("rdm.order_inconsistent_4")
    assert list(body)[4:] == ["extra_fields", "sub_message", "sub"]
    assert body["sub_message"] == "Valor do pedido é diferente do valor dos pagamentos. (#322-4)"
    assert body["sub"] == [
        {"type": 4, "message": "Valor do pedido é diferente do valor dos pagamentos.", "parameters": []}
    ]


def test_a_limited_quantity_names_the_sku() -> None:
    told = Refusal("rdm.quantity_limit", sku="F-100").body()["sub"]
    assert [(fault["type"], fault["message"]) for fault in told] == [
        (6, "Quantidade informada excede o limite de resgates."),
        (342, "F-100"),
    ]


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("qit.schema_error", "QIT000001", "schema"),
        ("qit.bad_request", "QIT000400", "bad_request"),
        ("qit.not_found", "QIT000404", "unknown_route"),
        ("qit.method_not_allowed", "QIT000940", "method"),
        ("qit.unsupported_media_type", "QIT000942", "media_type"),
        ("qit.syntax_error", "QIT000753", "malformed_json"),
        ("qit.payload_too_large", "RDM000923", "too_large"),
        ("qit.too_many_requests", "RDM000927", "rate_limit"),
        ("qit.service_unavailable", "120", "unavailable"),
        ("gdf.no_client_key", "GDF000014", "unauthenticated"),
        ("gdf.unknown_client_key", "GDF000014", "unauthenticated"),
        ("rdm.wrong_status", "RDM000912", "wrong_status"),
    ],
)
def test_redemptions_say_in_their_words_what_the_edge_refuses(name: str, code: str, reason: str) -> None:
    values = {"api_client_key": "-", "seconds": 2}
    refusal = in_redemptions(Refusal(name, extra_fields={"reason": "busy"}, headers={"retry-after": "2"}, **values))
    expected = "busy" if name == "rdm.wrong_status" else reason  # what a redemption says itself stays
    assert (refusal.body()["code"], refusal.body()["extra_fields"]) == (code, {"reason": expected})
    assert refusal.headers == {"retry-after": "2"}
