from pathlib import Path

import pytest

from aval.settings import Settings, every_setting
from docs.generate_settings import EXAMPLE, PAGE, render_example, render_page


@pytest.mark.parametrize(("page", "rendered"), [(PAGE, render_page()), (EXAMPLE, render_example())])
def test_the_pages_of_settings_are_current(page: Path, rendered: str) -> None:
    assert page.read_text(encoding="utf-8") == rendered


def test_every_setting_has_one_row_and_one_example() -> None:
    page, example = render_page(), render_example()
    for setting in every_setting():
        assert page.count(f"\n| `{setting.variable}` |") == 1
        assert example.count(f"\n#{setting.variable}=") == 1


def test_the_example_with_every_line_in_force_is_the_default() -> None:
    lines = (line[1:].partition("=") for line in render_example().splitlines() if line.startswith("#AVAL_"))
    environ = {variable: value.strip('"') for variable, _, value in lines}
    assert Settings.read(environ) == Settings.read({})
