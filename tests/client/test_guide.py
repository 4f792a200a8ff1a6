"""The code of docs/guides/python-client.md is run as it stands there."""

import asyncio
import re
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from aval.client import ApiKey, Approver, AvalClient, SyncAvalClient
from aval.domain.signature import new_secret
from tests.client.flows import TARGET, token_of
from tests.client.test_signed_webhook import BODY, headers_of

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "python-client.md"
TED, BATCH, DEVICE, WEBHOOK = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


class Names(dict[str, Any]):
    """What the guide leaves to the reader; the token can be read only once it was sent."""

    def __init__(self, own: SyncAvalClient, operation: str, **names: Any) -> None:
        super().__init__(names)
        self._own = own
        self._operation = operation

    def __missing__(self, name: str) -> Any:
        if name != "token_from_the_approver":
            raise KeyError(name)
        return self._own.read_inbox(operation_key=self[self._operation].key).rows[0].text[-6:]


@pytest.fixture
def own(api, party):
    with SyncAvalClient(api.url, ApiKey(party.api_key)) as client:
        yield client


async def test_the_first_ted_of_the_guide_is_approved(api, party, own) -> None:
    order, noted = SimpleNamespace(control_key=uuid4()), []
    names = Names(
        own,
        "ted",
        api_key=party.api_key,
        account_key=party.account.key,
        order=order,
        note=lambda *told: noted.append(told),
    )
    code = TED.replace("https://aval.example.com", api.url).replace("11144477735", party.document_number)
    await asyncio.to_thread(exec, code, {}, names)
    assert noted == [(order, "pending")]


def pay(key: str) -> SimpleNamespace:
    return SimpleNamespace(amount=Decimal(10), pix_key=key, end_to_end_id=f"E12345678202611231430{uuid4().hex[:11]}")


@pytest.mark.parametrize("second", ["maria@example.com", "nobody"])
async def test_the_batch_of_the_guide_is_approved_or_its_items_are_named(party, own, second) -> None:
    payroll, noted, mended = [pay("52998224725"), pay(second)], [], []
    names = Names(
        own,
        "batch",
        aval=own,
        account_key=party.account.key,
        payroll=payroll,
        note=lambda *told: noted.append(told),
        mend=lambda *told: mended.append(told),
    )
    await asyncio.to_thread(exec, BATCH.replace("11144477735", party.document_number), names)
    if second == "nobody":
        assert (noted, mended) == ([], [(payroll[1], "PXT000916")])
    else:
        assert [key for key, _ in noted] == [item.request_control_key for item in names["items"]]
        assert {status for _, status in noted} <= {"pending", "sent"} and mended == []


@pytest.mark.parametrize("is_expected", [True, False])
async def test_the_device_of_the_guide_signs(api, party, tmp_path, is_expected) -> None:
    by_device = Approver(party.document_number, "device", uuid4())
    names: dict[str, Any] = {}
    code = "async def sign(aval, account_key, approver, token_of, path, base_url, session_id, is_expected):\n"
    device, phone = re.sub("^", "    ", DEVICE, flags=re.MULTILINE).split("    async with", 1)
    exec(f"{code}{device}    await ask()\n    async with{phone}", names)
    async with AvalClient(api.url, ApiKey(party.api_key)) as aval:

        async def ask() -> None:
            names["ted"] = await aval.create_ted(
                party.account.key, amount=Decimal(10), target=TARGET, approver=by_device
            )

        names["ask"] = ask
        await names["sign"](
            aval,
            party.account.key,
            Approver(party.document_number),
            lambda key: token_of(aval, key),
            tmp_path / "device.json",
            api.url,
            by_device.session_id,
            lambda details, items: is_expected and details["amount"] == "10.00" and items is None,
        )
        ted = await aval.get_ted(party.account.key, names["ted"].key)
        if is_expected:
            ted = await aval.validate_ted(party.account.key, names["ted"].key)
        assert ted.status == ("pending" if is_expected else "rejected")


def test_the_webhook_of_the_guide_is_handled_once_and_a_forged_one_not() -> None:
    code = "def receive(secret, request, body):\n" + re.sub("^", "    ", WEBHOOK, flags=re.MULTILINE)
    handled: list[object] = []
    names = {"is_new": lambda event_id: True, "handle": lambda *told: handled.append(told)}
    exec(code, names)
    receive, request = names["receive"], SimpleNamespace(headers=headers_of())
    assert receive(new_secret(b"a" * 32), request, BODY) is None
    assert receive(new_secret(b"c" * 32), request, BODY) == 400
    assert [told[0] for told in handled] == ["baas.ted.outgoing_ted"]
