"""From the folder of a finished comparison to its tables, texts and plots."""

from __future__ import annotations

from typing import Any

from pes_rl.comparison.export import curves_csv, results_csv, summary_json, summary_mapping
from pes_rl.comparison.plan import Plan
from pes_rl.comparison.plots import plot_returns
from pes_rl.comparison.report import summary_markdown
from pes_rl.comparison.result import PLOTS, gather
from pes_rl.comparison.store import Store
from pes_rl.storage.files import write_text_atomic


def write_outputs(plan: Plan, store: Store, timing: bool) -> dict[str, Any]:
    """Write every file of the result below ``store.root``; returns summary.json's content."""
    result = gather(plan, store, timing)
    texts = {
        "results.csv": results_csv(result),
        "curves.csv": curves_csv(result.curves),
        "summary.json": summary_json(result),
        "summary.md": summary_markdown(result),
    }
    for name, text in texts.items():
        write_text_atomic(store.root / name, text)
    for clock, name in PLOTS.items():
        stem = store.root / "plots" / name
        if clock == "seconds" and not timing:
            for suffix in (".png", ".svg"):
                stem.with_suffix(suffix).unlink(missing_ok=True)  # of an earlier comparison
            continue
        plot_returns(result.curves, clock, result.summary.thresholds, stem, result.summary.speeds)
    return summary_mapping(result)
