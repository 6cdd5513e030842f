"""Experiments at the papers' sizes: in parts that are predicted, resumed and run alone.

`part` says what a part is, `programs` makes the usual ones, `engine` compiles one for the devices
there are, `run` runs it in a folder.
"""

from pes_rl.reproductions.paper.part import Outcome, Part, Program, Spread
from pes_rl.reproductions.paper.programs import images, judged, population, random_search

__all__ = [
    "Outcome",
    "Part",
    "Program",
    "Spread",
    "images",
    "judged",
    "population",
    "random_search",
]
