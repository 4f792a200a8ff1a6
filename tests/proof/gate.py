"""OP10: plants each known bug alone and demands that its harness finds it (promises.md §6).

`python -m tests.proof.gate [NUMBER …]`, that is `make mutants`. Each patch of `mutants/` is applied to a copy of the
tree of its own and the harnesses of the manifest run there. The unpatched copy has to pass the same runs first; a patch
that no longer applies fails the gate, and so does a bug that nothing finds.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

pytestmark = pytest.mark.proof

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = ROOT / "tests" / "proof" / "mutants"
COPIED = ("src", "tests", "migrations", "docs", "pyproject.toml")
RUN_TIMEOUT_S = 600
PASSED, FAILED, UNENDED = 0, 1, 124  # the first two are pytest's exit status

_FAILED_LINE = re.compile(r"^(?:FAILED|ERROR) [^:]*(?:::)?(\S*)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One harness, the part of it that is asked, and under which variables."""

    harness: str
    select: str = ""
    env: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def is_built(self) -> bool:
        return (MUTANTS.parent / f"{self.harness}.py").exists()

    def __str__(self) -> str:
        return f"{self.harness} -k '{self.select}'" if self.select else self.harness


@dataclass(frozen=True)
class Mutant:
    """A planted bug."""

    bug: int
    name: str
    patch: Path
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Outcome:
    """How a harness took a tree."""

    status: int
    first_failure: str
    seconds: float
    tail: str


def read_manifest() -> list[Mutant]:
    """The planted bugs, by number."""
    told = tomllib.loads((MUTANTS / "manifest.toml").read_text())["mutant"]
    made = [
        Mutant(each["bug"], each["name"], MUTANTS / each["patch"], tuple(Run(**run) for run in each["runs"]))
        for each in told
    ]
    return sorted(made, key=lambda mutant: mutant.bug)


@contextmanager
def copy_of_the_tree() -> Iterator[Path]:
    """A copy that may be spoiled; caches stay behind."""
    with tempfile.TemporaryDirectory(prefix="aval-mutant-") as directory:
        tree = Path(directory)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
            else:
                shutil.copy2(source, tree / name)
        yield tree


def apply(patch: Path, tree: Path) -> str | None:
    """Plant a bug; what is wrong with the patch, or None."""
    bounds = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    done = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", str(patch)], cwd=tree, env=bounds, capture_output=True, text=True
    )
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def carry_out(run: Run, tree: Path) -> Outcome:
    """Run a harness in a tree, with that tree's source in front of any installed one."""
    command = [sys.executable, "-m", "pytest", f"tests/proof/{run.harness}.py", "-x", "-q", "--tb=line"]
    command += ["-p", "no:cacheprovider", *(("-k", run.select) if run.select else ())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree / "src"), str(tree)]), **run.env}
    started = time.monotonic()
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=RUN_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Outcome(UNENDED, "", time.monotonic() - started, f"no end within {RUN_TIMEOUT_S} s")
    found = _FAILED_LINE.search(done.stdout)
    first = found[1] if found else ""
    return Outcome(done.returncode, first, time.monotonic() - started, (done.stdout + done.stderr)[-2_000:])


def failing_unpatched(runs: Sequence[Run], console: Console) -> set[str]:
    """Runs that fail without any bug; they can find nothing."""
    failing = set()
    with copy_of_the_tree() as tree:
        for run in runs:
            outcome = carry_out(run, tree)
            word = "passes" if outcome.status == PASSED else "FAILS"
            console.print(f"unpatched  {word}  {escape(str(run))}  ({outcome.seconds:.0f} s)", highlight=False)
            if outcome.status != PASSED:
                failing.add(str(run))
                console.print(escape(outcome.tail), highlight=False)
    return failing


def hunt(mutant: Mutant, failing: set[str]) -> tuple[str, str, float]:
    """Verdict, what found it, and how long it took."""
    seconds, verdict, finder = 0.0, "SURVIVED", ""
    with copy_of_the_tree() as tree:
        trouble = apply(mutant.patch, tree)
        if trouble is not None:
            return "DOES NOT APPLY", trouble, 0.0
        for run in mutant.runs:
            if str(run) in failing or not run.is_built:
                verdict, finder = "NO HARNESS", f"{run}: {'fails unpatched' if run.is_built else 'not built'}"
                continue
            outcome = carry_out(run, tree)
            seconds += outcome.seconds
            if outcome.status == FAILED:
                return "caught", f"{run.harness}: {outcome.first_failure}", seconds
            if outcome.status != PASSED:
                return "BROKEN", outcome.tail.strip().splitlines()[-1], seconds
    return verdict, finder, seconds


def judge(mutants: Sequence[Mutant], failing: set[str], console: Console) -> bool:
    """Hunt every bug and show the table; whether all were caught."""
    table = Table("#", "planted bug", "verdict", "found by", "s", title="planted bugs", title_justify="left")
    is_all_caught = True
    for mutant in mutants:
        verdict, finder, seconds = hunt(mutant, failing)
        is_all_caught &= verdict == "caught"
        style = "green" if verdict == "caught" else "bold red"
        table.add_row(str(mutant.bug), escape(mutant.name), verdict, escape(finder), f"{seconds:.0f}", style=style)
        console.print(f"{mutant.bug:>3}  {verdict}  {escape(mutant.name)}  ({seconds:.0f} s)", highlight=False)
    console.print(table)
    return is_all_caught


def main() -> int:
    """Ask for all bugs, or for those whose numbers are given."""
    parser = argparse.ArgumentParser(description="Plant each known bug and see that its harness finds it.")
    parser.add_argument("bugs", nargs="*", type=int, metavar="NUMBER", help="only these bugs of the list")
    parser.add_argument("--trust-unpatched", action="store_true", help="do not run the unpatched tree first")
    given = parser.parse_args()
    mutants = [mutant for mutant in read_manifest() if not given.bugs or mutant.bug in given.bugs]
    console = Console(width=None if sys.stdout.isatty() else 160)
    runs = {str(run): run for mutant in mutants for run in mutant.runs if run.is_built}
    failing = set() if given.trust_unpatched else failing_unpatched(list(runs.values()), console)
    return 0 if judge(mutants, failing, console) and not failing else 1


def test_every_patch_applies_and_every_patch_is_listed() -> None:
    """A change of the source that a patch no longer fits is told at once, and not only by the gate."""
    mutants, troubles = read_manifest(), []
    assert {mutant.patch.name for mutant in mutants} == {path.name for path in MUTANTS.glob("*.patch")}
    for mutant in mutants:
        with copy_of_the_tree() as tree:
            trouble = apply(mutant.patch, tree)
            troubles += [f"{mutant.bug}: {trouble}"] if trouble else []
    assert troubles == []


if __name__ == "__main__":
    sys.exit(main())
