"""The Python client of Aval: `AvalClient` for asyncio, `SyncAvalClient` without; needs nothing of the server.

async with AvalClient("https://aval.example.com", ApiKey(key)) as aval:
    ted = await aval.create_ted(account_key, amount=Decimal("202.01"), target=target, approver=Approver(cpf))
    ted = await aval.validate_ted(account_key, ted.key, token)
"""

from aval.client.answers import (
    Account,
    Approval,
    Callback,
    Event,
    InboxMessage,
    NewWebhookEndpoint,
    Page,
    Pix,
    PixDetail,
    PixPayee,
    RefusalReason,
    Ted,
    TedDetail,
    TedPayee,
    Webhook,
    WebhookEndpoint,
    WebhookSecret,
)
from aval.client.async_client import AvalClient
from aval.client.credentials import ApiKey, Credential, SigningKey
from aval.client.errors import (
    AnswerNotUnderstood,
    ArgumentNotValid,
    AvalError,
    CallFailed,
    NoAnswer,
    Refused,
    WebhookNotValid,
)
from aval.client.requests import Approver, PixKey, PixQrCode, TargetAccount
from aval.client.signed_webhook import verify_webhook
from aval.client.sync_client import SyncAvalClient
from aval.client.tries import Retry
from aval.domain.money import Brl

__all__ = [
    "Account",
    "AnswerNotUnderstood",
    "ApiKey",
    "Approval",
    "Approver",
    "ArgumentNotValid",
    "AvalClient",
    "AvalError",
    "Brl",
    "CallFailed",
    "Callback",
    "Credential",
    "Event",
    "InboxMessage",
    "NewWebhookEndpoint",
    "NoAnswer",
    "Page",
    "Pix",
    "PixDetail",
    "PixKey",
    "PixPayee",
    "PixQrCode",
    "Refused",
    "RefusalReason",
    "Retry",
    "SigningKey",
    "SyncAvalClient",
    "TargetAccount",
    "Ted",
    "TedDetail",
    "TedPayee",
    "Webhook",
    "WebhookEndpoint",
    "WebhookNotValid",
    "WebhookSecret",
    "verify_webhook",
]
