"""What no other tool checks: sizes, names, stray hosts and paths, harnesses, decisions and dependencies."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "aval"
ADR = ROOT / "docs" / "adr"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
ADR_LINES_MAX = 60
SHAPELESS_NAMES = {"common", "core", "helper", "helpers", "misc", "models", "services", "shared", "util", "utils"}

# Written in pieces, so that this file does not name what it looks for.
STRAY_NAMES = (
    "pypi" + ".org",
    "python" + "hosted",
    "npmjs" + ".org",
    "registry" + ".npmjs",
    "deb.debian" + ".org",
    "/wo" + "rk/",
    "/ro" + "ot/",
    "/tmp/" + "build",
)

# One harness holds one or more promises; `make proof` runs them.
HARNESSES = set(
    """
    guess_storm boundary chaos model linear oracle_pairs timing corpus randomness budgets messages details leases money
    funds idempotency sim matrix authenticator device_race recipients uploads tenants pg_catalogue fuzz signed_requests
    hooks targets tamper canaries retention roles rotation storm_messages slow_clients neighbours limits doctor
    fsync_order clocks restore upgrade supply bench gate evidence
    """.split()
)
# May only shrink: whoever builds a harness takes its name out.
NOT_BUILT = set(
    """
    timing sim
    retention slow_clients neighbours
    limits fsync_order clocks restore upgrade supply bench
    """.split()
)


def _project_files() -> Iterator[Path]:
    """Every file that is committed or could be: what git ignores is left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if listed.returncode == 0:
        paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    else:  # an unpacked source archive has no git
        paths = (path for path in ROOT.rglob("*") if ".venv" not in path.parts)
    return (path for path in paths if path.is_file())


def _sources() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in sorted(SRC.rglob("*.py"))}


def _place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def _requirement_name(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower()


def _dependencies() -> set[str]:
    project = PYPROJECT["project"]
    return {_requirement_name(line) for line in (*project["dependencies"], *project["optional-dependencies"]["server"])}


def _decisions() -> list[Path]:
    return sorted(path for path in ADR.glob("*.md") if not path.name.startswith("0000-"))


def test_files_stay_within_their_limit() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in SRC.rglob("*.py")}
    assert [_place(path, lines) for path, lines in lengths.items() if lines > FILE_LINES_MAX] == []


def test_functions_stay_within_their_limit() -> None:
    functions = (
        (path, node)
        for path, tree in _sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    long = [
        _place(path, node.lineno)
        for path, node in functions
        if (node.end_lineno or node.lineno) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_no_name_accepts_any_line() -> None:
    names = (path.relative_to(ROOT) for path in _project_files() if path.suffix == ".py")
    assert [str(name) for name in names if SHAPELESS_NAMES & {*name.parts, name.stem}] == []


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in _project_files()
        for text in [path.read_text(errors="ignore")]
        for name in STRAY_NAMES
        if name in text
    ]
    assert found == []


def test_only_settings_reads_the_environment() -> None:
    readers = [
        _place(path, node.lineno)
        for path, tree in _sources().items()
        if Path(path.relative_to(SRC).parts[0]).stem != "settings"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    ]
    assert readers == []


def test_every_harness_is_named_and_the_list_of_missing_ones_shrinks() -> None:
    built = {path.stem for path in (ROOT / "tests" / "proof").glob("*.py")} - {"__init__", "conftest", "deployment"}
    assert built - HARNESSES == set()
    assert built & NOT_BUILT == set()
    assert built | NOT_BUILT == HARNESSES


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in _decisions()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_decision_has_its_sections_on_one_page() -> None:
    faults = []
    for path in sorted(ADR.glob("*.md")):
        text = path.read_text()
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        if headings != ["Context", "Decision", "Consequences", "Alternatives", "Check"]:
            faults.append(f"{path.name}: sections {headings}")
        if not re.search(r"^- Status: (proposed|accepted|superseded by \d{4})$", text, re.MULTILINE):
            faults.append(f"{path.name}: status")
        if not re.search(r"^- Date: \d{4}-\d{2}-\d{2}$", text, re.MULTILINE):
            faults.append(f"{path.name}: date")
        if len(text.splitlines()) > ADR_LINES_MAX:
            faults.append(f"{path.name}: longer than a page")
    assert faults == []


def test_every_dependency_has_its_reason_and_its_lock() -> None:
    reasons = next(ADR.glob("*-dependencies.md")).read_text()
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    explained = set(re.findall(r"^\| `([a-z0-9-]+)` \|", reasons, re.MULTILINE))
    assert explained == _dependencies()
    assert _dependencies() - locked == set()


def test_every_import_is_a_declared_dependency() -> None:
    distributions = packages_distributions()
    known = {*sys.stdlib_module_names, "aval"}
    undeclared = [
        f"{_place(path, node.lineno)}: {module}"
        for path, tree in _sources().items()
        for node, module in _imports(tree)
        if module not in known
        and not {name.lower().replace("_", "-") for name in distributions.get(module, [])} & _dependencies()
    ]
    assert undeclared == []


def _imports(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node, node.module.partition(".")[0]


def test_the_sql_contract_covers_every_room_above_storage() -> None:
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    covered = next(item for item in contracts if item["name"] == "SQL lives in storage only")["source_modules"]
    rooms = {"http", "console", "cli", "worker", "operations"}
    assert {f"aval.{room}" for room in rooms if (SRC / room / "__init__.py").exists()} <= set(covered)
