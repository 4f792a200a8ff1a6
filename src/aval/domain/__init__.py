"""The rules: every line decides something from values it was given, and does no input or output."""
