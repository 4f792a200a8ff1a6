"""What tests of redemptions over HTTP share."""

from tests.redemption_stage import issuer, own_redemptions, redemptions

__all__ = ["issuer", "own_redemptions", "redemptions"]
