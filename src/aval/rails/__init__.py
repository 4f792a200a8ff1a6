"""The networks that make the final move: the sandbox, and an integrator's own core over HTTP."""
