"""Proof of TK10: keys and nonces come from `secrets` alone, and the tokens derived from them are uniform.

Where chance comes from is read off the syntax trees of the whole source. A million tokens of each alphabet are derived
from keys and nonces made as the service makes them, and their symbols are counted; the derivation is written down here
a second time, from DESIGN.md §3 and not from the code. AVAL_PROOF_SEED has no part in this: what is judged is the
machine's own chance, which fails one sound run in 80,000.
"""

import ast
import hashlib
import hmac
import math
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from aval.domain.keyring import Purpose
from aval.domain.token import Alphabet, TokenSeed, derived_token
from aval.http import batch_calls, pix, ted
from aval.operations import fresh
from aval.storage.keys_file import KeysFile
from tests.proof.deployment import SOURCE

pytestmark = pytest.mark.proof

TOKENS = 1_000_000
GENERATIONS = 6  # the first and five resends
P_MIN = 1e-6
KEY_BYTES, NONCE_BYTES = 32, 16
SYMBOLS = {Alphabet.CROCKFORD32: "0123456789ABCDEFGHJKMNPQRSTVWXYZ", Alphabet.DIGITS: "0123456789"}

GUESSABLE = {"random", "numpy", "Crypto", "Cryptodome"}  # modules
# What may be had of modules that make chance. UUIDs name things, and are secret nowhere.
ALLOWED = {
    "os": None,
    "ssl": None,
    "uuid": {"UUID", "uuid4"},
    "secrets": {"token_bytes", "token_hex", "token_urlsafe", "choice", "randbelow", "compare_digest"},
}
DENIED = {"urandom", "getrandom", "RAND_bytes", "RAND_add"}  # of `os` and `ssl`: a second way to chance
EXCEPTIONS = {
    "aval/client/tries.py: random.SystemRandom",  # pauses between a client's tries; the kernel's chance all the same
}
MADE_BY_CHANCE = {"nonce", "entropy", "salt"}


def _sources() -> list[tuple[str, ast.Module]]:
    paths = sorted(Path(SOURCE).rglob("*.py"))
    return [(path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text())) for path in paths]


def _uses(tree: ast.Module) -> Iterator[str]:
    """Everything that is had of another module, as `module.name`."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                modules[alias.asname or alias.name.partition(".")[0]] = alias.name
                yield f"{alias.name}."
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield f"{modules[node.value.id]}.{node.attr}"


def faults_of(name: str, tree: ast.Module) -> list[str]:
    """Chance from anywhere but `secrets`, and nonces and keys that are made of anything else."""
    found = []
    for use in _uses(tree):
        module, _, what = use.rpartition(".")
        root = module.partition(".")[0]
        allowed = ALLOWED.get(module)
        is_fault = root in GUESSABLE or what in DENIED or (allowed is not None and what and what not in allowed)
        if is_fault and f"{name}: {use}" not in EXCEPTIONS:
            found.append(f"{name}: {use}")
    for node in ast.walk(tree):
        for target, value in _made(node):
            if not (_is_passed_on(value) or _is_from_secrets(value)):
                found.append(f"{name}:{value.lineno}: {target} = {ast.unparse(value)}")
    return found


def _made(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Values given to what has to be made by chance."""
    if isinstance(node, ast.Call):
        is_key = isinstance(node.func, ast.Name) and node.func.id == "Key"
        wanted = MADE_BY_CHANCE | ({"secret"} if is_key else set())
        yield from ((each.arg, each.value) for each in node.keywords if each.arg in wanted)
    if isinstance(node, ast.Assign):
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        yield from ((name, node.value) for name in names if name in MADE_BY_CHANCE)


def _is_passed_on(value: ast.expr) -> bool:
    is_place = isinstance(value, ast.Name | ast.Attribute | ast.Subscript)
    return is_place and not any(isinstance(node, ast.Call) for node in ast.walk(value))


def _is_from_secrets(value: ast.expr) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) == ("secrets", "token_bytes")
        for node in ast.walk(value)
    )


