"""Tags of the random streams: one each, so that no two draws of a run ever share a key."""

NOISE, STAGGER, RESET, ENVIRONMENT, EVALUATION, BASELINE, LANE = range(7)
