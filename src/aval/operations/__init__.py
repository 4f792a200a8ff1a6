"""What happens, in what order, in which transaction."""
