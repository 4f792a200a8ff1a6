"""The limit to measure against: pgbench doing exactly the service's writes, in one statement a call."""

import asyncio
import re
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from bench.world import World

CLIENTS = (8, 32, 64)  # spec DESIGN.md §6
THREADS = 2
BASELINE = Path(__file__).parent / "baseline"

_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)


async def prepare(world: World, pending: int) -> None:
    """Store operations for validate.sql to approve, and the sequence it counts them by."""
    async with world.db.connection() as connection:
        await connection.execute("create sequence aval.bench_validate cache 64")
    for first in range(1, pending + 1, 10_000):
        async with world.db.transaction() as connection:
            await connection.execute("set local statement_timeout = '60s'")
            last = min(first + 9_999, pending)
            await connection.execute((BASELINE / "pending.sql").read_text(), world.integrator_key, first, last)
    async with world.db.connection() as connection:
        await connection.execute("set statement_timeout = '60s'")
        await connection.execute("vacuum analyze")


async def tps(world: World, script: str, *, clients: int, seconds: int) -> float:
    """Transactions a second of one script."""
    return await asyncio.to_thread(_run, world, script, clients, seconds)


def _run(world: World, script: str, clients: int, seconds: int) -> float:
    parts = urlsplit(world.dsn)
    host = parse_qs(parts.query)["host"][0]
    command = [
        pgbench_binary(world),
        *("-h", host, "-U", parts.username or "aval", "-n", "-M", "prepared"),
        *("-D", f"integrator={world.integrator_key}", "-f", str(BASELINE / script)),
        *("-c", str(clients), "-j", str(THREADS), "-T", str(seconds), parts.path.lstrip("/")),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PGOPTIONS": "-c search_path=aval -c jit=off"}
    )
    found = _TPS.search(done.stdout)
    assert found is not None, done.stderr
    return float(found[1])


def pgbench_binary(world: World) -> str:
    """The pgbench that came with the server."""
    return world.server.place.installation.program("pgbench")
