"""Presets: one YAML file per environment."""
