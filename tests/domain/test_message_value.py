import pytest

from aval.domain.message_value import has_hidden, html_value, plain_value, sms_value

NAMES = [
    ("Maria Souza", "Maria Souza"),
    ("  Maria \r\n\t Souza\u2028", "Maria Souza"),
    ("Ma[token]ria", "Matokenria"),
    ("［token］", "token"),
    ("\u202eairaM\u202c", "airaM"),
    ("Ma\u200bria\u0000\x1b", "Maria"),
    ("<b>Maria</b>", "b Maria /b"),
    ("Padaria S.A.", "Padaria S.A."),
    ("J.P. Lima & Filhos Ltda.", "J.P. Lima & Filhos Ltda."),
    ("12.345.678 Ana Lima", "12.345.678 Ana Lima"),
    ("MERCADOPAGO.COM LTDA", "MERCADOPAGO COM LTDA"),
    ("Padaria LTDA.ME", "Padaria LTDA ME"),
    ("Ana http://evil.example/x", "Ana"),
    ("Ana HTTPS://EVIL.EXAMPLE", "Ana"),
    ("Ana www.evil", "Ana"),
    ("Ana bit.ly/3x Lima", "Ana Lima"),
    ("Ana 10.0.0.1", "Ana"),
    ("Ana evil[.]com", "Ana evil com"),
    ("Ana evil\u200b.com", "Ana evil com"),
    ("Ana evil．com", "Ana evil com"),
    ("Ana javascript:alert(1)", "Ana javascript alert(1)"),
    ("Ana tel:+5511900000000", "Ana tel +5511900000000"),
    ("http://evil.example", "-"),
    ("", "-"),
]


@pytest.mark.parametrize(("name", "made"), NAMES)
def test_names_lose_links_brackets_and_what_does_not_show(name: str, made: str) -> None:
    assert plain_value(name, is_name=True) == made
    assert sms_value(name, is_name=True) == made


@pytest.mark.parametrize(("name", "made"), [("evil😀com", "evil com"), ("evil。com", "evil com"), ("a😀b.ly/x", "-")])
def test_a_link_that_folding_makes_is_taken_apart_too(name: str, made: str) -> None:
    assert sms_value(name, is_name=True) == made


def test_an_angle_that_folding_makes_is_none() -> None:
    assert sms_value("Ana \u226f Lima \u226e", is_name=True) == "Ana Lima"


def test_html_values_are_escaped() -> None:
    assert html_value('<i>"D\'Ávila" & Cia', is_name=True) == "&lt;i&gt;&quot;D&#x27;Ávila&quot; &amp; Cia"


def test_values_that_nobody_chose_keep_their_full_stops() -> None:
    assert sms_value("R$ 1.580,50", is_name=False) == "R$ 1.580,50"


def test_hidden_characters_are_found_but_line_breaks_are_none() -> None:
    assert not has_hidden("Código\r\n\t1\u00a0😀")
    assert all(has_hidden(character) for character in "\x00\x1f\x7f\u202e\u2066\u200b\ufeff\ud800")
