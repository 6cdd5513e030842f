"""An environment of one's own, by Gymnasium's rules: python examples/own_environment.py

Or, in this folder: pes-rl train --env own_environment:Thermostat --env-kwargs '{"draught": 0.5}'
"""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

import pes_rl


class Thermostat(gymnasium.Env):
    """Hold a room at its target by heating or cooling, with a window that may be open.

    Args:
      draught: what the open window takes in each env step, in degrees.
    """

    observation_space = Dict(excess=Box(-np.inf, np.inf), window=Box(0.0, 1.0))
    action_space = Box(-1.0, 1.0)  # from full cooling to full heating

    def __init__(self, draught: float = 0.3):
        self.draught = draught

    def reset(self, *, seed=None, options=None):
        """Some degrees off, the window open or shut."""
        super().reset(seed=seed)
        self.excess, self.window = self.np_random.normal(0, 2), float(self.np_random.random() < 0.5)
        return self._observe(), {}

    def step(self, action):
        """What is lost is the distance to the target; it never ends by itself."""
        self.excess += float(action[0]) - self.draught * self.window
        return self._observe(), -abs(self.excess), False, False, {}

    def _observe(self):
        values = {"excess": self.excess, "window": self.window}
        return {name: np.array([value], np.float32) for name, value in values.items()}


if __name__ == "__main__":
    # By its name, by which other programs find it too; the class itself will do here.
    run = pes_rl.train(
        "own_environment:Thermostat",
        env_kwargs={"draught": 0.5},
        horizon=30,  # it has no time limit of its own
        num_env_steps=20_000,
        num_threads=1,
        segment_length=10,
        perturb_std=0.1,
        learning_rate=0.01,
        normalize_observations=False,  # it is held where it is 0, not where it was on average
        eval_every=2_000,
    )
    returns = [row["eval/episode_return"] for row in run.metrics if "eval/episode_return" in row]
    print(f"return {returns[0]:.1f} after the first evaluation, {returns[-1]:.1f} after the last")
