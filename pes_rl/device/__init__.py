"""Training as one program on accelerators: environments written in JAX, pairs spread over devices.

`population` unrolls the pairs for one segment, `update` makes it one compiled function with the
estimator, the optimiser and the normaliser, `trainer` is what a run drives.
"""
