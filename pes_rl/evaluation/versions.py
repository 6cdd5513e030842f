"""The packages that a score depends on."""

from __future__ import annotations

from typing import Any

from pes_rl.envs.registry import resolve
from pes_rl.storage.run_folder import versions
from pes_rl.storage.saved_policy import SavedPolicy

_OFFICIAL = ("mujoco", "gymnasium", "numpy")
_OWN = ("jax", "jaxlib", "numpy")
_PACKAGES = {  # by what the names of a package's environments begin with
    "brax": ("brax",),
    "playground": ("playground", "mujoco", "mujoco-mjx"),
    "gymnax": ("gymnax",),
}


def scoring_versions(own: str | None = None) -> dict[str, str | None]:
    """The packages that a score depends on, in the official environment or in ``own``, a name."""
    packages = _OFFICIAL if own is None else (*_PACKAGES.get(own.partition("/")[0], ()), *_OWN)
    return {name: versions().get(name) for name in packages}


def version_changes(policy: SavedPolicy) -> list[str]:
    """What has changed since training of `scoring_versions`, as ``"mujoco 3.17.0 -> 3.18.0"``.

    So has, with the number of env steps, the time limit of a Gymnasium environment.
    """
    about, scoring = policy.environment, scoring_versions(own_name(policy))
    pairs: dict[str, Any] = {n: (policy.versions.get(n), now) for n, now in scoring.items()}
    if about["gymnasium_id"] is not None and "horizon" in about:
        made_with = about.get("kwargs"), about.get("wrappers")
        limit = resolve(about["gymnasium_id"], about["engine"], *made_with).horizon
        pairs["time limit"] = about["horizon"], limit or about["horizon"]
    return [f"{name} {old} -> {new}" for name, (old, new) in pairs.items() if old != new]


def own_name(policy: SavedPolicy) -> str | None:
    """The environment's name where no official one scores the policy."""
    return None if policy.environment["gymnasium_id"] else policy.environment["name"]
