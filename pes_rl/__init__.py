"""Train control policies with online evolution strategies."""

__version__ = "0.1.0"
