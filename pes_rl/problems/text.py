"""Real English text that is on every machine: the reference manual inside Python itself."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np


class Corpus(NamedTuple):
    """Text as numbers: ids uint8 [L] into the symbols, a string whose first one is "unknown"."""

    ids: np.ndarray
    symbols: str


def python_manual(vocabulary: int = 50) -> Corpus:
    """The language reference that `help()` prints (``pydoc_data``), some 400 000 characters.

    Lower case, runs of blanks as one; the most common characters, the rarer ones as the unknown
    symbol. 50 symbols is the size of the Penn Treebank's character set. The text differs between
    Python versions.
    """
    from pydoc_data.topics import topics

    text = " ".join(" ".join(topics[name] for name in sorted(topics)).lower().split())
    common = [symbol for symbol, _ in Counter(text).most_common(vocabulary - 1)]
    index = {symbol: i + 1 for i, symbol in enumerate(common)}
    ids = np.fromiter((index.get(symbol, 0) for symbol in text), np.uint8, len(text))
    return Corpus(ids, "\N{REPLACEMENT CHARACTER}" + "".join(common))
