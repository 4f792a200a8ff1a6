"""The `aval` command."""

import sys

SERVER_MISSING = "The parts of the server are not installed ({missing} is missing): pip install 'aval[server]'\n"
EXIT_REFUSED = 2


def main() -> None:
    """Run the command line."""
    try:
        from aval.bootstrap import open_deployment
        from aval.cli.main import build_cli
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "aval":
            raise
        sys.stderr.write(SERVER_MISSING.format(missing=error.name))
        raise SystemExit(EXIT_REFUSED) from None
    build_cli(open_deployment)(prog_name="aval")


if __name__ == "__main__":
    main()
