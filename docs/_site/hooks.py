"""MkDocs' hooks: pages made from data, links that lead out of docs/, and a navigation to match."""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

import site_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)")
# Where files outside docs/ are shown, by their path from the root.
_SHOWN = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "configs": "tasks/index.md",
    "examples": "examples.md",
    "docs/tuning": "tuning/index.md",
}
_COPIED = ("CITATION.cff", "LICENSE")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Leave pages out of the navigation that are not there, and put those in that are made."""
    made = site_pages.sources()
    present = {*made, *(str(p.relative_to(ROOT / "docs")) for p in ROOT.glob("docs/**/*.md"))}
    config.nav = [entry for item in config.nav or [] for entry in _entries(item, present, made)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made, and the few files of the root that pages link to."""
    for source, make in site_pages.sources().items():
        files.append(File.generated(config, source, content=make()))
    for name in _COPIED:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links to files outside docs/ lead to the pages that show them."""
    return mended(markdown, page.file.src_uri)


def mended(markdown: str, source: str) -> str:
    """``markdown`` of the page ``source``, a path below docs/, its links leading to pages."""

    def mend(match: re.Match[str]) -> str:
        path = normpath(join("docs", dirname(source), match[1]))
        if path not in _SHOWN and not normpath(join(dirname(source), match[1])).startswith(".."):
            return match[0]  # within docs/ already, or no link but code
        return f"]({relpath(_shown(path), dirname(source) or '.')}"

    return _LINK.sub(mend, markdown)


def _shown(path: str) -> str:
    """The path below docs/ where the file ``path``, from the root, is shown."""
    if path in _SHOWN:
        return _SHOWN[path]
    if path.startswith("examples/"):
        return f"examples.md#{Path(path).stem}"
    return path.removeprefix("docs/")


def _entries(item: Any, present: set[str], made: dict[str, Any]) -> list[Any]:
    """What an item of the navigation becomes: nothing, itself, or the pages of a made section."""
    if isinstance(item, str):
        return [item] if item in present else []
    [(title, value)] = item.items()
    if title == "made":
        return [source for source in made if dirname(source) == value and source.endswith(".md")]
    if isinstance(value, list):
        return [{title: [entry for one in value for entry in _entries(one, present, made)]}]
    return [item] if value in present else []
