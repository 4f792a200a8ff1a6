"""Tests of storage may play on a stage, or through the whole application."""

from tests.redemption_stage import issuer, own_redemptions
from tests.stage_fixtures import own_stage, party, stage
from tests.world_fixtures import world

__all__ = ["issuer", "own_redemptions", "own_stage", "party", "stage", "world"]
