"""What tests over HTTP share: a world without a worker, and a stage with one."""

from tests.stage_fixtures import own_stage, party, stage
from tests.world_fixtures import world

__all__ = ["own_stage", "party", "stage", "world"]
