"""Hold approvers while their messages and pending operations are counted, so that no limit is overshot (AB1)."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from aval.domain.budget import BudgetFigures, MessageHistory, operation_stop
from aval.domain.request import RequestFacts
from aval.domain.transfer import Method
from aval.storage.database import Connection
from aval.storage.message_counts import ApproverId, lock_approvers, read_message_histories


@dataclass(slots=True)
class Guard:
    """What held approvers were sent, by the clock read after their locks; what is added meanwhile counts as well."""

    now: datetime
    histories: dict[ApproverId, MessageHistory]
    figures: BudgetFigures
    _added: set[ApproverId] = field(default_factory=set)

    def holds(self, approver: ApproverId) -> bool:
        """Whether the approver's row was won."""
        return approver in self.histories

    def renewed(self, facts: RequestFacts, approver: ApproverId, method: Method) -> RequestFacts:
        """The facts of a request as they are now; a later stop of another budget is not looked for."""
        has_message = method is not Method.DEVICE
        stop = operation_stop(self.histories[approver], self.figures, self.now, has_message=has_message)
        return replace(facts, now=self.now, budget_stop=stop)

    def add(self, approver: ApproverId, method: Method) -> None:
        """Count an operation that this transaction requests."""
        has_message = method is not Method.DEVICE
        self.histories[approver] = self.histories[approver].with_operation(self.now, has_message=has_message)
        self._added.add(approver)

    def was_added_to(self, approver: ApproverId) -> bool:
        """Whether the counts of the approver hold an operation that is not stored yet."""
        return approver in self._added


async def guard_approvers(
    connection: Connection, approvers: Collection[ApproverId], figures: BudgetFigures, *, may_wait: bool
) -> Guard | None:
    """Lock guard rows until the transaction ends, then count; None if none was won.

    Without `may_wait` approvers that are held elsewhere are left out; with it the call waits, and raises LockNotWon.
    """
    won = await lock_approvers(connection, approvers, may_wait=may_wait)
    if not won:
        return None
    now, histories = await read_message_histories(connection, won, most=figures.approver_messages_24h_max)
    return Guard(now, dict(histories), figures)
