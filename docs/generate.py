"""Writes every generated page anew: each `generate_*.py` beside this file tells its own by `pages()`."""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def all_pages() -> dict[Path, str]:
    """Every generated page and its text."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("generate_*.py"))
    generators = [importlib.import_module(f"docs.{name}") for name in names]
    return {page: text for generator in generators for page, text in generator.pages().items()}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    for page, text in all_pages().items():
        is_current = page.exists() and page.read_text(encoding="utf-8") == text
        page.write_text(text, encoding="utf-8")
        print(f"{'current' if is_current else 'written'}  {page.relative_to(ROOT)}")
