"""Text as numbers: the manual inside Python itself, or a local copy of the Penn Treebank.

Nothing is downloaded. The Penn Treebank is looked for in the folder that the environment variable
``PES_RL_DATA`` names (``data`` without it), as Mikolov et al. (2010) prepared it:

    ptb/ptb.train.txt    ptb/ptb.valid.txt
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pes_rl.errors import UserError
from pes_rl.problems.datasets import data_folder
from pes_rl.problems.files import read_bytes

TREEBANK = ("ptb.train.txt", "ptb.valid.txt")


class Corpus(NamedTuple):
    """Text as numbers: ids uint8 [L] into the symbols, a string whose first one is "unknown"."""

    ids: np.ndarray
    symbols: str

    def unigram_bits(self) -> float:
        """Entropy of its symbols: bits per character of a model that reads nothing."""
        shares = np.bincount(self.ids) / len(self.ids)
        shares = shares[shares > 0]
        return float(-(shares * np.log2(shares)).sum())


class Split(NamedTuple):
    """One text to train on and one to judge by, with the same symbols.

    Attributes:
      name: where it comes from.
      train: to train on.
      held_out: to judge by.
      digests: SHA-256 of every file read, by file name.
    """

    name: str
    train: Corpus
    held_out: Corpus
    digests: dict[str, str]


def python_manual(vocabulary: int = 50) -> Corpus:
    """The language reference that `help()` prints (``pydoc_data``), some 400 000 characters.

    Lower case, runs of blanks as one; the most common characters, the rarer ones as the unknown
    symbol. 50 symbols is the size of the Penn Treebank's character set. The text differs between
    Python versions.
    """
    from pydoc_data.topics import topics

    text = _plain(" ".join(topics[name] for name in sorted(topics)))
    return encode(text, common(text, vocabulary))


def python_manual_split(vocabulary: int = 50) -> Split:
    """The manual, its last tenth held out."""
    corpus = python_manual(vocabulary)
    kept = len(corpus.ids) * 9 // 10
    train, held_out = corpus.ids[:kept], corpus.ids[kept:]
    return Split(
        "Python's language reference (pydoc_data.topics)",
        Corpus(train, corpus.symbols),
        Corpus(held_out, corpus.symbols),
        {},
    )


def has_penn_treebank() -> bool:
    """Whether its files are where they belong."""
    return all((data_folder() / "ptb" / name).is_file() for name in TREEBANK)


def penn_treebank(vocabulary: int = 50) -> Split:
    """The Penn Treebank's training and validation text, character by character.

    Symbols as in `python_manual`, the common ones of the training text. The files are plain text;
    their SHA-256 are in `Split.digests`.

    Raises:
      UserError: a file is missing, empty or not UTF-8 text; the message names it.
    """
    digests: dict[str, str] = {}
    train, held_out = (_read(data_folder() / "ptb" / name, digests) for name in TREEBANK)
    symbols = common(train, vocabulary)
    return Split("Penn Treebank", encode(train, symbols), encode(held_out, symbols), digests)


def common(text: str, vocabulary: int) -> str:
    """The unknown symbol and the most common characters, ``vocabulary`` in all at most."""
    most = (symbol for symbol, _ in Counter(text).most_common(vocabulary - 1))
    return "\N{REPLACEMENT CHARACTER}" + "".join(most)


def encode(text: str, symbols: str) -> Corpus:
    """Text as indices into the symbols; any other character is 0."""
    index = {symbol: i for i, symbol in enumerate(symbols)}
    return Corpus(
        np.fromiter((index.get(symbol, 0) for symbol in text), np.uint8, len(text)), symbols
    )


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _read(path: Path, digests: dict[str, str]) -> str:
    try:
        text = _plain(read_bytes(path, digests).decode())
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}); copy it again") from None
    if not text:
        raise UserError(f"{path} is empty; copy it again")
    return text
