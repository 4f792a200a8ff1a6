"""Who calls, and what the credential allows."""

import pytest

from aval.domain.principal import AdminActor, Principal
from tests.domain.examples import CREDENTIAL, integrator


@pytest.mark.parametrize(("mode", "is_sandbox"), [("sandbox", True), ("live", False)])
def test_the_mode_tells_the_sandbox(mode: str, is_sandbox: bool) -> None:
    assert integrator(mode=mode).is_sandbox is is_sandbox


def test_a_caller_may_do_what_the_scopes_say() -> None:
    scopes = frozenset({"transfers:read"})
    for caller in (Principal(integrator(), CREDENTIAL, "bearer", scopes), AdminActor(CREDENTIAL, "Ana", scopes)):
        assert caller.may("transfers:read")
        assert not caller.may("transfers:write")


def test_no_secret_of_an_integrator_prints() -> None:
    shown = repr(integrator(fixed_token="abc123", rail_secret_sealed=b"sealed"))
    assert "abc123" not in shown and "sealed'" not in shown
