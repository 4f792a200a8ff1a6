"""Bodies of TED requests, single or item of a batch, and what is wrong with them (transfers.md §3.1, §3.4, §3.5)."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import msgspec

from aval.domain.batch import ITEMS_MAX
from aval.domain.errors import Refusal
from aval.domain.money import Brl
from aval.domain.transfer import Payee
from aval.http.transfer_body import Errors, TargetAccount, TfaInfo, one_spelling, payee_of_account, read_target

ACCOUNT_TYPES = frozenset(
    {
        "checking_account",
        "deposit_account",
        "guaranteed_account",
        "investment_account",
        "payment_account",
        "saving_account",
    }
)


class TedItemBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A TED of a batch."""

    request_control_key: str
    transaction_amount: msgspec.Raw
    target_account: TargetAccount


class TedBody(TedItemBody, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A TED request."""

    tfa_info: TfaInfo | None = None


class TedBatchBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A request for many TEDs at once."""

    request_control_key: str
    teds: Annotated[list[TedItemBody], msgspec.Meta(min_length=1, max_length=ITEMS_MAX)]
    tfa_info: TfaInfo | None = None


@dataclass(frozen=True, slots=True)
class CheckedTed:
    """A body that fits the schema."""

    body: TedItemBody
    request_control_key: UUID
    amount: Brl
    payee: Payee

    @property
    def pix_key(self) -> None:
        """A TED names its payee by bank data."""
        return None

    def judged(self, _owner: Payee | None) -> tuple[Payee | None, Refusal | None]:
        """The payee; nothing about one is left to be refused."""
        return self.payee, None


def check_ted(errors: Errors, body: TedItemBody) -> CheckedTed:
    """Note what does not fit the schema; every member is left in its one spelling."""
    request_control_key = errors.uuid(body.request_control_key, "request_control_key")
    body.request_control_key = str(request_control_key)
    amount = errors.amount(body.transaction_amount, "transaction_amount")
    body.transaction_amount = one_spelling(amount)
    target = read_target(errors, body.target_account, "ted", ACCOUNT_TYPES)
    return CheckedTed(body, request_control_key, amount, payee_of_account(target))
