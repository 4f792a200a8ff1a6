"""Is this webhook Aval's? By the public Standard Webhooks library, over the exact bytes that came."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec
import standardwebhooks

from aval.client.answers import Webhook
from aval.client.errors import ArgumentNotValid, WebhookNotValid

_decode = msgspec.json.Decoder(Webhook, float_hook=Decimal).decode


def verify_webhook(secret: str, headers: Mapping[str, str], body: bytes) -> Webhook:
    """Check the signature of a webhook and read it; amounts in its data are exact decimals.

    `body` is what was received, byte for byte. Raises WebhookNotValid unless this secret signed it at most 5 minutes
    from now.
    """
    try:
        verifier = standardwebhooks.Webhook(secret)
    except (ValueError, standardwebhooks.webhooks.EmptyWebhookSecretError):
        raise ArgumentNotValid("secret", "not_whsec") from None
    try:
        verifier.verify(body, dict(headers), json_parse=False)
        return _decode(body)
    except (standardwebhooks.WebhookVerificationError, ValueError):  # its parts are decoded before they are compared
        raise WebhookNotValid from None
