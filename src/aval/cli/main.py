"""The `aval` command: its sub-commands, and how a refusal is told."""

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from aval import __version__
from aval.cli.deployment import CommandTree, OpenDeployment
from aval.cli.refusal import CommandRefused

# Each has `register(commands, open_deployment)`; the order is the one of `aval --help`.
COMMANDS = (
    "demo",
    "run",
    "serve",
    "worker_command",
    "migrate",
    "doctor",
    "admin",
    "admin_registry",
    "admin_import",
    "admin_webhooks",
    "admin_work",
    "admin_templates",
    "keyring",
    "evidence",
    "verify",
    "seed",
)
EXIT_REFUSED = 2


class Group(typer.core.TyperGroup):
    """Tells a refusal in sentences instead of a traceback."""

    def invoke(self, context: typer.Context) -> object:  # type: ignore[override]
        """Run the sub-command."""
        try:
            return super().invoke(context)
        except CommandRefused as refused:
            end_refused(refused)


def end_refused(refused: CommandRefused) -> NoReturn:
    """Print the sentences and end the process with exit code 2."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for sentence in refused.sentences:
        console.print(sentence, markup=False)
    raise typer.Exit(EXIT_REFUSED)


def build_cli(open_deployment: OpenDeployment) -> typer.Typer:
    """The whole command line over one way to open the deployment."""
    app = typer.Typer(
        cls=Group,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # its tracebacks print local variables, which may be secrets
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(help="Aval puts a second factor in front of money: Pix and TED wait for a token before they leave.")
    def root(
        is_version: Annotated[
            bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
        ] = False,
    ) -> None:
        """Options of `aval` itself."""

    commands = CommandTree(root=app, admin=typer.Typer(no_args_is_help=True), sandbox=typer.Typer(no_args_is_help=True))
    for name in COMMANDS:
        if find_spec(f"aval.cli.{name}"):
            register: Callable[[CommandTree, OpenDeployment], None]
            register = importlib.import_module(f"aval.cli.{name}").register
            register(commands, open_deployment)
    app.add_typer(commands.admin, name="admin", help="Administer the deployment: keys and those who may call.")
    app.add_typer(commands.sandbox, name="sandbox", help="Make things to play with.")
    return app


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"aval {__version__}")
        raise typer.Exit
