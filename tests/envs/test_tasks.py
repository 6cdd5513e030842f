"""Every task equals Gymnasium's: step by step, in its resets, and in JAX as in NumPy."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pes_rl.envs.task import Task
from pes_rl.envs.tasks import TASKS, make_task
from tests.tools.oracle import PlainBackend, Trajectory, load_model, make_env, record, replay

NUM_STARTS = 20
MAX_STEPS = 300
TERMINATING = {
    "Hopper",
    "Walker2d",
    "Ant",
    "Humanoid",
    "InvertedPendulum",
    "InvertedDoublePendulum",
}

every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
NO_FORCES = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0}
VARIANTS = TASKS | {
    "endless Hopper": make_task("Hopper", {"terminate_when_unhealthy": False}),
    "low Hopper": make_task("Hopper", {"healthy_z_range": [0.7, 1.3]}),
    "Ant without forces": make_task("Ant", NO_FORCES | {"terminate_when_unhealthy": False}),
    "Humanoid without forces": make_task("Humanoid", NO_FORCES),
}
every_variant = pytest.mark.parametrize("task", VARIANTS.values(), ids=VARIANTS.keys())


@cache
def trajectories(task: Task, wild: bool) -> list[Trajectory]:
    env = make_env(task)
    steps = min(20 if wild else MAX_STEPS, task.horizon)
    return [record(env, seed, steps, wild) for seed in range(NUM_STARTS)]


def draws(task: Task, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((n, task.num_uniforms)), rng.standard_normal((n, task.num_normals))


def some_states(task: Task, n: int) -> tuple[SimpleNamespace, np.ndarray, np.ndarray]:
    """Data after three random steps, what was tracked before the last one, and its action."""
    backend = PlainBackend(task, n)
    backend.reset(*task.reset(np, backend.model, *draws(task, n, seed=5)))
    rng = np.random.default_rng(6)
    for _ in range(3):
        before = backend.before
        action = rng.uniform(*backend.model.actuator_ctrlrange.T, (n, backend.model.nu))
        backend.step(action, np.ones(n, bool))
    return backend.stacked(), before, action


def evaluate(task, xp, model, data, before, action) -> tuple:
    return (
        task.observe(xp, model, data),
        task.track(xp, model, data),
        *task.reward(xp, model, before, data, action),
    )


# --- step by step ---------------------------------------------------------------------------------


@every_task
def test_steps_equal_gymnasium(task):
    paths = trajectories(task, wild=False)
    replay(PlainBackend(task, NUM_STARTS), paths)
    assert any(path.terminated[-1] for path in paths) == (task.name in TERMINATING)


@every_task
def test_steps_equal_gymnasium_from_wild_states(task):
    replay(PlainBackend(task, NUM_STARTS), trajectories(task, wild=True))


def test_the_oracle_sees_the_branches_it_should():
    """The comparison above would be hollow if clipping were never reached."""

    def seen(name: str, wild: bool) -> np.ndarray:
        return np.concatenate([path.observations for path in trajectories(TASKS[name], wild)])

    for name in ("Hopper", "Walker2d", "InvertedDoublePendulum"):
        assert np.abs(seen(name, wild=True)).max() == 10.0
    assert np.abs(seen("Ant", wild=False)[:, 27:]).max() == 1.0
    for name in ("Humanoid", "HumanoidStandup"):
        assert 5e-7 * (seen(name, wild=True)[:, -78:] ** 2).sum(-1).max() > 10.0


ABOVE, BELOW = np.inf, -np.inf


def beyond(bound: float, direction: float) -> float:
    return float(np.nextafter(bound, direction))


@pytest.mark.parametrize(
    ("name", "field", "index", "value", "healthy"),
    [
        ("Hopper", "qpos", 1, 0.7, False),
        ("Hopper", "qpos", 1, beyond(0.7, ABOVE), True),
        ("Hopper", "qpos", 2, 0.2, False),
        ("Hopper", "qpos", 2, beyond(-0.2, ABOVE), True),
        ("Hopper", "qpos", 0, 1e6, True),
        ("Hopper", "qpos", 5, -100.0, False),
        ("Hopper", "qvel", 0, 100.0, False),
        ("Hopper", "qvel", 5, beyond(100.0, BELOW), True),
        ("Hopper", "qvel", 3, np.nan, False),
        ("Walker2d", "qpos", 1, 0.8, False),
        ("Walker2d", "qpos", 1, beyond(2.0, BELOW), True),
        ("Walker2d", "qpos", 1, 2.0, False),
        ("Walker2d", "qpos", 2, -1.0, False),
        ("Walker2d", "qpos", 2, np.nan, False),
        ("Walker2d", "qvel", 0, 1e6, True),
        ("Ant", "qpos", 2, 0.2, True),
        ("Ant", "qpos", 2, beyond(0.2, BELOW), False),
        ("Ant", "qpos", 2, 1.0, True),
        ("Ant", "qpos", 2, beyond(1.0, ABOVE), False),
        ("Ant", "qpos", 7, np.inf, False),
        ("Ant", "qvel", 13, np.nan, False),
        ("Humanoid", "qpos", 2, 1.0, False),
        ("Humanoid", "qpos", 2, 2.0, False),
        ("Humanoid", "qpos", 2, beyond(2.0, BELOW), True),
        ("InvertedPendulum", "qpos", 1, -0.2, True),
        ("InvertedPendulum", "qpos", 1, beyond(0.2, ABOVE), False),
        ("InvertedPendulum", "qvel", 0, np.inf, False),
        ("InvertedDoublePendulum", "site_xpos", (0, 2), 1.0, False),
        ("InvertedDoublePendulum", "site_xpos", (0, 2), beyond(1.0, ABOVE), True),
    ],
)
def test_termination_at_the_very_bounds(name, field, index, value, healthy):
    task = TASKS[name]
    env = make_env(task).unwrapped
    env.reset(seed=0)
    data, action = env.data, np.zeros(env.model.nu)
    before = task.track(np, env.model, data)
    getattr(data, field)[index] = value
    _, terminated = task.reward(np, env.model, before, data, action)
    assert bool(terminated) is not healthy
    if hasattr(env, "is_healthy"):
        assert bool(env.is_healthy) is healthy


# --- resets ---------------------------------------------------------------------------------------


class Prescribed:
    """Stands in for Gymnasium's generator and hands out given standard draws in order."""

    def __init__(self, uniforms: np.ndarray, normals: np.ndarray):
        self.uniforms, self.normals = list(uniforms), list(normals)

    def uniform(self, low: float, high: float, size: int) -> np.ndarray:
        return low + (high - low) * np.array([self.uniforms.pop(0) for _ in range(size)])

    def standard_normal(self, size: int) -> np.ndarray:
        return np.array([self.normals.pop(0) for _ in range(size)])


