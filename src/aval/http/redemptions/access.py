"""Which caller may make which call (redemptions.md §7, §12)."""

from aval.domain.caller import APPLICATION_SCOPES, BACK_OFFICE_SCOPES, Caller, CallerKind
from aval.domain.errors import Refusal
from aval.http.edge import ANY_SCOPE, Access

IMPERSONATE = "impersonate"
ONBOARDING = "onboarding.write"  # who lacks it may not touch devices and documents of the participant it acts for


def check_access(caller: Caller, access: Access) -> None:
    """Refuse a caller that may not make a call, or lacks the scope for it."""
    if caller.kind is CallerKind.IMPERSONATOR:
        _check_impersonator(caller, access)
    scope = _scope_of(caller.kind, access)
    if scope is None:
        raise _closed(caller.kind, access)
    is_granted = bool(caller.scopes) if scope == ANY_SCOPE else caller.may(scope)
    if not is_granted:
        raise _forbidden(caller.kind, scope)


def is_for_application(access: Access) -> bool:
    """Whether impersonation headers mean nothing here, for the call is made by the application itself."""
    return access.impersonator is None and access.application is not None


def _check_impersonator(caller: Caller, access: Access) -> None:
    if access.impersonator is not None and not caller.may(IMPERSONATE):
        raise _forbidden(caller.kind, IMPERSONATE)


def _scope_of(kind: CallerKind, access: Access) -> str | None:
    scope: str | None = getattr(access, kind.value)  # each kind has its member
    return scope


def _closed(kind: CallerKind, access: Access) -> Refusal:
    is_of_operators = access.application is access.impersonator is access.participant is None
    if is_of_operators and access.operator is not None:
        return _forbidden(kind, access.operator)
    if kind is CallerKind.IMPERSONATOR:
        return Refusal("rdm.impersonation_forbidden")
    return Refusal("rdm.wrong_token_type")


def _forbidden(kind: CallerKind, scope: str) -> Refusal:
    if kind is CallerKind.IMPERSONATOR and scope == ONBOARDING:
        return Refusal("rdm.impersonation_forbidden")
    scopes = BACK_OFFICE_SCOPES if kind is CallerKind.OPERATOR else APPLICATION_SCOPES
    told = " ".join(sorted(scopes)) if scope == ANY_SCOPE else scope
    return Refusal("rdm.insufficient_scope", extra_fields={"scope": told})
