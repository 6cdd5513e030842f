"""Which of several episodes is shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from pes_rl.config.checks import MOST_EPISODES
from pes_rl.config.values import count
from pes_rl.errors import UserError, shown, suggest
from pes_rl.storage.saved_policy import SavedPolicy

FIRST = "first"
PICKS = (FIRST, "best", "median", "worst")
USUAL_EPISODES = 20


def check_pick(pick: Any, episodes: Any) -> int:
    """How many episodes there are to pick from; UserError where these settings make no sense."""
    if pick not in PICKS:
        hint = suggest(str(pick), PICKS) or f"; choose from {', '.join(PICKS)}"
        raise UserError(f"unknown pick {shown(pick)}{hint}")
    if pick == FIRST:
        if episodes is not None:
            raise UserError("episodes are what pick chooses from; add --pick best, median or worst")
        return 1
    return count("episodes", USUAL_EPISODES if episodes is None else episodes, 1, MOST_EPISODES)


def picked_seed(policy: SavedPolicy, pick: str, episodes: int, seed: int) -> int:
    """The seed of the episode with that return among those that `evaluate` plays from ``seed`` on.

    Of an even number the median is the lower one in the middle. Raises UserError where all episodes
    broke down.
    """
    if pick == FIRST:
        return seed
    from pes_rl.evaluation.score import episode_returns

    returns = episode_returns(policy, episodes, seed)
    ranked = np.argsort(returns, kind="stable")[: np.isfinite(returns).sum()]  # NaN is last
    if not len(ranked):
        raise UserError(f"all {episodes} episodes broke down; leave pick {pick!r} out to see one")
    place = {"worst": 0, "median": (len(ranked) - 1) // 2, "best": -1}[pick]
    return seed + int(ranked[place])
