"""The HTTP client, loaded by the first call that leaves: it takes 9 MB, and most API processes call nobody."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aval.domain.target import Network
from aval.ports import OutboundAnswer, OutboundCall

if TYPE_CHECKING:
    from aval.channels.outbound import OutboundHttp


class LateOutbound:
    """An OutboundHttp that is made when it is needed first; see `ports.Outbound`."""

    def __init__(self, allow_list: Sequence[Network], is_local_allowed: bool) -> None:
        self._allow_list = allow_list
        self._is_local_allowed = is_local_allowed
        self._made: OutboundHttp | None = None

    async def call(self, call: OutboundCall) -> OutboundAnswer:
        """One request; see `ports.Outbound.call`."""
        if self._made is None:
            await asyncio.to_thread(_load)  # a tenth of a second, in which others are answered
        return await self._opened().call(call)

    async def close(self) -> None:
        """Give back what was made."""
        if self._made is not None:
            await self._made.close()

    def _opened(self) -> "OutboundHttp":
        if self._made is None:
            self._made = _load()(self._allow_list, self._is_local_allowed)
        return self._made


def _load() -> "type[OutboundHttp]":
    from aval.channels.outbound import OutboundHttp

    return OutboundHttp