@pytest.mark.parametrize("kwargs", [{}, {"reset_noise_scale": 0.3}], ids=["default", "0.3"])
@pytest.mark.parametrize("name", sorted(TASKS.keys() - {"Reacher", "Pusher"}))
def test_reset_equals_gymnasium_given_the_same_draws(name, kwargs):
    """Where Gymnasium rejects no draws its reset is a function of them, and ours is the same."""
    task = make_task(name, kwargs)
    env = make_env(task, **kwargs).unwrapped
    uniforms, normals = draws(task, 10, seed=1)
    for u, z in zip(uniforms, normals, strict=True):
        env.np_random = Prescribed(u, z)
        env.reset()
        assert not env.np_random.uniforms and not env.np_random.normals
        qpos, qvel = task.reset(np, env.model, u, z)
        np.testing.assert_allclose(qpos, env.data.qpos, rtol=0, atol=1e-15)
        np.testing.assert_allclose(qvel, env.data.qvel, rtol=0, atol=1e-15)


# 221 state coordinates, 2 radii and 3057 pairs of coordinates are tested, each at level ALPHA: with
# our distributions equal to Gymnasium's, fresh seeds would fail any of these tests with probability
# below 1e-6. The seeds here are fixed.
ALPHA = 1e-6 / 3300
NUM_GYM_RESETS, NUM_OUR_RESETS = 3000, 20_000


