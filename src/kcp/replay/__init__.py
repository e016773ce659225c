"""Whole fleets under virtual time: a scenario of faults and users' acts, played from a seed, with invariants checked at every step."""
