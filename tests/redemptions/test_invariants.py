"""The invariants of redemptions.md §11: which tests hold each of them, and those that no feature's own tests hold."""

import ast
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from aval.domain.errors import CATALOGUE
from aval.http.openapi import refusals_of
from tests.buyers import ENABLED, Buyer, a_purchase
from tests.conftest import with_database
from tests.oidc_issuer import Issuer
from tests.phones import Owner
from tests.proof.cases.bodies import not_json
from tests.proof.cases.clubhouse import BODIES, body_of, make_clubhouse
from tests.proof.tenants import club_snapshot
from tests.redemption_stage import RedemptionStage, make_redemption_stage

TESTS = Path(__file__).parents[1]
PURCHASES, RACES, KEYS = (f"redemptions/test_purchase{name}.py" for name in ("s", "_races", "_keys"))
PHONES, PHONE_RACES, CHANGES = (f"redemptions/test_phone{name}.py" for name in ("s", "_races", "_changes"))
REQUESTS, POLICIES = "redemptions/test_purchase_requests.py", "redemptions/test_policies.py"
DOCUMENTS, DOCUMENT_TIME = "redemptions/test_documents.py", "redemptions/test_document_time.py"
REVERSALS, HERE = "operations/test_reverse_order.py", "redemptions/test_invariants.py"
MODEL = ("proof/model.py", "test_every_sequence_on_purchases_goes_as_the_model_says")
FUNDS = ("proof/funds.py", "test_points_are_never_negative_lost_or_created")
# Number of the invariant -> the tests that hold it, by file and name.
HELD: Mapping[int, list[tuple[str, str]]] = {
    1: [
        MODEL,
        FUNDS,
        ("storage/test_points.py", "test_lines_of_one_call_count_one_after_the_other"),
        (
            "storage/test_points.py",
            "test_an_account_that_a_line_would_take_below_zero_is_left_alone_and_the_others_move",
        ),
        ("domain/test_points.py", "test_what_is_there_is_always_what_came_in_less_what_went_out"),
    ],
    2: [MODEL, FUNDS, (PURCHASES, "test_five_wrong_tokens_reject_the_purchase_and_give_the_points_back")],
    3: [(RACES, "test_purchases_that_together_are_too_many_are_not_all_made")],
    4: [
        (RACES, "test_many_right_tokens_debit_once"),
        (RACES, "test_many_right_tokens_under_one_key_answer_alike"),
    ],
    5: [
        (RACES, "test_two_wrong_tokens_count_two"),
        (RACES, "test_forty_wrong_tokens_are_five_comparisons_one_rejection_and_one_release"),
    ],
    6: [
        (HERE, "test_attempts_survive_resend_expiry_and_another_process"),
        (HERE, "test_the_fifth_wrong_token_and_the_release_are_one_transaction"),
    ],
    7: [
        (PURCHASES, "test_a_missing_token_uses_no_attempt"),
        (PURCHASES, "test_a_malformed_token_uses_no_attempt"),
        (PURCHASES, "test_an_expired_token_is_not_compared_and_a_new_one_works"),
        (HERE, "test_an_expired_right_token_answers_like_an_expired_wrong_one"),
    ],
    8: [
        ("proof/tenants.py", "test_tokens_open_only_the_purchase_they_were_made_for"),
        (HERE, "test_the_token_of_a_phone_is_no_token_of_a_purchase"),
        (RACES, "test_a_token_lives_to_the_last_millisecond"),
        (RACES, "test_a_call_that_waited_is_judged_by_the_clock_after_the_wait"),
        (PHONE_RACES, "test_a_token_that_died_while_its_call_waited_for_the_lock_is_dead"),
        MODEL,
    ],
    9: [
        (RACES, "test_of_two_that_end_a_purchase_one_wins"),
        (RACES, "test_confirm_against_expiry_and_cancel_ends_once"),
        (CHANGES, "test_a_purchase_is_approved_or_ends_with_its_device_and_never_both"),
        FUNDS,
    ],
    10: [
        MODEL,
        (HERE, "test_repeated_confirms_and_cancels_write_nothing"),
        (HERE, "test_the_schema_lets_no_purchase_be_reserved_twice_or_debited_and_released"),
    ],
    11: [
        (REVERSALS, "test_concurrent_reversals_never_exceed_a_cap"),
        (REVERSALS, "test_random_reversals_in_races_keep_every_cap"),
        ("domain/test_reversal.py", "test_whatever_is_asked_never_more_comes_back_than_is_left"),
    ],
    12: [
        (POLICIES, "test_switching_the_second_factor_off_lets_no_pending_purchase_through"),
        (POLICIES, "test_switching_it_on_touches_neither_confirmed_nor_authorized_purchases"),
        ("http/redemptions/test_campaigns.py", "test_nobody_but_the_operator_writes_campaigns_and_policies"),
        ("operations/test_change_policy.py", "test_each_version_stays_readable_and_the_audit_has_old_and_new"),
        ("operations/test_change_policy.py", "test_versions_are_never_edited_or_deleted"),
    ],
    13: [(PURCHASES, "test_without_a_second_factor_nothing_is_asked_and_nothing_sent")],
    14: [
        (REQUESTS, "test_who_is_not_onboarded_redeems_nothing_under_a_second_factor"),
        (REQUESTS, "test_a_changed_phone_cools_off_and_one_that_takes_no_messages_is_refused"),
    ],
    15: [
        (PHONES, "test_the_first_phone_is_active_by_its_own_token_and_may_be_used_at_once"),
        (PHONES, "test_a_replacement_takes_the_tokens_of_both_numbers_and_waits_for_the_cooldown"),
        (PHONES, "test_a_reset_completes_a_replacement_that_waits"),
        (CHANGES, "test_a_device_that_goes_takes_its_pending_purchases_with_it"),
    ],
    16: [
        ("proof/canaries.py", "test_nothing_of_a_redemption_escapes"),
        ("proof/canaries.py", "test_what_is_stored_is_unreadable_without_the_keys"),
        (
            "redemptions/test_phone_access.py",
            "test_a_number_is_shown_in_full_by_its_scope_alone_and_that_is_written_down",
        ),
    ],
    17: [
        (PURCHASES, "test_an_impersonator_buys_for_the_participant_and_the_token_goes_to_the_same_phone"),
        (PURCHASES, "test_no_field_of_a_resend_can_name_a_destination"),
        (HERE, "test_no_field_of_a_request_can_name_a_destination"),
    ],
    18: [
        MODEL,
        (DOCUMENTS, "test_a_document_goes_from_its_first_side_to_approval"),
        (HERE, "test_each_change_of_a_phone_is_one_audit_record_and_its_events_have_no_gap"),
    ],
    19: [
        (KEYS, "test_twins_at_the_same_moment_make_one_purchase"),
        (RACES, "test_twins_of_two_processes_make_one_purchase"),
        (KEYS, "test_another_body_under_a_key_is_a_conflict"),
    ],
    20: [
        ("proof/tenants.py", "test_every_id_of_a_path_of_redemptions"),
        ("proof/tenants.py", "test_every_filter_of_redemptions"),
        ("proof/tenants.py", "test_lists_of_redemptions_hold_nothing_of_another"),
        (KEYS, "test_foreign_purchases_equal_unknown_ones"),
    ],
    21: [
        ("http/redemptions/test_edge.py", "test_every_answer_carries_a_correlation_id"),
        (PURCHASES, "test_events_carry_the_id_of_the_origin_and_of_what_moved_the_purchase"),
        (HERE, "test_no_hostile_body_is_a_fault_or_changes_anything"),
        (HERE, "test_every_code_a_route_may_answer_is_in_the_dictionary"),
    ],
    22: [
        ("redemptions/test_uploads.py", "test_a_file_ends_at_five_megabytes"),
        (DOCUMENT_TIME, "test_files_go_when_their_time_is_over_and_the_decision_stays"),
        (DOCUMENT_TIME, "test_after_erasure_no_copy_of_the_object_can_be_read"),
    ],
}
DICTIONARY = {  # redemptions.md §8
    *"11 86 87 97 103 113 120 283 314 322 325 326 328 329 330 332 342 343".split(),
    *"QIT000001 QIT000400 QIT000404 QIT000940 QIT000942 QIT000753 QIT000500 GDF000014".split(),
    *(f"RDM{number:06d}" for number in (20, 82, 83, 84, 86, 110, 902, 903, 904, *range(910, 922), *range(923, 930))),
}


