"""The codes the code answers with are the codes of the catalogue, and the other way round (STYLE §6)."""

import ast
import re
from functools import cache
from pathlib import Path

from aval.domain.challenge import Verdict
from aval.domain.errors import CATALOGUE, REJECTION_REASONS
from aval.domain.transfer import Kind
from aval.http.transfer_calls import ERRORS

SRC = Path(__file__).parent.parent / "src" / "aval"
NAME = re.compile(r"[a-z]+(?:_batch)?\.[a-z0-9_]+")
OF_A_FAMILY = re.compile(r"f'\{[\w.]*family\}\.([a-z0-9_]+)'")
FAMILIES = {name.partition(".")[0] for name in CATALOGUE}
SLUGS = {name.partition(".")[2] for name in CATALOGUE if not name.startswith("rdm.")}  # those are named in full
BUILT = {Kind.PIX_TRANSFER.family, Kind.TED.family, Kind.DEVICE.family}

# Calls that do not exist yet. May only shrink: whoever builds a call takes its codes out.
NOT_ANSWERED = set(
    """
    PXT000178 PXT000180 TED000101 TED000102
    """.split()
)


@cache
def _arguments() -> list[ast.expr]:
    """Every positional argument of every call in the sources."""
    trees = (ast.parse(path.read_text()) for path in sorted(SRC.rglob("*.py")))
    return [
        argument for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call) for argument in node.args
    ]


def _named() -> set[str]:
    """Entries named in full: `Refusal("qit.not_found")`."""
    texts = {node.value for node in _arguments() if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if NAME.fullmatch(text) and text.partition(".")[0] in FAMILIES}


def _slugs() -> set[str]:
    """Entries named within a family: `Refusal(f"{family}.invalid_status")`, or by their slug alone."""
    found = set(ERRORS.values()) | set(REJECTION_REASONS)
    for node in _arguments():
        if isinstance(node, ast.Constant) and node.value in SLUGS:
            found.add(str(node.value))
        elif isinstance(node, ast.JoinedStr) and (named := OF_A_FAMILY.fullmatch(ast.unparse(node))):
            found.add(named[1])
    return found


def _answered() -> set[str]:
    within = {f"{family}.{slug}" for family in BUILT for slug in _slugs()}
    return {CATALOGUE[name].code for name in _named() | within if name in CATALOGUE}


def test_every_code_that_is_answered_is_catalogued() -> None:
    assert _named() - set(CATALOGUE) == set()
    assert _slugs() - {name.partition(".")[2] for name in CATALOGUE if name.partition(".")[0] in BUILT} == set()


def test_every_catalogued_code_is_answered_but_those_of_calls_that_do_not_exist_yet() -> None:
    unanswered = {found.code for found in CATALOGUE.values()} - _answered()
    redemptions = {found.code for name, found in CATALOGUE.items() if name.startswith("rdm.")}  # being built
    assert unanswered - redemptions == NOT_ANSWERED


def test_every_verdict_has_its_answer() -> None:
    told_with_more = {
        Verdict.APPROVED,
        Verdict.EXHAUSTED,
        Verdict.ATTEMPTS_EXCEEDED,
        Verdict.SUPERSEDED,
        Verdict.TOKEN_REFUSED,
    }
    assert set(ERRORS) | told_with_more == set(Verdict)
    assert set(ERRORS) & told_with_more == set()
