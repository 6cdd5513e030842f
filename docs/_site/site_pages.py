"""The pages that are made from data: presets, cards of the zoo, comparisons, the README's table.

What only a person can say, a few lines a page, is in text.yaml beside this file.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml

import pes_rl
from pes_rl import zoo
from pes_rl.config import ESTIMATOR_NAMES, build_config
from pes_rl.config.sources import preset_source
from pes_rl.envs.registry import OFFICIAL

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_PRESET = ("num_pairs", "num_top_pairs", "perturb_std", "segment_length", "learning_rate")
_STAR = "* In an older comparison, on other seeds and with the presets of its time.\n"


def sources() -> dict[str, Callable[[], str | bytes]]:
    """What makes each file, by its path below docs/, in the order of the navigation."""
    return {
        "index.md": partial(page_of_the_root, "README.md"),
        "changelog.md": partial(page_of_the_root, "CHANGELOG.md"),
        "contributing.md": partial(page_of_the_root, "CONTRIBUTING.md"),
        **{f"estimators/{name}.md": partial(estimator, name) for name in ESTIMATOR_NAMES},
        "tasks/index.md": tasks,
        **{f"tasks/{name}.md": partial(task, name) for name in OFFICIAL},
        **{f"viewers/{name}.html": partial(viewer, name) for name in zoo.names()},
        "gallery.md": gallery,
        "examples.md": examples,
        "tuning/index.md": tuning,
    }


def page_of_the_root(name: str) -> str:
    """A page of the repository's root, whose links start there."""
    return re.sub(r"\]\((?!\w+:|#)", "](../", (ROOT / name).read_text(encoding="utf-8"))


def estimator(name: str) -> str:
    """The page of one estimator."""
    text = _text()["estimators"][name]
    parts = [
        f"# {name}\n\n{text['about']}",
        f'<p class="formula">{text["formula"]}</p>\n\n{text["where"]} Notation and proofs: '
        "[the estimators](../estimators.md).",
        f"```bash\npes-rl train --env {text['try']} --estimator {name}\n```",
        f"## When to use it\n\n{text['use']}",
        f"## When not\n\n{text['avoid']}",
        "## What it reached\n\n" + _results(lambda row: _plain(row[1]) == name),
        _curves(lambda _, summary: _has(summary, name)),
        "## Presets\n\nWhat `--estimator " + name + "` means on each task, unless flags say "
        "otherwise; the files themselves are on the tasks' pages.\n\n" + _presets(name),
        f"Source: {text['source']}. In Python: `pes_rl.estimators.{name.replace('-', '_')}` "
        "([API](../api.md#estimators)).",
    ]
    return "\n\n".join(parts) + "\n"


def task(name: str) -> str:
    """The page of one of the official tasks."""
    known, text = OFFICIAL[name], _text()["tasks"][name]
    solved = "-" if known.threshold is None else f"{known.threshold:g}"
    preset = ROOT / "pes_rl" / "config" / "presets" / f"{name}.yaml"
    default = build_config({"env": name})
    parts = [
        f"# {name}\n\n{text}",
        f"| Gymnasium's id | `{known.gymnasium_id}` |\n|---|---|\n"
        f"| observation, action | {known.observation_size} and {known.action_size} numbers |\n"
        f"| time limit | {known.horizon} env steps |\n| return that counts as solved | {solved} |\n"
        f"| engines | {', '.join(f'`{engine}`' for engine in known.engines)} |\n"
        f"| default estimator | [`{default.estimator}`](../estimators/{default.estimator}.md) |",
        f"```bash\npes-rl train --env {name}\n```",
        "## What it reaches\n\n" + _results(lambda row: row[0].split()[0].strip(",") == name),
        _curves(lambda _, summary: name in summary["environments"]),
        "## The policy that comes with it\n\n" + _policy(name),
        f"## Preset\n\nThat of the default estimator: {preset_source(default)}; "
        f"its first lines say where it comes from.\n\n```yaml\n{preset.read_text()}```",
    ]
    if (DOCS / "tuning" / f"{name}.md").exists():
        parts.append(f"[The search behind it](../tuning/{name}.md).")
    return "\n\n".join(parts) + "\n"


def tasks() -> str:
    """The table of tasks."""
    rows = [
        "| task | solved at | observation | action | default | policy |",
        "|---|---|---|---|---|---|",
    ]
    for name, known in OFFICIAL.items():
        default = build_config({"env": name}).estimator
        score = _score(name) if name in zoo.names() else "-"
        threshold = "-" if known.threshold is None else f"{known.threshold:g}"
        rows.append(
            f"| [{name}]({name}.md) | {threshold} | {known.observation_size} | {known.action_size} "
            f"| [{default}](../estimators/{default}.md) | {score} |"
        )
    return "# Tasks\n\n" + _text()["about_tasks"] + "\n\n" + "\n".join(rows) + "\n"


def gallery() -> str:
    """Every policy of the zoo, playing."""
    found = [f"## {name}\n\n{_policy(name, '')}" for name in zoo.names()]
    return "\n\n".join(["# Gallery", _text()["about_gallery"], *found]) + "\n"


