"""The recurrent experiments at the papers' size: their parts, and what they show.

From the papers: 100 units, 1000 particles, K = 1 and the curriculum of the copy task (2023). Given
nowhere: the number of updates, the longest sequence, and T and K of the character model; rate and
noise are in the middle of the grids that the papers searched.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pes_rl.problems.character_model import CharacterModel
from pes_rl.problems.copy_task import CopyTask
from pes_rl.problems.text import penn_treebank
from pes_rl.reproductions.curriculum import Lesson, check
from pes_rl.reproductions.experiment import Paper, Report
from pes_rl.reproductions.figures import curve, panels
from pes_rl.reproductions.paper import Outcome, Part, Program, Spread
from pes_rl.reproductions.recurrent import POPULATIONS, Lane, Scheme
from pes_rl.styles import STYLES
from pes_rl.unrolled import LoopState
from pes_rl.unrolled.method import layout

HIDDEN, PARTICLES, SEEDS = 100, 1000, (0, 1, 2)
METHODS = ("truncated-bptt", "truncated-es", "pes", "es-single")
RATE, SIGMA = 1e-3, 1e-2
LONGEST, COPY_UPDATES = 100, 200_000
VOCABULARY, T, K, TEXT_UPDATES = 50, 1000, 10, 50_000
JUDGED, STREAMS = 20_000, 100  # held-out characters, read side by side


class State(NamedTuple):
    """The loop's state, and where a curriculum stands."""

    loop: Any
    lesson: Any


class Text(NamedTuple):
    """Symbols [L] to learn, and to be judged by."""

    train: Any
    held_out: Any


def program(
    scheme: Scheme,
    load: Callable[[], Any],
    problem: Callable[[Any, Any], Any],
    lesson: Callable[[Any], Any],
    look: Callable[[Any, Any, Any], tuple[Any, dict[str, Any]]],
) -> Callable[[Spread], Program]:
    """Make the program of a recurrent network in training.

    Args:
      scheme: the method.
      load: gives the data.
      problem: of the data and the lesson, with ``initial_theta``.
      lesson: ``(key) ->`` the first one.
      look: ``(data, theta, lesson) -> (lesson, seen)``.
    """

    def make(spread: Spread) -> Program:
        def loop(data: Any, lesson: Any):
            return scheme.loop(problem(data, lesson), Lane(0, RATE, SIGMA), spread)

        def init(data: Any, key: Any) -> State:
            theta_key, loop_key, lesson_key = jax.random.split(key, 3)
            first = lesson(lesson_key)
            theta = problem(data, first).initial_theta(theta_key)
            return State(loop(data, first).init(loop_key, theta), first)

        def update(data: Any, state: State):
            inner, metrics = loop(data, state.lesson).update(state.loop)
            return state._replace(loop=inner), metrics._asdict()

        def seen(data: Any, state: State):
            after, found = look(data, state.loop.theta, state.lesson)
            return state._replace(lesson=after), found

        own: Any = False
        if scheme.style in POPULATIONS:
            own = LoopState(False, False, layout())  # pyright: ignore[reportArgumentType]
        return Program(load(), init, update, seen, State(own, False))

    return make


def part(
    style: str,
    updates: int,
    horizon: int,
    segment: int,
    params: int,
    make: Any,
    records: int = 100,
    **settings: Any,
) -> Part:
    """One method; backpropagation is not spread over devices."""
    return Part(
        name=style,
        updates=updates,
        seeds=SEEDS,
        pairs=PARTICLES // 2 if style in POPULATIONS else 1,
        steps=PARTICLES * segment,
        flops=(6.0 if style == "truncated-bptt" else 2.0) * params,
        make=make(Scheme(style, PARTICLES, segment, horizon)),
        settings={"rate": RATE, "perturb_std": SIGMA, "hidden": HIDDEN, **settings},
        records=records,
    )


def copying(length: Any) -> CopyTask:
    """The papers' LSTM, which reads one-hot symbols."""
    return CopyTask(length, LONGEST, spread=5, hidden=HIDDEN, embedded=False)


