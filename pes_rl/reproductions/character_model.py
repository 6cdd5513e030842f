"""Character language model: an LSTM on real text, by backpropagation and by evolution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl.problems.character_model import CharacterModel
from pes_rl.problems.text import Split, has_penn_treebank, penn_treebank, python_manual_split
from pes_rl.reproductions.experiment import Experiment, Report
from pes_rl.reproductions.figures import curve, panels
from pes_rl.reproductions.recurrent import (
    POPULATIONS,
    RATES,
    SIGMAS,
    Course,
    Rows,
    Scheme,
    choose,
    program,
    reported,
)
from pes_rl.reproductions.recurrent_paper import READING
from pes_rl.styles import NOTE, STYLES

VOCABULARY, HIDDEN, T, K, PARTICLES = 28, 7, 100, 10, 100
SEARCHED, FULL, QUICK = 500_000, 3_000_000, 1_000_000  # unrolled steps of every training
CHECKS = 20  # looks at held-out text during a training
JUDGED, STREAMS = 20_000, 100  # held-out characters, read side by side
METHODS = ("truncated-bptt", "truncated-es", "pes", "es-single")
NO_NUMBER = "a question asked here, no published number at hand"


def choose_text() -> Split:
    """The Penn Treebank where it is at hand, else the text that is everywhere."""
    return (penn_treebank if has_penn_treebank() else python_manual_split)(VOCABULARY)


def model(ids: np.ndarray) -> CharacterModel:
    """An LSTM that reads a text."""
    return CharacterModel(jnp.asarray(ids, jnp.int32), VOCABULARY, HIDDEN, horizon=T)


def scheme(style: str) -> Scheme:
    """All methods read with as many particles, in equal segments."""
    return Scheme(style, PARTICLES, K, T)


def course(text: Split) -> Course:
    """One text to learn, judged by held-out text; there are no lessons."""
    writer, reader = model(text.train.ids), model(text.held_out.ids[: JUDGED + 1])
    bits = jax.jit(jax.vmap(lambda theta: reader.bits_per_character(theta, STREAMS)))
    return Course(lambda _: writer, lambda key: (), lambda theta, _: ((), bits(theta)))


def check_every(budget: int) -> int:
    """Updates between checks."""
    return budget // (PARTICLES * K * CHECKS)


def final_bits(rows: Rows) -> np.ndarray:
    """What the search minimises."""
    return rows.seen[:, -1]


def figure(tracks: dict[str, Rows], unigram: float):
    """Held-out bits per character against steps."""
    fig, (axis,) = panels(1, size=(5.6, 4.0))
    for name, rows in tracks.items():
        curve(axis, rows.steps[0], rows.seen, STYLES[name])
        axis.lines[-1].set(marker=STYLES[name].marker, markersize=5, markevery=0.15)
    axis.axhline(unigram, color="0.5", lw=0.8)
    axis.annotate(
        "entropy of single characters",
        (tracks["pes"].steps[0][-1], unigram),
        **NOTE,
        ha="right",
        va="bottom",
    )
    axis.set(xlabel="steps unrolled", ylabel="held-out bits per character", xscale="log")
    axis.legend()
    return fig


def judge(tracks: dict[str, Rows], unigram: float, report: Report) -> None:
    """The claims."""
    ends = {name: final_bits(rows) for name, rows in tracks.items()}

    def show(name: str) -> str:
        own = ends[name]
        return f"{STYLES[name].label} {own.mean():.3f} ({own.min():.3f} to {own.max():.3f})"

    for name in ("pes", "es-single"):
        report.claim(
            f"{STYLES[name].label} learns a character model without any derivative",
            NO_NUMBER,
            f"held-out bits per character, seeds' mean and range: {show(name)}; single "
            f"characters have {unigram:.3f}",
            ends[name].max() < unigram,
        )
    report.claim(
        "where derivatives are well behaved, truncated BPTT learns more from equal steps",
        "expected from a pair's variance, (P + 1) |g|^2: Vicol et al. 2023",
        "; ".join(map(show, tracks)),
        all(ends["truncated-bptt"].max() < ends[name].min() for name in POPULATIONS),
    )
    for other in ("pes", "truncated-es"):
        report.claim(
            f"ES-Single ends lower than {STYLES[other].label}, whatever the seeds",
            NO_NUMBER,
            f"{show('es-single')}; {show(other)}",
            ends["es-single"].max() < ends[other].min(),
        )


def run(quick: bool, report: Report) -> None:
    """Search, compute, draw, judge."""
    seeds, budget, search = (1, QUICK, None) if quick else (3, FULL, SEARCHED)
    text = choose_text()
    unigram = text.held_out.unigram_bits()
    report.note(f"{text.name}, {len(text.train.ids)} characters; SHA-256 {text.digests or 'none'}")
    report.setting(
        text=text.name,
        sha256=text.digests,
        vocabulary=VOCABULARY,
        hidden=HIDDEN,
        num_params=model(text.train.ids).num_params,
        horizon=T,
        segment_length=K,
        particles=PARTICLES,
        steps=budget,
        seeds=seeds,
        optimizer="adam",
        held_out_characters=JUDGED,
        search=search and {"rates": RATES, "sigmas": SIGMAS, "steps": search},
    )
    learning, tracks, searched, chosen = course(text), {}, {}, {}
    for style in METHODS:
        train = program(learning, scheme(style))
        rate, sigma, tried = choose(
            train, scheme(style), final_bits, check_every(SEARCHED), search, report
        )
        searched[style] = [one._asdict() for one in tried]
        chosen[style] = rate, sigma
        lanes = reported(rate, sigma, seeds)
        tracks[style] = train(lanes, check_every(budget), budget)[1]
        report.note(f"{style}: {final_bits(tracks[style]).round(3)} bits per character")
    report.setting(rate_and_sigma=chosen)
    report.result(
        unigram_bits=unigram,
        searched=searched,
        tracks={
            name: {"steps": rows.steps, "bits": rows.seen, "invalid_particles": rows.invalid[:, -1]}
            for name, rows in tracks.items()
        },
    )
    judge(tracks, unigram, report)
    report.figure("character-model", figure(tracks, unigram))


EXPERIMENT = Experiment(
    name="character-model",
    description="an LSTM reads text: backpropagation and evolution at equal steps",
    source="the LSTM on characters of Vicol et al. 2021, trained",
    minutes=3,
    run=run,
    paper=READING,
)
