"""Administration of the deployment's tenants, with an admin key (transfers.md §8)."""

from aval.http import admin_accounts, admin_approvers, admin_credentials, admin_funds, admin_integrators
from aval.http.edge import Route
from aval.http.parts import Parts


def routes(app: Parts) -> list[Route]:
    """List all routes of the administration, and an integrator's own account."""
    parts = (admin_integrators, admin_credentials, admin_accounts, admin_funds, admin_approvers)
    return [route for part in parts for route in part.routes(app)]
