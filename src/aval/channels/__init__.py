"""How messages travel, and every call to a server that is not ours."""
