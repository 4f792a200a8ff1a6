"""Writes every generated page anew: each `generate_*.py` beside this file writes its own."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    for script in sorted(Path(__file__).parent.glob("generate_*.py")):
        runpy.run_path(str(script), run_name="__main__")
