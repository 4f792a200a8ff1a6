"""A call holds a token: where one is printed by mistake, that does not show."""

from uuid import UUID

from aval.domain.caller import Caller, CallerKind
from aval.domain.redemption_call import RedemptionCall
from aval.domain.token import Token
from aval.operations.approve_purchase import PurchaseCall
from aval.operations.confirm_redemption import Kept
from aval.operations.end_purchase import EndCall
from tests.factories import Party
from tests.stage import Stage

TOKEN = "7K2M9X"
CALL = RedemptionCall(
    caller=Caller(CallerKind.PARTICIPANT, "participant:1", frozenset()),
    operation_key=UUID(int=2),
    participant_key=UUID(int=3),
    path="/purchases/2/validate_token",
    correlation_id="app-1",
    token=Token(TOKEN),
)


async def test_no_call_prints_what_it_holds(stage: Stage, party: Party) -> None:
    kept = Kept(200, b"{}")
    calls = [
        PurchaseCall(CALL, lambda _: kept),
        EndCall(CALL, lambda _: kept),
        await stage.confirm_call(party, UUID(int=2), TOKEN),
    ]
    assert not [call for call in calls if TOKEN in repr(call)]
    assert (repr(calls[0]), repr(calls[2])) == ("PurchaseCall", "ConfirmCall")
