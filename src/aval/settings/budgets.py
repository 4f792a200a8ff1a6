"""The settings that bound guesses and messages; their defaults are those of transfers.md §8.3."""

from dataclasses import dataclass

from aval.settings import kinds

APPROVER_BUDGET_MAX = 1_000  # what is read of an approver's comparisons and messages at every judgement


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """Budgets for guesses and messages"""

    approver_wrong_24h_max: int = kinds.count(
        "AVAL_APPROVER_WRONG_24H_MAX", "20", "Wrong tokens of an approver in 24 h.", high=APPROVER_BUDGET_MAX
    )
    approver_wrong_30d_max: int = kinds.count(
        "AVAL_APPROVER_WRONG_30D_MAX", "100", "The same in 30 days.", high=APPROVER_BUDGET_MAX
    )
    approver_wrong_in_a_row_max: int = kinds.count(
        "AVAL_APPROVER_WRONG_IN_A_ROW_MAX", "100", "The same without a right one.", high=APPROVER_BUDGET_MAX
    )
    approver_exhausted_24h_max: int = kinds.count(
        "AVAL_APPROVER_EXHAUSTED_24H_MAX",
        "2",
        "Operations of an approver rejected for attempts in 24 h.",
        high=APPROVER_BUDGET_MAX,
    )
    integrator_wrong_24h_max: int = kinds.count(
        "AVAL_INTEGRATOR_WRONG_24H_MAX", "240", "Wrong 32-symbol tokens of an integrator in 24 h."
    )
    integrator_wrong_warn_percent: int = kinds.count(
        "AVAL_INTEGRATOR_WRONG_WARN_PERCENT", "70", "Share of that figure at which the log warns.", high=100
    )
    platform_wrong_24h_max: int = kinds.count(
        "AVAL_PLATFORM_WRONG_24H_MAX", "25000", "Wrong tokens of the deployment in 24 h, that pause it."
    )
    platform_wrong_24h_alarm: int = kinds.count(
        "AVAL_PLATFORM_WRONG_24H_ALARM", "12000", "Wrong tokens of the deployment in 24 h at which the log alarms."
    )
    approver_digits_wrong_30d_max: int = kinds.count(
        "AVAL_APPROVER_DIGITS_WRONG_30D_MAX",
        "8",
        "Wrong digits tokens of an approver in 30 days, then overflow.",
        high=APPROVER_BUDGET_MAX,
    )
    integrator_digits_wrong_24h_max: int = kinds.count(
        "AVAL_INTEGRATOR_DIGITS_WRONG_24H_MAX", "24", "Wrong digits tokens of an integrator in 24 h, then overflow."
    )
    approver_unanswered_10min_max: int = kinds.count(
        "AVAL_APPROVER_UNANSWERED_10MIN_MAX",
        "6",
        "Messages of an approver in 10 min, of whose operation no token was judged since.",
        high=APPROVER_BUDGET_MAX,
    )
    approver_unanswered_24h_max: int = kinds.count(
        "AVAL_APPROVER_UNANSWERED_24H_MAX", "20", "The same in 24 h.", high=APPROVER_BUDGET_MAX
    )
    approver_messages_24h_max: int = kinds.count(
        "AVAL_APPROVER_MESSAGES_24H_MAX", "200", "All token messages of an approver in 24 h.", high=APPROVER_BUDGET_MAX
    )
    approver_pending_max: int = kinds.count(
        "AVAL_APPROVER_PENDING_MAX", "10", "Operations that wait for one approver.", high=APPROVER_BUDGET_MAX
    )
    digits_overflow: str = kinds.choice(
        "AVAL_DIGITS_OVERFLOW",
        "crockford32",
        ["crockford32", "refuse"],
        "What follows a spent digits budget: tokens of 32 symbols, or none until there is room.",
    )
