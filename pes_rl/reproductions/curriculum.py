"""The copy task's curriculum: sequences grow by one symbol whenever they are solved."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from pes_rl.problems.copy_task import CopyTask

SOLVED = 0.15  # bits per character at which the sequences grow
SEQUENCES = 64  # fresh ones, that the unperturbed network is looked at with


class Lesson(NamedTuple):
    """The length to learn, and the key of the checks to come."""

    length: jax.Array
    key: Any


class Seen(NamedTuple):
    """At every check: the length in training from here on, and the bits at the one before."""

    length: Any
    bits: Any


def check(task: CopyTask, theta: jax.Array, lesson: Lesson) -> tuple[Lesson, Seen]:
    """Look at the network, and go on to the next length or not."""
    key, own = jax.random.split(lesson.key)
    bits = task.bits_per_character(own, theta, SEQUENCES)
    grown = task.length + ((bits < SOLVED) & (task.length < task.longest))
    return Lesson(grown, key), Seen(grown, bits)
