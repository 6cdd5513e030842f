"""Train until the task is solved, whenever that is: python examples/stop_when_solved.py"""

import pes_rl

run = pes_rl.train("InvertedPendulum", eval_every=2_000, stop_at="solved")
last = run.metrics[-1]
print(f"solved after {run.env_steps} env steps: return {last['eval/episode_return']:.0f},")
print(f"and {last['eval/confirmed_return']:.0f} on other episodes")
