"""One type per key, made at the edge, and the two shapes of UUID Aval reads and makes."""

import re
from typing import NewType
from uuid import UUID

IntegratorKey = NewType("IntegratorKey", UUID)
CredentialKey = NewType("CredentialKey", UUID)
AccountKey = NewType("AccountKey", UUID)
ApproverKey = NewType("ApproverKey", UUID)
ContactKey = NewType("ContactKey", UUID)
RequestControlKey = NewType("RequestControlKey", UUID)
OperationKey = NewType("OperationKey", UUID)
DeviceKey = NewType("DeviceKey", UUID)
SessionId = NewType("SessionId", UUID)
EntryKey = NewType("EntryKey", UUID)
TransactionKey = NewType("TransactionKey", UUID)
RailReference = NewType("RailReference", UUID)
MessageKey = NewType("MessageKey", UUID)
EventId = NewType("EventId", UUID)
CallbackKey = NewType("CallbackKey", UUID)
WebhookEndpointKey = NewType("WebhookEndpointKey", UUID)
TemplateKey = NewType("TemplateKey", UUID)
TemplateConfigurationKey = NewType("TemplateConfigurationKey", UUID)

ENTROPY_BYTES = 10
PARTS_MAX = 255
_UUID_V4 = re.compile("[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}")


def parse_uuid(text: str) -> UUID | None:
    """Read the 36-character form of a version 4 UUID, any case; None for every other spelling."""
    return UUID(text) if _UUID_V4.fullmatch(text) else None


def time_prefixed_uuid(milliseconds: int, entropy: bytes) -> UUID:
    """Make a v4-shaped UUID whose first 48 bits are Unix milliseconds, so that indexes grow at one end.

    74 of the 80 bits of entropy stay; the order of creation is visible to whoever sees two keys.
    """
    assert 0 <= milliseconds < 1 << 48
    assert len(entropy) == ENTROPY_BYTES
    chance = int.from_bytes(entropy) >> 6
    high, low = chance >> 62, chance & ((1 << 62) - 1)
    return UUID(int=milliseconds << 80 | 4 << 76 | high << 64 | 2 << 62 | low)


def whole_key(key: UUID) -> UUID:
    """The key of the whole that a part has its key from; of a fresh key, one that may have parts."""
    return UUID(int=key.int & ~PARTS_MAX)


def part_key(whole: UUID, number: int) -> UUID:
    """The key of a part: that of the whole, whose last byte is 0, with the part's number in it, 1 to 255."""
    assert 1 <= number <= PARTS_MAX
    assert not whole.int & PARTS_MAX
    return UUID(int=whole.int | number)