def start_state(task: Task, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    """Positions, velocities, and where the goal's or cylinder's place is joint, its radius."""
    columns = [qpos, qvel]
    if task.name == "Reacher":
        columns.append(np.hypot(qpos[:, 2:3], qpos[:, 3:4]))
    if task.name == "Pusher":
        columns.append(np.hypot(qpos[:, 7:8], qpos[:, 8:9]))
    return np.concatenate(columns, axis=1)


@cache
def our_starts(task: Task) -> np.ndarray:
    state = task.reset(np, load_model(task), *draws(task, NUM_OUR_RESETS, seed=2))
    return start_state(task, *state)


@every_task
def test_reset_distribution_is_gymnasiums(task):
    env = make_env(task).unwrapped
    env.reset(seed=3)
    states = []
    for _ in range(NUM_GYM_RESETS):
        env.reset()
        states.append((env.data.qpos.copy(), env.data.qvel.copy()))
    theirs = start_state(task, *map(np.array, zip(*states, strict=True)))
    ours = our_starts(task)
    for column in range(theirs.shape[1]):
        if np.ptp(theirs[:, column]) == 0.0:
            assert set(ours[:, column]) == set(theirs[:, column]), column
        else:
            result = stats.ks_2samp(ours[:, column], theirs[:, column], method="asymp")
            assert result.pvalue > ALPHA, (column, result)


@every_task
def test_reset_coordinates_are_uncorrelated(task):
    """Marginals alone would not notice one draw used twice."""
    ours = our_starts(task)[:, : sum(state_sizes(task))]
    ours = ours[:, np.ptp(ours, axis=0) > 0.0]
    correlation = np.corrcoef(ours.T) - np.eye(ours.shape[1])
    bound = stats.norm.isf(ALPHA / 2.0) / np.sqrt(NUM_OUR_RESETS)
    assert np.abs(correlation).max() < bound


def state_sizes(task: Task) -> tuple[int, int]:
    model = load_model(task)
    return model.nq, model.nv


@pytest.mark.parametrize("name", ["Reacher", "Pusher"])
def test_rejection_free_places_stay_in_bounds(name):
    ours = our_starts(TASKS[name])
    if name == "Reacher":
        assert ours[:, -1].max() < 0.2
    else:
        assert ours[:, -1].min() > 0.17
        assert ours[:, 7].min() >= -0.3 and ours[:, 7].max() <= 0.0
        assert np.abs(ours[:, 8]).max() <= 0.2


# --- pure functions over a namespace --------------------------------------------------------------


@every_task
def test_specification_equals_gymnasiums(task):
    env = make_env(task)
    assert TASKS[task.name] is task
    assert task.gymnasium_id == f"{task.name}-v5"
    assert env.observation_space.shape == (task.observation_size,)
    assert env.spec.max_episode_steps == task.horizon
    assert env.unwrapped.frame_skip == task.frame_skip
    assert env.unwrapped.fullpath.endswith(f"/{task.model_file}")
    assert task.contact_forces == ("cfrc_ext" in task.fields)


@every_variant
def test_jax_equals_numpy(task):
    model = load_model(task)
    n = 8
    uniforms, normals = draws(task, n, seed=4)
    data, before, action = some_states(task, n)

    def one(uniforms, normals, fields, before, action):
        reset = task.reset(jnp, model, uniforms, normals)
        return (*reset, *evaluate(task, jnp, model, SimpleNamespace(**fields), before, action))

    with jax.enable_x64(True):
        ours = jax.jit(jax.vmap(one))(uniforms, normals, vars(data), before, action)
    expected = (
        *task.reset(np, model, uniforms, normals),
        *evaluate(task, np, model, data, before, action),
    )
    for left, right in zip(ours, expected, strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12)


@every_variant
def test_any_batch_shape_gives_the_same_bits(task):
    """No lane's numbers depend on how many others there are or where it sits."""
    model = load_model(task)
    n = 12
    uniforms, normals = draws(task, n, seed=4)
    data, before, action = some_states(task, n)

    def run(take) -> tuple:
        fields = SimpleNamespace(**{name: take(value) for name, value in vars(data).items()})
        reset = task.reset(np, model, take(uniforms), take(normals))
        return *reset, *evaluate(task, np, model, fields, take(before), take(action))

    whole = run(lambda x: x)
    grid = run(lambda x: x.reshape(3, 4, *x.shape[1:]))
    single = run(lambda x: x[7])
    some = run(lambda x: x[5:8])
    for all_lanes, reshaped, lane, few in zip(whole, grid, single, some, strict=True):
        np.testing.assert_array_equal(all_lanes, reshaped.reshape(all_lanes.shape))
        np.testing.assert_array_equal(all_lanes[7], lane)
        np.testing.assert_array_equal(all_lanes[5:8], few)


@every_variant
def test_results_are_copies(task):
    """An engine steps its arrays in place, so nothing returned may be a view of them."""
    data, before, action = some_states(task, 2)
    results = evaluate(task, np, load_model(task), data, before, action)
    for result in results:
        for field in vars(data).values():
            assert not np.shares_memory(result, field)
