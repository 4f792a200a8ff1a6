"""The tests mirror src/aval room by room; tests/proof holds the harnesses of the promises."""