def test_chance_comes_from_secrets_alone() -> None:
    sources = _sources()
    assert [fault for name, tree in sources for fault in faults_of(name, tree)] == []
    places = [
        name for name, tree in sources for node in ast.walk(tree) for _, value in _made(node) if _is_from_secrets(value)
    ]
    assert {"aval/http/pix.py", "aval/http/ted.py", "aval/http/batch_calls.py", "aval/storage/keys_file.py"} <= {
        *places
    }


PLANTED = [
    "import random\nnonce = random.randbytes(16)",
    "from random import randbytes",
    "import os\nrequest(nonce=os.urandom(16))",
    "import uuid\nkey = uuid.uuid1()",
    "from uuid import uuid1",
    "import hashlib\nrequest(nonce=hashlib.sha256(body).digest()[:16])",
    "request(nonce=time.time_ns().to_bytes(16))",
    "request(nonce=b'0123456789abcdef')",
    "Key(secret=uuid4().bytes)",
    "nonce = uuid4().bytes",
    "import secrets\nsecrets.SystemRandom().seed(1)",
]


@pytest.mark.parametrize("source", PLANTED)
def test_the_check_sees_chance_from_elsewhere(source: str) -> None:
    assert faults_of("planted.py", ast.parse(source)) != []


def test_keys_and_nonces_are_long_and_never_twice_the_same(tmp_path: Path) -> None:
    assert {pix.NONCE_BYTES, ted.NONCE_BYTES, batch_calls.NONCE_BYTES} == {NONCE_BYTES}
    assert fresh.SECRET_BYTES >= KEY_BYTES
    keyrings = [KeysFile(tmp_path / f"{number}.json").create() for number in range(100)]
    keys = [key.secret for keyring in keyrings for purpose in Purpose for key in keyring.all_of(purpose)]
    assert len(set(keys)) == len(keys) == 100 * len(Purpose)
    assert min(map(len, keys)) >= KEY_BYTES
    plain = [key for key in keys if len(key) == KEY_BYTES]  # a private key has a structure; its library makes it
    assert len(plain) == 100 * (len(Purpose) - 1)
    assert all(p > P_MIN for p in _p_of_symbols(plain, range(256), places=1))


