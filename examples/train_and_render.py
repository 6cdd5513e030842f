"""Train a policy, score it, and watch it in a browser: python examples/train_and_render.py"""

import pes_rl

run = pes_rl.train("InvertedPendulum", num_env_steps=10_000, eval_every=2_000)
score = pes_rl.evaluate(run, episodes=10)
low, high = score["episode_return_interval"]
print(f"return {score['episode_return_mean']:.0f} on unseen starts, 95 % interval {low} to {high}")
page = pes_rl.render(run, "pendulum.html")  # or .mp4, .gif and .png, which need OpenGL
print(f"{page['file']}: {page['episode_length']} env steps, to be opened in a browser")
