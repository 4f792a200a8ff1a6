"""The code of docs/guides/python-client.md is run as it stands there."""

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

from aval.client import ApiKey, SyncAvalClient
from aval.domain.signature import new_secret
from tests.client.test_signed_webhook import BODY, headers_of

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "python-client.md"
CODE = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


async def test_the_first_ted_of_the_guide_is_approved(api, party) -> None:
    order, noted = SimpleNamespace(control_key=uuid4()), []

    class Names(dict[str, object]):
        """What the guide leaves to the reader; the token can be read only once it was sent."""

        def __missing__(self, name: str) -> object:
            if name != "token_from_the_approver":
                raise KeyError(name)
            with SyncAvalClient(api.url, ApiKey(party.api_key)) as aval:
                return aval.read_inbox(operation_key=self["ted"].key).rows[0].text[-6:]

    names = Names(
        api_key=party.api_key, account_key=party.account.key, order=order, note=lambda *told: noted.append(told)
    )
    code = CODE[0].replace("https://aval.example.com", api.url).replace("11144477735", party.document_number)
    await asyncio.to_thread(exec, code, {}, names)
    assert noted == [(order, "pending")]


def test_the_webhook_of_the_guide_is_handled_once_and_a_forged_one_not() -> None:
    code = "def receive(secret, request, body):\n" + re.sub("^", "    ", CODE[1], flags=re.MULTILINE)
    handled: list[object] = []
    names = {"is_new": lambda event_id: True, "handle": lambda *told: handled.append(told)}
    exec(code, names)
    receive, request = names["receive"], SimpleNamespace(headers=headers_of())
    assert receive(new_secret(b"a" * 32), request, BODY) is None
    assert receive(new_secret(b"c" * 32), request, BODY) == 400
    assert [told[0] for told in handled] == ["baas.ted.outgoing_ted"]
