"""What redemptions.md says a purchase, its orders and a points account do; it knows nothing of Aval's own code.

Times are seconds since the purchase was created.
"""

from collections import Counter
from dataclasses import dataclass, field

LIFETIME, ATTEMPTS_MAX = 300.0, 5
PENDING, FINAL = "pending_2fa_approval", {"rejected", "canceled", "expired", "reversed"}
CONFIRMED = {"confirmed", "partially_reversed", "reversed"}


@dataclass
class Account:
    """Points of a participant, and every line that moved them."""

    available: int = 0
    reserved: int = 0
    credited: int = 0
    debited: int = 0
    lines: Counter[str] = field(default_factory=Counter)

    def book(self, line: str, points: int) -> None:
        if points == 0:
            return
        self.lines[line] += 1
        match line:
            case "credit" | "reversal":
                self.available += points
                self.credited += points
            case "reserve":
                self.available -= points
                self.reserved += points
            case "release":
                self.available += points
                self.reserved -= points
            case "debit":
                self.reserved -= points
                self.debited += points
        assert self.available >= 0 and self.reserved >= 0
        assert self.available + self.reserved == self.credited - self.debited

    @property
    def sums(self) -> tuple[int, int, int, int]:
        return self.available, self.reserved, self.credited, self.debited


@dataclass
class Sale:
    """An order: what was paid of it with points, and what came back."""

    products: int
    shipping: int
    paid: int
    refunded: int = 0
    refunded_shipping: int = 0

    def status(self, purchase: str) -> str:
        if purchase not in CONFIRMED:
            return "canceled" if purchase in FINAL else "pending"
        if self.refunded == 0:
            return "confirmed"
        return "reversed" if self.refunded == self.paid else "partially_reversed"


@dataclass
class Reference:
    """One purchase. `settings` is the policy it was made under."""

    account: Account
    kind: str  # internal, external
    is_two_factor: bool
    sales: list[Sale]
    settings: dict[str, int]
    status: str = PENDING
    reason: str | None = None
    generation: int = 1
    attempts: int = 0
    issued_at: float = 0.0
    can_resend_at: float = 0.0
    resends_left: int = 0
    authorized_until: float | None = None
    events: int = 1
    history: list[str] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.interval = float(self.settings.get("resend_interval_seconds", 30))
        self.window = 60.0 * self.settings.get("approval_window_minutes", 60)
        self.can_resend_at, self.resends_left = self.interval, self.settings.get("max_resends", 5)
        self.account.book("reserve", self.debited)
        self.status = PENDING if self.is_two_factor else self._approved(0.0)
        if self.status == "confirmed":
            self.account.book("debit", self.debited)
        self.history.append(self.status)

    @property
    def debited(self) -> int:
        return sum(sale.paid for sale in self.sales)

    @property
    def refunded(self) -> int:
        return sum(sale.refunded for sale in self.sales)

    @property
    def moments(self) -> list[float]:
        """When an answer may change."""
        if self.status == PENDING:
            return [self.issued_at + LIFETIME, self.can_resend_at, self.window]
        return [] if self.authorized_until is None else [self.authorized_until]

    def _approved(self, now: float) -> str:
        if self.kind == "internal":
            return "confirmed"
        ttl = self.settings.get("authorization_ttl_minutes")
        self.authorized_until = None if ttl is None else now + 60.0 * ttl
        return "authorized"

    def _move(self, status: str, line: str | None, reason: str | None = None) -> None:
        self.status, self.reason = status, reason
        self.history.append(status)
        self.events += 1
        if line is not None:
            self.account.book(line, self.debited)

    def end_if_due(self, now: float) -> None:
        """What every call that comes too late writes down."""
        if self.status == PENDING and now >= self.window:
            self._move("rejected", "release", "approval_window_expired")
        elif self.status == "authorized" and self.authorized_until is not None and now >= self.authorized_until:
            self._move("expired", "release")

    def _closed(self, now: float) -> str | None:
        if self.reason == "attempts_exceeded":
            return "exceeded"
        if self.status == PENDING:
            self.end_if_due(now)
        return None if self.status == PENDING else "not pending"

    def validate(self, guess: str, now: float) -> str:
        """`guess`: right, wrong, superseded, missing or malformed; what it is answered."""
        if guess == "malformed":
            return "malformed"
        closed = self._closed(now)
        if closed is not None:
            return closed
        if guess == "missing":
            return "required"
        if now >= self.issued_at + LIFETIME:
            return "expired"
        self.judged.append(guess)
        if guess == "right":
            status = self._approved(now)
            self._move(status, "debit" if status == "confirmed" else None)
            return "approved"
        self.attempts += 1
        if self.attempts == ATTEMPTS_MAX:
            self._move("rejected", "release", "attempts_exceeded")
            return "exceeded"
        return guess

    def resend(self, now: float) -> str:
        closed = self._closed(now)
        if closed is not None:
            return closed
        if self.resends_left == 0:
            return "no resend left"
        if now < self.can_resend_at:
            return "too soon"
        self.generation += 1
        self.resends_left -= 1
        self.issued_at, self.can_resend_at = now, now + self.interval
        return "resent"

    def confirm(self, now: float) -> str:
        self.end_if_due(now)
        if self.status == "authorized":
            self._move("confirmed", "debit")
            return "done"
        return "done" if self.kind == "external" and self.status in CONFIRMED else "wrong status"

    def cancel(self, now: float, *, by_participant: bool) -> str:
        self.end_if_due(now)
        if self.status == PENDING or (self.status == "authorized" and not by_participant):
            self._move("canceled", "release")
            return "done"
        return "done" if self.status == "canceled" else "wrong status"

    def end_device(self, now: float) -> None:
        """Its phone is no longer the participant's."""
        self.end_if_due(now)
        if self.status == PENDING:
            self._move("rejected", "release", "device_changed")

    def reverse(self, number: int, value: int, shipping: int, *, is_total: bool) -> tuple[str, int]:
        """Give back of one order; the answer, and how many points came back."""
        sale = self.sales[number]
        if sale.status(self.status) not in ("confirmed", "partially_reversed"):
            return "wrong status", 0
        if is_total:
            products = min(sale.products - (sale.refunded - sale.refunded_shipping), sale.paid - sale.refunded)
            given_shipping = min(shipping, sale.paid - sale.refunded - products)
        else:
            products, given_shipping = value, shipping
        if products + given_shipping == 0:
            return "nothing", 0
        is_too_much = shipping > sale.shipping - sale.refunded_shipping
        is_too_much |= products > sale.products - (sale.refunded - sale.refunded_shipping)
        if is_too_much or products + given_shipping > sale.paid - sale.refunded:
            return "too much", 0
        sale.refunded += products + given_shipping
        sale.refunded_shipping += given_shipping
        self.account.book("reversal", products + given_shipping)
        self.events += 1
        status = "reversed" if self.refunded == self.debited else "partially_reversed"
        if status != self.status:
            self._move(status, None)
        return "reversed", products + given_shipping
