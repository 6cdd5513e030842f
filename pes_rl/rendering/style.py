"""How pictures look: bright air, one key light, a quiet floor that fades into the distance."""

# MuJoCo's type stubs leave out most of its names.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import copy
from typing import Any

import numpy as np

# RGB, 0 to 255.
_AIR = np.array([233.0, 238.0, 243.0])
_TILES = np.array([[190.0, 200.0, 210.0], [214.0, 221.0, 228.0]])

_KEY_DIRECTION = np.array([0.29, 0.41, -0.86])
_KEY_DIFFUSE, _KEY_SPECULAR = 0.55, 0.15
_SHADOW = np.array([96.0, 103.0, 111.0])
_SLICES, _STACKS = 20, 8  # facets of a sphere
_THICKNESS = 1e-3  # of a shadow, metres
_FLOOR = 18.0  # half the side of the floor, in reaches


def restyled(model: Any, reach: float, endless: bool = False, samples: int = 4) -> Any:
    """A copy of a ``mujoco.MjModel`` in the colours and light that all pictures have.

    Floors end, in mist, some way beyond ``reach`` (metres around the subject), or never. Offscreen
    each pixel is drawn from so many ``samples``.
    """
    import mujoco

    model = copy.copy(model)
    half = _FLOOR * reach
    for plane in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE):
        _lay_floor(model, plane, 0.0 if endless else half)
    visual = model.vis
    visual.quality.offsamples, visual.quality.shadowsize = samples, 0
    visual.quality.numslices, visual.quality.numstacks = _SLICES, _STACKS
    visual.map.fogstart, visual.map.fogend = (
        0.2 * half / model.stat.extent,
        half / model.stat.extent,
    )
    # By itself the view ends at what is far for the model's first pose, wherever it goes.
    visual.map.zfar = max(visual.map.zfar, visual.map.fogend)
    visual.rgba.fog[:] = [*_AIR / 255, 1]
    visual.headlight.active = 1
    visual.headlight.ambient[:], visual.headlight.diffuse[:] = 0.35, 0.25
    visual.headlight.specular[:] = 0.1
    model.light_diffuse[:], model.light_specular[:] = _KEY_DIFFUSE, _KEY_SPECULAR
    return model


def illuminate(scene: Any, model: Any, subject: np.ndarray) -> None:
    """Light a ``mujoco.MjvScene`` at ``subject`` [3]; add shadows and a backdrop."""
    import mujoco

    flags, names = scene.flags, mujoco.mjtRndFlag
    flags[names.mjRND_REFLECTION], flags[names.mjRND_SKYBOX], flags[names.mjRND_FOG] = 0, 0, 1
    _recenter_floors(scene, model, subject)
    scene.nlight = 2  # the first is the headlight
    key = scene.lights[1]
    key.headlight, key.type, key.castshadow = 0, mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, 0
    key.dir[:], key.pos[:] = _KEY_DIRECTION, subject - 4 * _KEY_DIRECTION
    key.ambient[:], key.diffuse[:], key.specular[:] = 0, _KEY_DIFFUSE, _KEY_SPECULAR
    _cast_shadows(scene)
    _hang_backdrop(scene, model)


def _pixels(model: Any, texture: Any) -> np.ndarray:
    """The pixels of a texture, [height, width, channels], as a view."""
    shape = (model.tex_height[texture], model.tex_width[texture], model.tex_nchannel[texture])
    start = model.tex_adr[texture]
    return model.tex_data[start : start + np.prod(shape)].reshape(shape)


