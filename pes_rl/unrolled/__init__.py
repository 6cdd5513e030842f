"""Minimise an unrolled problem in one compiled loop, by evolution or by differentiating it."""

from pes_rl.unrolled.bptt import bptt
from pes_rl.unrolled.loop import (
    History,
    Loop,
    LoopState,
    episode_gradients,
    make_loop,
    minimize,
    summed_gradients,
)
from pes_rl.unrolled.method import Method, Metrics, evolution
from pes_rl.unrolled.pes_analytic import pes_analytic
from pes_rl.unrolled.rtrl import rtrl
from pes_rl.unrolled.truncated_bptt import truncated_bptt
from pes_rl.unrolled.uoro import uoro

__all__ = [
    "History",
    "Loop",
    "LoopState",
    "Method",
    "Metrics",
    "bptt",
    "episode_gradients",
    "evolution",
    "make_loop",
    "minimize",
    "pes_analytic",
    "rtrl",
    "summed_gradients",
    "truncated_bptt",
    "uoro",
]
