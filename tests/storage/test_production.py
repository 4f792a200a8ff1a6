from aval.storage.database import Database
from aval.storage.production import has_standby, sandbox_shortcuts
from tests.factories import make_integrator

SAFE = {"mode": "live", "budgets": True, "requests_per_second": 50, "rail_url": "https://core.example.com"}


async def test_shortcuts_of_active_live_integrators_are_found(db: Database) -> None:
    await make_integrator(db, mode="sandbox", budgets=False)
    await make_integrator(db, **SAFE)
    await make_integrator(db, **SAFE | {"budgets": False, "active": False})
    assert await _shortcuts(db) == []
    risky = await make_integrator(db, mode="live", budgets=False, requests_per_second=None)
    key = str(risky.key)
    assert await _shortcuts(db) == [(key, "a rail_url"), (key, "budgets"), (key, "requests_per_second")]


async def test_an_origin_without_tls_is_a_shortcut(db: Database) -> None:
    await make_integrator(db, **SAFE | {"origins": ("https://pay.example.com", "android:apk-key-hash:http://x")})
    assert await _shortcuts(db) == []
    local = await make_integrator(db, **SAFE | {"origins": ("https://pay.example.com", "http://localhost:8321")})
    assert await _shortcuts(db) == [(str(local.key), "https origins")]


async def test_a_database_without_a_standby_says_so(db: Database) -> None:
    async with db.connection() as connection:
        assert not await has_standby(connection)


async def _shortcuts(db: Database) -> list[tuple[str, str]]:
    async with db.connection() as connection:
        return await sandbox_shortcuts(connection)
