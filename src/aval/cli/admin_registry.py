"""The groups of `aval admin` that administer integrators and campaigns, each with its commands."""

from collections.abc import Callable

import typer

from aval.cli import (
    admin_accounts,
    admin_applications,
    admin_approvers,
    admin_campaigns,
    admin_credentials,
    admin_integrators,
    admin_participants,
    admin_reversals,
)
from aval.cli.admin_desk import AdminDesk
from aval.cli.deployment import CommandTree, OpenDeployment

GROUPS: tuple[tuple[str, str, Callable[[typer.Typer, AdminDesk], None]], ...] = (
    ("integrators", "Tenants and their settings.", admin_integrators.add_integrators),
    ("credentials", "What integrators prove themselves with.", admin_credentials.add_credentials),
    ("accounts", "Accounts that money leaves from.", admin_accounts.add_accounts),
    ("entries", "Book money onto accounts and off them.", admin_accounts.add_entries),
    ("approvers", "People who approve.", admin_approvers.add_approvers),
    ("contacts", "Where their tokens go.", admin_approvers.add_contacts),
    ("powers", "What they may approve on an account.", admin_approvers.add_powers),
    ("fees", "What an item costs.", admin_integrators.add_fees),
    ("limits", "How much may leave an account.", admin_accounts.add_limits),
    ("campaigns", "Tenants of redemptions.", admin_campaigns.add_campaigns),
    ("policies", "When a campaign asks for a second factor.", admin_campaigns.add_policies),
    ("applications", "Programs of a campaign and their credentials.", admin_applications.add_applications),
    ("participants", "People who redeem points.", admin_participants.add_participants),
    ("points", "What participants have.", admin_participants.add_points),
    ("reversals", "Points of orders given back.", admin_reversals.add_reversals),
)


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add the groups."""
    desk = AdminDesk(open_deployment)
    for name, about, add in GROUPS:
        group = typer.Typer(no_args_is_help=True)
        commands.admin.add_typer(group, name=name, help=about)
        add(group, desk)
