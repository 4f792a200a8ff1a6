"""Tests of storage may play on a stage."""

from tests.stage_fixtures import own_stage, party, stage

__all__ = ["own_stage", "party", "stage"]