def _lay_floor(model: Any, plane: Any, half: float) -> None:
    """Make a plane bright, its texture (if it has one) soft, and its sides 2 ``half`` long.

    With 0 it never ends; it is then tessellated finely, which takes longer than all the rest.
    """
    size, material = model.geom_size[plane], model.geom_matid[plane]
    if material < 0:
        model.geom_rgba[plane] = [*_TILES.mean(0) / 255, 1]
    else:
        model.geom_rgba[plane] = model.mat_rgba[material] = 1
        model.mat_reflectance[material] = model.mat_specular[material] = 0
        if (size[:2] > 0).all() and not model.mat_texuniform[material]:
            model.mat_texrepeat[material] /= 2 * size[:2]  # from repeats to repeats per metre
            model.mat_texuniform[material] = 1
        for texture in model.mat_texid[material]:
            if texture >= 0:
                pixels = _pixels(model, texture)
                grey = pixels[..., :3].mean(-1)
                rank = (grey - grey.min()) / max(1, np.ptp(grey))
                pixels[..., :3] = _TILES[0] + rank[..., None] * (_TILES[1] - _TILES[0])
    size[:] = half


def _recenter_floors(scene: Any, model: Any, subject: np.ndarray) -> None:
    """Move level floors along under the subject, by whole repeats of their texture."""
    for geom in scene.geoms[: scene.ngeom]:
        if _is_floor(geom):
            repeats = model.mat_texrepeat[geom.matid] if geom.matid >= 0 else np.ones(2)
            step = 1 / np.maximum(repeats, 1e-6)
            geom.pos[:2] += np.round((subject[:2] - geom.pos[:2]) / step) * step


def _is_floor(geom: Any) -> bool:
    import mujoco

    return geom.type == mujoco.mjtGeom.mjGEOM_PLANE and geom.mat[2, 2] > 0.999


def _cast_shadows(scene: Any) -> None:
    """Squash a dark copy of every geom onto the floor below, along the key light.

    On a flat floor that is what a shadow map gives, with sharper edges and in half the time.
    """
    import mujoco

    kinds = range(mujoco.mjtGeom.mjGEOM_SPHERE.value, mujoco.mjtGeom.mjGEOM_MESH.value + 1)
    geoms = [scene.geoms[i] for i in range(scene.ngeom)]
    heights = [float(g.pos[2]) for g in geoms if _is_floor(g)]
    if not heights:
        return
    ground = max(heights)
    casters = [g for g in geoms if g.type in kinds and g.pos[2] > ground and g.rgba[3] > 0.5]
    casters = casters[: scene.maxgeom - scene.ngeom - 1]  # one place is the backdrop's
    squash = np.eye(3)
    squash[:, 2] = -_KEY_DIRECTION / _KEY_DIRECTION[2]
    squash[2, 2] = _THICKNESS
    for geom in casters:
        shadow = scene.geoms[scene.ngeom]
        base = np.array([0, 0, ground])
        pos = base + squash @ (np.array(geom.pos, np.float64) - base)
        pos[2] += 2 * _THICKNESS  # above the floor
        mujoco.mjv_initGeom(
            shadow,
            geom.type,
            np.zeros(3),
            pos,
            (squash @ np.array(geom.mat, np.float64)).ravel(),
            np.array([*_SHADOW / 255, 1], np.float32),
        )
        shadow.size[:] = geom.size
        shadow.dataid, shadow.category = geom.dataid, mujoco.mjtCatBit.mjCAT_DECOR
        shadow.specular, shadow.emission = 0, 0
        scene.ngeom += 1


def _hang_backdrop(scene: Any, model: Any) -> None:
    """Put a wall of air far behind everything: without a sky MuJoCo draws black."""
    import mujoco

    camera = scene.camera[0]
    forward, up = np.array(camera.forward), np.array(camera.up)
    axes = np.stack([np.cross(forward, up), up, -forward], axis=1)
    distance = 0.9 * model.vis.map.zfar * model.stat.extent
    wall = scene.geoms[scene.ngeom]
    mujoco.mjv_initGeom(
        wall,
        mujoco.mjtGeom.mjGEOM_BOX,
        np.array([2 * distance, 2 * distance, 1e-3 * distance]),
        np.array(camera.pos) + distance * forward,
        axes.ravel(),
        np.array([*_AIR / 255, 1], np.float32),
    )
    wall.category = mujoco.mjtCatBit.mjCAT_DECOR
    wall.emission, wall.specular = 1, 0
    scene.ngeom += 1
