"""The papers' experiments, one module each: ``pes-rl reproduce NAME``.

A module declares ``EXPERIMENT``, an `pes_rl.reproductions.experiment.Experiment`, and is listed in
`pes_rl.reproductions.catalog`.
"""
