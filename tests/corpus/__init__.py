"""The rows of promises.md §4, by section; `tests/proof/corpus.py` is the harness that asks them."""
