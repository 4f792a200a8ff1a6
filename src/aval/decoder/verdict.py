"""The one fault a decoded file can have."""


class Unreadable(Exception):
    """The file is not what its first bytes promise, or outside the limits."""
