"""Pages people see in a browser."""
