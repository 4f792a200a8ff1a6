"""What all routes of the administration have in common, and the paths they begin with (transfers.md §8)."""

from functools import partial

from aval.http.edge import Route

INTEGRATORS = "/admin/integrators"
INTEGRATOR = INTEGRATORS + "/{integrator_key}"
ACCOUNT = INTEGRATOR + "/accounts/{account_key}"

admin_route = partial(Route, scope="transfers.admin", audience="admin", family="qit")
