from docs.generate_commands import PAGE, render


def test_the_page_of_commands_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == render()


def test_every_process_and_every_administrative_command_has_its_section() -> None:
    headings = [line for line in render().splitlines() if line.startswith("## ")]
    assert len(headings) == len(set(headings))
    for name in ("run", "serve", "worker", "migrate", "doctor", "admin keyring create", "admin keyring rotate PURPOSE"):
        assert f"## aval {name}" in headings


def test_what_processes_tell_each_other_is_no_option_of_a_person() -> None:
    assert "--parent" not in render()
