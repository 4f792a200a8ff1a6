"""Commands: each turns words on a command line into calls of operations and storage."""
