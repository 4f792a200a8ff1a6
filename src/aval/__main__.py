"""The `aval` command."""

from aval.bootstrap import open_deployment
from aval.cli.main import build_cli


def main() -> None:
    """Run the command line."""
    build_cli(open_deployment)(prog_name="aval")


if __name__ == "__main__":
    main()
