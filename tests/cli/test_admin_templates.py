from pathlib import Path

import pytest

from tests.cli.conftest import Command

PREVIEW = ("admin", "templates", "preview")


def test_the_default_texts_are_shown_in_both_languages(command: Command) -> None:
    shown = command(*PREVIEW, "ted")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [
        "pt-BR: 96 of 160 characters",
        "R$ 1.580,50 p/ Maria Souza (***982247**) TED, cta ***567-8. Codigo 1, 5 min, nao repasse: ******",
        "",
        "en: 97 of 160 characters",
        "BRL 1,580.50 to Maria Souza (***982247**) TED, acct ***567-8. Code 1, 5 min, do not share: ******",
        "",
    ]


def test_a_template_is_shown_as_text_and_as_html(command: Command, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>[amount], <b>[payee_name]</b>, código [generation]: [token]</p>\n")
    words = (*PREVIEW, "pix_transfer", "--channel", "email", "--locale", "en", "--file", str(page))
    text = command(*words, "--subject", "Code [generation]").stdout
    assert text == "en: Code 1\nBRL 1,580.50, Maria Souza, código 1: ******\n\n"
    html = command(*words, "--subject", "Code [generation]", "--html").stdout
    assert "<p>BRL 1,580.50, <b>Maria Souza</b>, código 1: ******</p>" in html


REFUSED = [
    (b"[amount] [payee_name] [generation]", (), "PMB000902: token_missing [token]."),
    ("Código [token]".encode(), (), "PMB000902: not_gsm7."),
    (b"x" * 154 + b"[token]", (), "--file must be one line of 1 to 160 visible characters."),
    (b"a\nb [token]", (), "--file must be one line"),
    (b"\xff", (), "--file must name a text in UTF-8"),
    (b"", ("--channel", "email"), "--file must hold 1 to 65536 bytes."),
    (b"<p>[token]</p>", ("--channel", "email"), "--subject must be one line of 1 to 80 visible characters."),
]


@pytest.mark.parametrize(("content", "options", "sentence"), REFUSED)
def test_a_template_the_api_would_refuse_is_refused_in_a_sentence(
    command: Command, tmp_path: Path, content: bytes, options: tuple[str, ...], sentence: str
) -> None:
    file = tmp_path / "template"
    file.write_bytes(content)
    ended = command(*PREVIEW, "ted", "--file", str(file), *options)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert sentence in " ".join(ended.stderr.split())


def test_a_file_that_is_not_there_is_told(command: Command, tmp_path: Path) -> None:
    ended = command(*PREVIEW, "ted", "--file", str(tmp_path / "none"))
    assert (ended.exit_code, "can be read" in ended.stderr) == (2, True)
