"""Environments: task definitions, and one runner per engine."""