def first_length(key: Any) -> Lesson:
    """The curriculum begins with one symbol."""
    # The key's numbers: a typed key is no array that could be saved.
    return Lesson(jnp.ones((), jnp.int32), jax.random.key_data(key))


def check_length(data: Any, theta: Any, lesson: Lesson):
    """Sequences grow by one where they are solved."""
    del data
    known = lesson._replace(key=jax.random.wrap_key_data(lesson.key))
    after, seen = check(copying(lesson.length), theta, known)
    return after._replace(key=jax.random.key_data(after.key)), seen._asdict()


def copy_parts() -> tuple[Part, ...]:
    """The copy task by every method; the lengths are looked at a thousand times."""

    def make(scheme: Scheme) -> Any:
        return program(
            scheme,
            lambda: (),
            lambda _, lesson: copying(lesson.length),
            first_length,
            check_length,
        )

    params, horizon = copying(1).num_params, 2 * LONGEST
    return tuple(
        part(style, COPY_UPDATES, horizon, 1, params, make, records=1000, longest=LONGEST)
        for style in METHODS
    )


def reading(ids: Any) -> CharacterModel:
    """An LSTM that reads a text."""
    return CharacterModel(ids, VOCABULARY, HIDDEN, horizon=T)


def load_text() -> Text:
    """The Penn Treebank; UserError, with where it belongs, if it is not there."""
    text = penn_treebank(VOCABULARY)
    held_out = text.held_out.ids[: JUDGED + 1]
    return Text(text.train.ids.astype("int32"), held_out.astype("int32"))


def text_parts() -> tuple[Part, ...]:
    """The character model by every method."""

    def look(data: Text, theta: Any, lesson: Any):
        bits = reading(data.held_out).bits_per_character(theta, STREAMS)
        return lesson, {"bits": bits}

    def make(scheme: Scheme) -> Any:
        return program(
            scheme, lambda: load_text(), lambda data, _: reading(data.train), lambda _: (), look
        )

    params = reading(jnp.zeros(2, jnp.int32)).num_params
    settings = {"text": "Penn Treebank", "vocabulary": VOCABULARY}
    return tuple(part(style, TEXT_UPDATES, T, K, params, make, **settings) for style in METHODS)


def conclude(
    outcomes: dict[str, Outcome], report: Report, *, name: str, quantity: str, longer: bool
) -> None:
    """Claims between complete parts, curves of all; ``longer`` says whether more is better."""
    ends = {
        style: one.column(quantity)[:, -1] * (1 if longer else -1)
        for style, one in outcomes.items()
        if one.complete
    }
    for better in ("pes", "es-single"):
        for worse in ("truncated-es", "truncated-bptt", "pes"):
            if better in ends and worse in ends and better != worse:
                mine, theirs = ends[better], ends[worse]
                show = [f"{abs(x).min():.3g} to {abs(x).max():.3g}" for x in (mine, theirs)]
                report.claim(
                    f"{STYLES[better].label} ends better than {STYLES[worse].label}, whatever the "
                    "seeds",
                    "Vicol et al. 2023",
                    f"{quantity} {show[0]} against {show[1]}",
                    mine.min() > theirs.max(),
                )
    drawn = {style: one for style, one in outcomes.items() if len(one.rows) > 1}
    if drawn:
        fig, (axis,) = panels(1, size=(5.6, 4.0))
        for style, one in drawn.items():
            steps = one.updates * one.part.steps
            curve(axis, steps, one.column(quantity), STYLES[style])
            axis.lines[-1].set(marker=STYLES[style].marker, markersize=5, markevery=0.15)
        axis.set(xlabel="steps unrolled", ylabel=quantity)
        axis.legend()
        report.figure(f"{name}-paper", fig)


COPYING = Paper(copy_parts, partial(conclude, name="copy-task", quantity="length", longer=True))
READING = Paper(
    text_parts, partial(conclude, name="character-model", quantity="bits", longer=False)
)
