"""The parts of the chaos harness (tests/proof/chaos.py): integrators with cores, load, faults, watch and judgement."""