@pytest.mark.parametrize("alphabet", Alphabet)
def test_tokens_are_uniform(alphabet: Alphabet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = KeysFile(tmp_path / "keys.json").create().current(Purpose.TOKEN).secret
    texts = list(_tokens(secret, alphabet))
    assert len(texts) == TOKENS and {len(text) for text in texts} == {6}
    assert set("".join(texts)) == set(SYMBOLS[alphabet])  # 0 outside, and each of them comes
    found = _p_of_symbols(texts, SYMBOLS[alphabet], places=6)
    with capsys.disabled():
        print(f"\nrandomness: {TOKENS} {alphabet} tokens, p per position " + ", ".join(f"{p:.3f}" for p in found))
    assert min(found) > P_MIN


def _tokens(secret: bytes, alphabet: Alphabet) -> Iterator[str]:
    """Tokens as the service derives them: a nonce for each operation, six generations of it."""
    integrator, digest = uuid4(), secrets.token_bytes(32)
    made = 0
    while made < TOKENS:
        seed = TokenSeed(integrator, uuid4(), digest, secrets.token_bytes(NONCE_BYTES))
        for generation in range(1, min(GENERATIONS, TOKENS - made) + 1):
            yield derived_token(secret, seed, generation=generation, alphabet=alphabet).text
            made += 1


def test_tokens_are_what_the_page_says() -> None:
    for number in range(5_000):
        secret, nonce, digest = secrets.token_bytes(32), secrets.token_bytes(16), secrets.token_bytes(32)
        seed = TokenSeed(uuid4(), uuid4(), digest, nonce)
        for alphabet in Alphabet:
            generation = number % GENERATIONS + 1
            told = derived_token(secret, seed, generation=generation, alphabet=alphabet).text
            assert told == _as_the_page_says(
                secret, seed.integrator_key, seed.operation_key, generation, digest, nonce, alphabet
            )


def _as_the_page_says(
    secret: bytes, integrator: UUID, operation: UUID, generation: int, digest: bytes, nonce: bytes, alphabet: Alphabet
) -> str:
    """DESIGN.md §3: HMAC over the length-prefixed parts; five bits a symbol, or a 64-bit integer modulo 10⁶."""
    message = b""
    for part in (b"aval-token-v1", integrator.bytes, operation.bytes, generation.to_bytes(4, "big"), digest, nonce):
        message += len(part).to_bytes(4, "big") + part
    code = hmac.new(secret, message, hashlib.sha256).digest()
    if alphabet is Alphabet.DIGITS:
        return str(int.from_bytes(code[:8], "big") % 10**6).rjust(6, "0")
    bits = "".join(f"{byte:08b}" for byte in code[:4])
    return "".join(SYMBOLS[alphabet][int(bits[place : place + 5], 2)] for place in range(0, 30, 5))


def test_every_part_of_the_seed_changes_the_token() -> None:
    secret = secrets.token_bytes(32)
    seed = TokenSeed(uuid4(), uuid4(), secrets.token_bytes(32), secrets.token_bytes(16))
    others = [
        TokenSeed(uuid4(), seed.operation_key, seed.details_digest, seed.nonce),
        TokenSeed(seed.integrator_key, uuid4(), seed.details_digest, seed.nonce),
        TokenSeed(seed.integrator_key, seed.operation_key, secrets.token_bytes(32), seed.nonce),
        TokenSeed(seed.integrator_key, seed.operation_key, seed.details_digest, secrets.token_bytes(16)),
    ]
    crockford = Alphabet.CROCKFORD32
    made = [derived_token(secret, each, generation=1, alphabet=crockford).text for each in (seed, *others)]
    made += [derived_token(secret, seed, generation=number, alphabet=crockford).text for number in range(2, 100)]
    made.append(derived_token(secrets.token_bytes(32), seed, generation=1, alphabet=crockford).text)
    assert len(set(made)) == len(made)


def test_the_count_sees_a_bias_of_one_in_a_hundred() -> None:
    """One symbol that comes 1 % too often, and the bias of a byte modulo 10."""
    digits = SYMBOLS[Alphabet.DIGITS]
    often = [digits[number % 10] for number in range(990_000)] + ["7"] * 10_000
    modulo = [digits[byte % 10] for _ in range(TOKENS // 256) for byte in range(256)]
    for biased in (often, modulo):
        assert _p_of_symbols(biased, digits, places=1)[0] < P_MIN
    assert _p_of_symbols([digits[number % 10] for number in range(TOKENS)], digits, places=1)[0] > P_MIN


def _p_of_symbols(texts: Sequence[Sequence[object]], symbols: Sequence[object], *, places: int) -> list[float]:
    """How likely chance is to spread the symbols of each position so unevenly; of one position, all symbols count."""
    if places == 1:
        columns = [Counter(symbol for text in texts for symbol in text)]
    else:
        columns = [Counter(text[place] for text in texts) for place in range(places)]
    return [_p_of(_chi_squared([column[symbol] for symbol in symbols]), len(symbols) - 1) for column in columns]


def _chi_squared(counts: Sequence[int]) -> float:
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


def _p_of(statistic: float, freedom: int) -> float:
    """The upper tail of χ², exactly, for odd degrees of freedom: Q(a + 1, x) = Q(a, x) + xᵃe⁻ˣ/Γ(a + 1)."""
    assert freedom % 2
    x, a = statistic / 2, 0.5
    p = math.erfc(math.sqrt(x))
    while a < freedom / 2:
        p += math.exp(a * math.log(x) - x - math.lgamma(a + 1)) if x else 0.0
        a += 1
    return p


def test_the_tail_of_the_distribution_is_the_tables() -> None:
    """Printed tables: 9 degrees of freedom 16.919 at 5 %, 27.877 at 0.1 %; 31 of them 44.985 and 61.098."""
    for freedom, statistic, p in ((9, 16.919, 0.05), (9, 27.877, 0.001), (31, 44.985, 0.05), (31, 61.098, 0.001)):
        assert math.isclose(_p_of(statistic, freedom), p, rel_tol=1e-3)
