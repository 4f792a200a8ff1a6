"""What every harness shares: its seed, printed so that a failure can be replayed."""

import random

import pytest

from tests.proof.deployment import SEED


@pytest.fixture
def chance(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> random.Random:
    """Randomness of one test; AVAL_PROOF_SEED repeats a run."""
    with capsys.disabled():
        print(f"\n{request.path.stem}: seed {SEED}")
    return random.Random(f"{SEED} {request.node.name}")
