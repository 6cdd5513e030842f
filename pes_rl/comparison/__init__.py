"""Compare estimators over environments and seeds: runs, statistics with intervals, plots."""
