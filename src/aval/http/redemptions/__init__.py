"""Calls on redemptions (redemptions.md): who may make them, and what they answer."""
