"""The diagram of security devices tells the table of their states, no more and no less."""

import re
from pathlib import Path

from aval.domain.phone import TRANSITIONS

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "security-devices.md"
MOVE = re.compile(r"^    (\S+) --> (\w+)", re.MULTILINE)
END = re.compile(r"^    (\w+) --> \[\*\]$", re.MULTILINE)


def test_the_guide_draws_the_states_of_a_device() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    drawn = {(start, end) for start, end in MOVE.findall(text) if start != "[*]"}
    assert drawn == {(start.value, end.value) for start, ends in TRANSITIONS.items() for end in ends}
    assert set(END.findall(text)) == {start.value for start, ends in TRANSITIONS.items() if not ends}
