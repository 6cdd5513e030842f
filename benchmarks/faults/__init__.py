"""Runs that are killed, damaged, interrupted: ``python -m benchmarks.faults --out DIR``.

One module a class of faults, each with ``run(tally, quick)``. What they share: `subjects` has tiny
runs whose compiled trainers children inherit by a fork, `operations` sees every file operation of a
child, and `tally` counts how cases end.
"""
