"""The message that carries a token: what it is made of, and its text, the same wherever it is shown."""

from dataclasses import dataclass, field

from aval.domain.challenge import Challenge, TokenSource
from aval.domain.keyring import Keyring
from aval.domain.message import MessageVariables, RenderedMessage, default_template, render_token_message
from aval.domain.money import Locale
from aval.domain.template import ChannelName, MessageTemplate, token_message_event
from aval.domain.token import TokenSeed
from aval.domain.transfer import Transfer


@dataclass(frozen=True, slots=True)
class TokenMessage:
    """All that the text is made of but the key its token comes from; without a template it is the default one."""

    transfer: Transfer
    challenge: Challenge
    generation: int
    channel: ChannelName
    template: MessageTemplate | None = field(repr=False)
    locale: Locale
    integrator_name: str
    approver_name: str = field(repr=False)
    account_number: str = field(repr=False)
    account_digit: str = field(repr=False)
    fixed_token: str | None = field(repr=False)

    def rendered(self, keyring: Keyring) -> RenderedMessage:
        """Derive the token and put it in with the rest; raises KeyMissing."""
        event_type = token_message_event(self.transfer.kind)
        template = self.template or default_template(event_type, self.channel, self.locale)
        return render_token_message(template, self._variables(keyring), locale=self.locale)

    def _variables(self, keyring: Keyring) -> MessageVariables:
        transfer = self.transfer
        seed = TokenSeed(transfer.integrator_key, transfer.key, transfer.details_digest, transfer.nonce)
        token = TokenSource(keyring, seed, self.fixed_token).token(self.challenge, self.generation)
        return MessageVariables(
            kind=transfer.kind,
            token=token.text,
            generation=self.generation,
            account_number=self.account_number,
            account_digit=self.account_digit,
            approver_name=self.approver_name,
            integrator_name=self.integrator_name,
            amount=transfer.amount,
            payee_name=transfer.payee.name,
            payee_document=transfer.payee.document,
            item_count=transfer.item_count,
            device_name=transfer.device_name,
        )
