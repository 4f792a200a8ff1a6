"""The worker: turns promised side effects into calls of one operation each."""
