"""Character language model: an LSTM on real text, by backpropagation and by evolution."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pes_rl.estimators import es_single, pes, truncated_es
from pes_rl.problems.character_model import CharacterModel
from pes_rl.problems.text import Split, has_penn_treebank, penn_treebank, python_manual_split
from pes_rl.reproductions.experiment import Experiment, Report
from pes_rl.reproductions.figures import STYLES, curve, panels
from pes_rl.unrolled import evolution, minimize, truncated_bptt

VOCABULARY, HIDDEN, T, K, PARTICLES = 40, 8, 100, 10, 100
QUICK, FULL = 1_000, 20_000  # updates of every method and seed
JUDGED, STREAMS = 20_000, 100  # held-out characters, read side by side
FACTORIES = {"es-single": es_single, "pes": pes, "truncated-es": truncated_es}
NO_NUMBER = "a question asked here, no published number at hand"


class Contestant(NamedTuple):
    """One method: style, learning rate of Adam, and sigma of a population."""

    style: str
    rate: float
    sigma: float = 0.0


CONTESTANTS = (
    Contestant("truncated-bptt", 1e-2),
    Contestant("truncated-es", 1e-2, 0.1),
    Contestant("pes", 1e-2, 0.1),
    Contestant("es-single", 1e-2, 0.1),
)


class Track(NamedTuple):
    """Of S seeds at R moments: steps unrolled, held-out bits per character; invalid in all."""

    steps: np.ndarray
    bits: np.ndarray
    invalid: int


def choose_text() -> Split:
    """The Penn Treebank where it is at hand, else the text that is everywhere."""
    return (penn_treebank if has_penn_treebank() else python_manual_split)(VOCABULARY)


def follow(one: Contestant, text: Split, seeds: int, updates: int, records: int) -> Track:
    """Train, and judge the unperturbed network on held-out text along the way."""
    model = CharacterModel(jnp.asarray(text.train.ids, jnp.int32), VOCABULARY, HIDDEN, T)
    if one.style == "truncated-bptt":
        method = truncated_bptt(model, K, T, num_particles=PARTICLES)
    else:
        method = evolution(model, FACTORIES[one.style](PARTICLES // 2, one.sigma, K, T))
    keys = jax.random.split(jax.random.key(0), seeds)
    theta = jnp.stack([model.initial_theta(key) for key in keys])
    optimizer = optax.adam(one.rate)
    history = minimize(method, optimizer, theta, range(seeds), updates, records=records)
    held_out = jnp.asarray(text.held_out.ids[: JUDGED + 1], jnp.int32)
    reader = CharacterModel(held_out, VOCABULARY, HIDDEN, T)

    def bits(thetas: jax.Array) -> jax.Array:
        return jax.lax.map(lambda theta: reader.bits_per_character(theta, STREAMS), thetas)

    flat = jnp.asarray(history.theta).reshape(-1, model.num_params)
    found = np.asarray(jax.jit(bits)(flat)).reshape(history.theta.shape[:2])
    return Track(history.steps, found, int(history.invalid.sum()))


def figure(tracks: dict[str, Track], unigram: float):
    """Held-out bits per character against steps."""
    fig, (axis,) = panels(1, size=(5.6, 4.0))
    for style, track in tracks.items():
        curve(axis, track.steps[0][1:], track.bits[:, 1:], STYLES[style])
        axis.lines[-1].set(marker=STYLES[style].marker, markersize=5, markevery=0.15)
    axis.axhline(unigram, color="0.5", lw=0.8)
    axis.annotate(
        "entropy of single characters",
        (tracks["pes"].steps[0][-1], unigram),
        fontsize=8,
        color="0.35",
        ha="right",
        va="bottom",
    )
    axis.set(xlabel="steps unrolled", ylabel="held-out bits per character", xscale="log")
    axis.legend()
    return fig


def judge(tracks: dict[str, Track], unigram: float, report: Report) -> None:
    """The claims."""

    def show(style: str) -> str:
        ends = tracks[style].bits[:, -1]
        return f"{STYLES[style].label} {ends.mean():.3f} ({ends.min():.3f} to {ends.max():.3f})"

    means = {style: track.bits[:, -1].mean() for style, track in tracks.items()}
    for style in ("pes", "es-single"):
        report.claim(
            f"{STYLES[style].label} learns a character model without any derivative",
            NO_NUMBER,
            f"held-out bits per character, seeds' mean and range: {show(style)}; single "
            f"characters have {unigram:.3f}",
            tracks[style].bits[:, -1].max() < unigram,
        )
    report.claim(
        "where derivatives are well behaved, truncated BPTT learns more from equal steps",
        "a pair's variance is (P + 1) |g|^2: Vicol et al. 2023, section 3.1",
        "; ".join(map(show, tracks)),
        means["truncated-bptt"] == min(means.values()),
    )
    for other in ("pes", "truncated-es"):
        report.claim(
            f"ES-Single ends lower than {STYLES[other].label}",
            NO_NUMBER,
            f"{show('es-single')}; {show(other)}",
            means["es-single"] < means[other],
        )


def run(quick: bool, report: Report) -> None:
    """Compute, draw, judge."""
    seeds, updates = (1, QUICK) if quick else (3, FULL)
    text = choose_text()
    unigram = text.held_out.unigram_bits()
    report.note(f"{text.name}, {len(text.train.ids)} characters; SHA-256 {text.digests or 'none'}")
    report.setting(
        text=text.name,
        sha256=text.digests,
        vocabulary=VOCABULARY,
        hidden=HIDDEN,
        horizon=T,
        segment_length=K,
        particles=PARTICLES,
        updates=updates,
        seeds=seeds,
        optimizer="adam",
        held_out_characters=JUDGED,
        contestants={c.style: c._asdict() for c in CONTESTANTS},
    )
    tracks = {}
    for one in CONTESTANTS:
        tracks[one.style] = track = follow(one, text, seeds, updates, 20 if quick else 50)
        report.note(f"{one.style}: {track.bits[:, -1].round(3)} bits per character")
    report.result(
        unigram_bits=unigram, tracks={style: track._asdict() for style, track in tracks.items()}
    )
    judge(tracks, unigram, report)
    report.figure("character-model", figure(tracks, unigram))


EXPERIMENT = Experiment(
    name="character-model",
    description="an LSTM reads text: backpropagation and evolution at equal steps",
    source="the LSTM on characters of Vicol et al. 2021, trained",
    minutes=15,
    run=run,
)
