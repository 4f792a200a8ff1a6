"""What commands say to the person in front of the screen; on stderr, so that results can be piped."""

from rich.console import Console
from rich.text import Text


def tell(sentence: str) -> None:
    """Say what happens."""
    _console().print(Text(sentence))


def warn(sentence: str) -> None:
    """Say what deserves attention."""
    _console().print(Text("Note: ", style="yellow").append(sentence, style="default"))


def _console() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)
