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
from aval.client.app_device import AppDevice, DeviceChallenge, DeviceSession, ShownNotValid
from aval.client.async_client import AvalClient
from aval.client.batch_answers import Batch, BatchDetail, PixBatch, PixBatchDetail, TedBatch, TedBatchDetail
from aval.client.call import Tried
from aval.client.credentials import ApiKey, Credential, NoCredential, SigningKey
from aval.client.devices import DeviceDetail, RegisteredDevice, SessionState
from aval.client.errors import (
    AnswerNotUnderstood,
    ArgumentNotValid,
    AvalError,
    CallFailed,
    NoAnswer,
    Refused,
    RefusedItem,
    WebhookNotValid,
    WrongField,
)
from aval.client.requests import Approver, PixItem, PixKey, PixQrCode, TargetAccount, TedItem
from aval.client.signed_webhook import verify_webhook
from aval.client.sync_client import SyncAvalClient
from aval.client.tries import Retry
from aval.domain.money import Brl

__all__ = [
    "Account",
    "AnswerNotUnderstood",
    "ApiKey",
    "AppDevice",
    "Approval",
    "Approver",
    "ArgumentNotValid",
    "AvalClient",
    "AvalError",
    "Batch",
    "BatchDetail",
    "Brl",
    "CallFailed",
    "Callback",
    "Credential",
    "DeviceChallenge",
    "DeviceDetail",
    "DeviceSession",
    "Event",
    "InboxMessage",
    "NewWebhookEndpoint",
    "NoAnswer",
    "NoCredential",
    "Page",
    "Pix",
    "PixBatch",
    "PixBatchDetail",
    "PixDetail",
    "PixItem",
    "PixKey",
    "PixPayee",
    "PixQrCode",
    "RefusalReason",
    "Refused",
    "RefusedItem",
    "RegisteredDevice",
    "Retry",
    "SessionState",
    "ShownNotValid",
    "SigningKey",
    "SyncAvalClient",
    "TargetAccount",
    "Ted",
    "TedBatch",
    "TedBatchDetail",
    "TedDetail",
    "TedItem",
    "TedPayee",
    "Tried",
    "Webhook",
    "WebhookEndpoint",
    "WebhookNotValid",
    "WebhookSecret",
    "WrongField",
    "verify_webhook",
]