def test_each_invariant_is_held_by_tests_that_exist() -> None:
    assert sorted(HELD) == list(range(1, 23))
    missing = [(number, *test) for number, tests in HELD.items() for test in tests if test[1] not in names_in(test[0])]
    assert missing == []


def names_in(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


async def test_attempts_survive_resend_expiry_and_another_process(
    redemptions: RedemptionStage, dsn_of_redemptions: str, issuer: Issuer
) -> None:
    """Each wrong token costs one whatever happens in between; the fifth is the fifth for whoever is asked."""
    buyer = await Buyer.make(redemptions)
    purchase = await buyer.bought()
    assert (await buyer.wrong(purchase)).json["extra_fields"]["attempts_remaining"] == 4
    await buyer.shift(purchase, timedelta(minutes=6))
    assert (await buyer.wrong(purchase)).code == "RDM000083"
    assert (await buyer.resend(purchase)).json["approval"]["attempts_remaining"] == 4
    assert (await buyer.wrong(purchase)).json["extra_fields"]["attempts_remaining"] == 3
    async with make_redemption_stage(dsn_of_redemptions, issuer) as other:  # started after all that
        moved = Buyer(other, buyer.campaign, buyer.application, buyer.person, buyer.device)
        assert (await moved.wrong(purchase)).json["extra_fields"]["attempts_remaining"] == 2
        assert (await buyer.wrong(purchase)).json["extra_fields"]["attempts_remaining"] == 1
        assert (await moved.wrong(purchase)).code == "RDM000082"
        assert (await moved.validate(purchase)).code == "RDM000082"
    assert (await buyer.validate(purchase)).code == "RDM000082"


@pytest.fixture
async def dsn_of_redemptions(redemptions: RedemptionStage, postgres_dsn: str) -> str:
    return with_database(postgres_dsn, await redemptions.value("select current_database()"))


async def test_the_fifth_wrong_token_and_the_release_are_one_transaction(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions)
    purchase = await buyer.bought()
    for _ in range(5):
        await buyer.wrong(purchase)
    key = UUID(purchase["id"])
    rows = await redemptions.fetch(
        "select xmin::text from comparisons where operation_id = $1 and comparison_no = 5"
        " union all select xmin::text from challenges where operation_id = $1"
        " union all select xmin::text from purchases where purchase_id = $1"
        " union all select xmin::text from points_entries where purchase_id = $1 and entry_type = 'release'"
        " union all select xmin::text from events where operation_id = $1 and event_type = 'purchase.rejected'"
        " union all select xmin::text from audit where operation_id = $1 and action = 'purchase.rejected'"
        " union all select xmin::text from points_accounts where participant_id = $2",
        key,
        buyer.person.key,
    )
    assert len(rows) == 7
    assert len(set(rows)) == 1


async def test_an_expired_right_token_answers_like_an_expired_wrong_one(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions)
    purchase = await buyer.bought()
    await buyer.shift(purchase, timedelta(minutes=5))
    said = [await act(purchase) for act in (buyer.validate, buyer.wrong)]
    assert {(reply.status, reply.body) for reply in said} == {(400, said[0].body)}
    assert said[0].code == "RDM000083"
    assert {tuple(sorted(reply.headers)) for reply in said} == {tuple(sorted(said[0].headers))}
    assert (
        await redemptions.value("select count(*) from comparisons where operation_id = $1", UUID(purchase["id"])) == 0
    )


async def test_the_token_of_a_phone_is_no_token_of_a_purchase(redemptions: RedemptionStage) -> None:
    """Nor the other way round, though both travel to one number."""
    buyer = await Buyer.make(redemptions)
    purchase = await buyer.bought()
    owner = buyer.owner
    registered = await owner.register()
    assert registered.status == 202, registered.body
    of_phone, of_purchase = await owner.token(registered), await buyer.token(purchase)
    assert (await buyer.validate(purchase, of_phone)).code == "RDM000084"
    assert (await owner.validate(registered, of_purchase)).code == "RDM000084"
    assert (await buyer.validate(purchase, of_purchase)).status == 201


async def test_repeated_confirms_and_cancels_write_nothing(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions, policy={"enabled": False})
    confirmed, canceled = await buyer.authorize(), await buyer.authorize()
    assert (await buyer.confirm(confirmed)).status == 200
    assert (await buyer.cancel(canceled, headers=buyer.of_application)).status == 200
    before = await club_snapshot(redemptions)
    for _ in range(3):
        assert (await buyer.confirm(confirmed)).json["status"] == "confirmed"
        assert (await buyer.cancel(canceled, headers=buyer.of_application)).json["status"] == "canceled"
        assert (await buyer.confirm(canceled)).code == "RDM000912"
        assert (await buyer.cancel(confirmed, headers=buyer.of_application)).code == "RDM000912"
    assert await club_snapshot(redemptions) == before
    assert await buyer.ledger(confirmed) == ["reserve", "debit"]
    assert await buyer.ledger(canceled) == ["reserve", "release"]


async def test_the_schema_lets_no_purchase_be_reserved_twice_or_debited_and_released(
    redemptions: RedemptionStage,
) -> None:
    """The second guard, asked directly."""
    buyer = await Buyer.make(redemptions, policy={"enabled": False})
    purchase = await buyer.bought()
    columns = await redemptions.value(
        "select string_agg(column_name, ', ') from information_schema.columns where table_schema = 'aval'"
        " and table_name = 'points_entries' and column_name not in ('entry_id', 'entry_type', 'entry_no')"
    )
    for entry_type in ("reserve", "debit", "release"):
        with pytest.raises(asyncpg.UniqueViolationError):
            await redemptions.execute(
                f"insert into points_entries (entry_id, entry_type, entry_no, {columns})"
                f" select gen_random_uuid(), $2, 1000, {columns} from points_entries where purchase_id = $1 limit 1",
                UUID(purchase["id"]),
                entry_type,
            )


async def test_no_field_of_a_request_can_name_a_destination(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions)
    purchase, stranger = await buyer.bought(), "+5511987654321"
    names = ("destination", "number", "phone", "device_id", "contact_type", "contact_id", "approval", "tfa_info")
    before = await club_snapshot(redemptions)
    for name in names:
        for body in (a_purchase(10) | {name: stranger}, a_purchase(10) | {name: {"number": stranger}}):
            for path in ("/purchases", "/purchases/authorize"):
                reply = await buyer.buy(body, path=path)
                assert (reply.status, reply.code) == (400, "QIT000001"), (name, reply.body)
        for call in ("resend_token", "validate_token"):
            path = f"/purchases/{purchase['id']}/{call}"
            reply = await buyer.ask("PUT", path, {name: stranger} | ({"token": "ABCDEF"} if "val" in call else {}))
            assert (reply.status, reply.code) == (400, "QIT000001"), (name, reply.body)
    assert await club_snapshot(redemptions) == before


async def test_what_is_recorded_of_a_customer_sends_nothing_there(redemptions: RedemptionStage) -> None:
    """`customer`, `shipping` and `parameters` are free in form: a phone in them is no destination."""
    buyer = await Buyer.make(redemptions)
    phone = {"phone": "+5511987654321", "device": {"number": "+5511987654321"}}
    purchase = await buyer.bought(a_purchase(10, customer=phone, shipping=phone, parameters=phone))
    assert purchase["approval"]["device_id"] == buyer.device["id"]
    sent = await redemptions.fetch(
        "select distinct contact_id::text from outbox where operation_id = $1", UUID(purchase["id"])
    )
    assert sent == [(buyer.device["id"],)]


async def test_each_change_of_a_phone_is_one_audit_record_and_its_events_have_no_gap(
    redemptions: RedemptionStage,
) -> None:
    owner = await Owner.make(redemptions, **ENABLED)
    device = await owner.activate()
    for act in ("block", "unblock", "block", "reset"):
        assert (await owner.operate(device, act)).status == 200
    key = device["id"]
    acts = await redemptions.fetch(
        "select action from audit where (details ->> 'key' = $1 or operation_id::text = $1)"
        " and action like 'device.%' order by at, audit_id",
        key,
    )
    told = await redemptions.fetch(
        "select event_type, sequence from events where operation_id = $1 order by sequence", UUID(key)
    )
    assert [sequence for _, sequence in told] == list(range(1, len(told) + 1))
    events = ["device.activated", "device.blocked", "device.unblocked", "device.blocked", "device.removed"]
    assert [event for event, _ in told] == events
    changes = [action for (action,) in acts if action != "device.registered"]
    assert len(changes) == len(events), acts


def test_every_code_a_route_may_answer_is_in_the_dictionary(redemptions: RedemptionStage) -> None:
    codes = {
        CATALOGUE[name].code for route in redemptions.routes if route.is_of_redemptions for name in refusals_of(route)
    }
    assert codes <= DICTIONARY, codes - DICTIONARY


async def test_no_hostile_body_is_a_fault_or_changes_anything(redemptions: RedemptionStage) -> None:
    """Bodies that are no JSON, no object, or have a member more, on every route that takes a body."""
    home = await make_clubhouse(redemptions)
    before, asked = await club_snapshot(redemptions), 0
    for route in redemptions.routes:
        good = body_of(home, route.method, route.path) if f"{route.method} {route.path}" in BODIES else None
        if not isinstance(good, dict):
            continue
        access = route.access
        assert access is not None
        caller = next(each for each in ("operator", "impersonator", "application") if getattr(access, each) is not None)
        bodies = not_json(good) | {"another member": json.dumps({**good, uuid4().hex: 1}).encode()}
        for name, raw in bodies.items():
            headers = home.callers[caller] | {"idempotency-key": uuid4().hex}
            if name == "form":
                headers |= {"content-type": "application/x-www-form-urlencoded"}
            reply: Any = await redemptions.call(route.method, home.path(route.path), raw=raw, headers=headers)
            assert 400 <= reply.status < 500, (route.method, route.path, name, reply.body)
            assert reply.code in DICTIONARY, (route.path, name, reply.code)
            asked += 1
    assert asked > 500
    assert await club_snapshot(redemptions) == before
