"""Score a saved policy in the official Gymnasium environment, or on its engine if there is none."""

from pes_rl.evaluation.score import evaluate

__all__ = ["evaluate"]