def examples() -> str:
    """The programs of examples/, as they are."""
    parts = ["# Examples", "The programs of the folder `examples/`, which the tests run."]
    for path in sorted((ROOT / "examples").glob("*.py")):
        heading = f"## `{path.name}` {{#{path.stem}}}"
        parts.append(f"{heading}\n\n```python\n{path.read_text(encoding='utf-8')}```")
    return "\n\n".join(parts) + "\n"


def tuning() -> str:
    """The list of searches."""
    found = sorted(path.stem for path in (DOCS / "tuning").glob("*.md"))
    return "\n".join(
        ["# Searches behind the presets\n", *(f"- [{one}]({one}.md)" for one in found)]
    )


@cache  # `mkdocs serve` builds again and again
def viewer(name: str) -> bytes:
    """The page on which the zoo's policy ``name`` plays its episode."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        pes_rl.render(f"zoo/{name}", path)
        return path.read_bytes()


@cache
def _text() -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parent / "text.yaml").read_text(encoding="utf-8"))


@cache
def results() -> list[list[str]]:
    """The rows of the README's table: task, estimator, env steps, median, unseen seeds, median."""
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("| task (solved at) |")[1]
    lines = table.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _results(chosen: Callable[[list[str]], bool]) -> str:
    rows = [row for row in results() if chosen(row)]
    if not rows:
        return "Nothing yet: no comparison has run it. It trains, but nothing is claimed."
    lines = [
        "| task (solved at) | estimator | env steps to solved, every seed | median "
        "| on unseen seeds | median |",
        "|---|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |".replace("*", r"\*").replace(r"\*\*", "**") for row in rows),
    ]
    star = "\n" + _STAR.replace("*", r"\*") if any(row[1].endswith("*") for row in rows) else ""
    return (
        "\n".join(lines)
        + f"\n{star}\nHow these came about, and what they do not say: [results](../results.md)."
    )


def _plain(cell: str) -> str:
    return cell.removesuffix("*").strip()


@cache
def _comparisons() -> dict[str, dict[str, Any]]:
    """Every comparison's summary, by its folder below docs/; the folders of one task first."""
    found = sorted(DOCS.glob("comparison/**/summary.json"), key=lambda p: (-len(p.parts), str(p)))
    return {str(p.parent.relative_to(DOCS)): json.loads(p.read_text()) for p in found}


def _has(summary: dict[str, Any], name: str) -> bool:
    return any(name in env["estimators"] for env in summary["environments"].values())


def _curves(chosen: Callable[[str, dict[str, Any]], bool]) -> str:
    """The learning curves of the comparisons that are chosen."""
    parts = []
    for folder, summary in _comparisons().items():
        if not chosen(folder, summary):
            continue
        envs = ", ".join(summary["environments"])
        names = ", ".join(
            dict.fromkeys(n for e in summary["environments"].values() for n in e["estimators"])
        )
        seeds = summary["seeds"]
        parts.append(
            f"![Return of {names} against env steps on {envs}](../{folder}/plots/env_steps.svg)\n\n"
            f"{envs}: {names}, seeds {seeds[0]} to {seeds[-1]} "
            f"([all figures and tables](../{folder}/summary.md))."
        )
    return "\n\n".join(parts) or "There is no curve of it yet."


def _presets(name: str) -> str:
    lines = [
        f"| task | {' | '.join(f'`{one}`' for one in _PRESET)} |",
        "|---" * (len(_PRESET) + 1) + "|",
    ]
    for env in OFFICIAL:
        config = build_config({"env": env, "estimator": name})
        values = (getattr(config, one) for one in _PRESET)
        cells = " | ".join("-" if value is None else f"{value:g}" for value in values)
        lines.append(f"| [{env}](../tasks/{env}.md) | {cells} |")
    return "\n".join(lines)


def _score(name: str) -> str:
    score = zoo.card(name)["score"]
    return f"{score['episode_return_mean']:.0f} ± {score['episode_return_std']:.0f}"


def _policy(name: str, up: str = "../") -> str:
    """The zoo's policy for a task, playing in a frame, with its score and how it was made."""
    if name not in zoo.names():
        return "The zoo has no policy for this task yet."
    card = zoo.card(name)
    score = card["score"]
    page = f"{up}viewers/{name}.html"
    last = score["seed"] + score["episodes"] - 1
    return (
        f"`zoo/{name}`: return **{_score(name)}** (mean and standard deviation of "
        f"{score['episodes']} episodes, seeds {score['seed']} to {last}), "
        f"{card['num_parameters']} parameters, {card['env_steps']:,} env steps of\n\n"
        f"```bash\n{card['command']}\n```\n\n"
        f'<iframe class="viewer" src="{page}" title="{name} playing" loading="lazy"></iframe>\n\n'
        f"[On a page of its own]({page}); drag to look around. It is the best of its seeds, "
        "not a typical one."
    )
