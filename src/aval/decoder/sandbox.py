"""Lends files to child processes, few at a time, and takes nothing from them but bytes and an exit status."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import aval
from aval.decoder.child import NO_SPACE
from aval.ports import DecoderBusy

PLACES = 2  # children at once; each may take a whole processor
WAITING_MAX = 64
PATIENCE_S = 15.0  # by the clock on the wall, for a child that only waits
_CHILD = [sys.executable, "-s", "-P", "-m", "aval.decoder.child"]
_SOURCE = Path(aval.__file__).parents[1]


class SandboxedDecoder:
    """Decodes each file in a process of its own (`aval.decoder.child`)."""

    def __init__(self, *, places: int = PLACES, waiting_max: int = WAITING_MAX, patience_s: float = PATIENCE_S) -> None:
        self._places = asyncio.Semaphore(places)
        self._admitted_max = places + waiting_max
        self._admitted = 0
        self._patience_s = patience_s

    async def rewrite(self, source: BinaryIO, target: BinaryIO, media_type: str) -> bool:
        """Write what the file shows; false if it cannot be read. Raises DecoderBusy."""
        if self._admitted >= self._admitted_max:
            raise DecoderBusy
        self._admitted += 1
        try:
            async with self._places:
                return await self._rewrite(source, target, media_type)
        finally:
            self._admitted -= 1

    async def _rewrite(self, source: BinaryIO, target: BinaryIO, media_type: str) -> bool:
        source.flush()
        os.lseek(source.fileno(), 0, os.SEEK_SET)  # the child has the descriptor, and not what is buffered here
        child = await _lent(source, target, media_type)
        try:
            async with asyncio.timeout(self._patience_s):
                status = await child.wait()
        except TimeoutError:
            return False
        finally:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        if status == NO_SPACE:
            raise DecoderBusy
        return status == 0


async def _lent(source: BinaryIO, target: BinaryIO, media_type: str) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *_CHILD,
            media_type,
            stdin=source,
            stdout=target,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            env={"PYTHONPATH": str(_SOURCE)},  # the same Aval as this one, and nothing else of ours
            start_new_session=True,
        )
    except OSError:  # no process, descriptor or memory left for it
        raise DecoderBusy from None
