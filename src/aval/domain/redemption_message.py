"""The message that carries a token of a redemption: its template, its text, the same wherever it is shown.

Source: redemptions.md §4.4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aval.domain import gsm7
from aval.domain.campaign import DEFAULT_MESSAGE
from aval.domain.challenge import Challenge, TokenSource
from aval.domain.keyring import Keyring
from aval.domain.message import RenderedMessage
from aval.domain.message_value import sms_value
from aval.domain.template import VARIABLE_NAME_SHOWN_MAX, ChannelName, TemplateProblem
from aval.domain.template_html import VARIABLE
from aval.domain.token import TokenSeed
from aval.domain.transfer import Kind, Transfer

DEVICE_MESSAGE = (
    "[campaign]: confirme este celular como seu dispositivo de seguranca. Codigo [generation]: [token]"  # not a setting
)
LONGEST: Mapping[str, int] = {"campaign": 20, "points": 12, "vendors": 40, "generation": 2, "token": 6}
VENDORS_NAMED_MAX = 2  # more print as "A, B e mais 3"

_NEEDED = ("points", "vendors", "generation", "token")


@dataclass(frozen=True, slots=True)
class PurchaseWording:
    """What a purchase's message tells beside its campaign, and the template of the policy it was made under."""

    points: int
    vendors: Sequence[str]
    template: str = DEFAULT_MESSAGE


@dataclass(frozen=True, slots=True)
class RedemptionMessage:
    """All that the text is made of but the key its token comes from; a device's message has no wording."""

    transfer: Transfer
    challenge: Challenge
    generation: int
    campaign_name: str
    wording: PurchaseWording | None = None
    channel: ChannelName = "sms"

    def rendered(self, keyring: Keyring) -> RenderedMessage:
        """Derive the token and put it in with the rest; raises KeyMissing."""
        transfer = self.transfer
        assert (transfer.kind is Kind.PURCHASE) == (self.wording is not None)
        seed = TokenSeed(transfer.integrator_key, transfer.key, transfer.details_digest, transfer.nonce)
        token = TokenSource(keyring, seed).token(self.challenge, self.generation)
        values = {
            "campaign": _shortened(self.campaign_name, LONGEST["campaign"]),
            "generation": str(self.generation),
            "token": token.text,
        }
        if self.wording is None:
            return _sms(DEVICE_MESSAGE, values)
        told = {"points": str(self.wording.points), "vendors": vendors_text(self.wording.vendors)}
        return _sms(self.wording.template, values | told)


def template_problem(template: str) -> TemplateProblem | None:
    """Why `message_template` of a policy is refused, or None."""
    names = VARIABLE.findall(template)
    for name in names:
        if name not in LONGEST:
            return TemplateProblem("unknown_variable", name[:VARIABLE_NAME_SHOWN_MAX])
    for name in _NEEDED:
        if name not in names:
            return TemplateProblem("variable_missing", name)
    if names.count("token") > 1 or not template.endswith("[token]"):
        return TemplateProblem("token_not_last", "token")
    text = VARIABLE.sub("", template)
    if not gsm7.is_basic(text):
        return TemplateProblem("not_gsm7")
    longest = len(text) + sum(LONGEST[name] for name in names)
    return TemplateProblem("too_long") if longest > gsm7.CHARACTERS_MAX else None


def vendors_text(names: Sequence[str]) -> str:
    """Two vendors by name and how many more there are; names are cut, never the number."""
    assert names
    named = [sms_value(name, is_name=True) for name in names[:VENDORS_NAMED_MAX]]
    others = len(names) - len(named)
    rest = f" e mais {others}" if others else ""
    left = LONGEST["vendors"] - len(rest)
    if len(named) == 1:
        return _cut(named[0], left) + rest
    first, second = named
    left -= len(", ")
    first = _cut(first, max(left // 2, left - len(second)))
    return f"{first}, {_cut(second, left - len(first))}{rest}"


def _shortened(name: str, characters_max: int) -> str:
    return _cut(sms_value(name, is_name=True), characters_max)


def _cut(text: str, characters_max: int) -> str:
    return text[:characters_max].rstrip()


def _sms(template: str, values: Mapping[str, str]) -> RenderedMessage:
    text = VARIABLE.sub(lambda found: values[found[1]], template)
    assert len(text) <= gsm7.CHARACTERS_MAX and gsm7.is_basic(text)
    return RenderedMessage(subject=None, text=text, html=None)
