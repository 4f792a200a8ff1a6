"""Measures Aval against PostgreSQL itself doing the same writes, interleaved in one run."""
