import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zfnet_jax.config import OptimizerConfig
from zfnet_jax.training.optimizer import (
    cap_filters,
    make_optimizer,
    observe,
    rate_schedule,
    rate_state,
)
from zfnet_jax.zfnet.architecture import Architecture, Conv, Dense
from zfnet_jax.zfnet.model import ZFNet
from zfnet_jax.zfnet.trace import Params

ARCH = Architecture(
    "two",
    (
        Conv("conv1", features=5, size=3),
        Conv("conv2", features=4, size=2),
        Dense("fc3", features=None, relu=False, dropout=0.0),
    ),
    input_size=6,
)
KERNELS = ARCH.kernel_shapes(3)


def random_tree(rng: np.random.Generator, scale: float = 0.05) -> Params:
    return {
        name: {
            "kernel": jnp.float32(rng.normal(0, scale, shape)),
            "bias": jnp.float32(rng.normal(0, scale, shape[-1:])),
        }
        for name, shape in KERNELS.items()
    }


def rms(kernel: jax.Array) -> np.ndarray:
    return np.sqrt(np.mean(np.float64(kernel) ** 2, axis=(0, 1, 2)))


def test_updates_are_the_formula():
    config = OptimizerConfig(
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=0.01,
        filter_cap=0.0,
        schedule="cosine",
        warmup_steps=2,
    )
    rng = np.random.default_rng(0)
    tx = make_optimizer(config, ARCH, total_steps=8)
    params = random_tree(rng)
    state = tx.init(params)
    expected = jax.tree.map(np.float64, params)
    velocity = jax.tree.map(np.zeros_like, expected)
    for step in range(8):
        # A rate inside the velocity would differ, since it changes from step to step.
        rate = 0.1 * step / 2 if step < 2 else 0.05 * (1 + math.cos(math.pi * (step - 2) / 6))
        gradients = random_tree(rng)
        for name, kinds in gradients.items():
            for kind, gradient in kinds.items():
                decay = 0.01 * expected[name][kind] if kind == "kernel" else 0
                velocity[name][kind] = 0.9 * velocity[name][kind] + np.float64(gradient) + decay
                expected[name][kind] = expected[name][kind] - rate * velocity[name][kind]
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        assert rate_state(state).rate == pytest.approx(rate, rel=1e-6)
        assert rate_state(state).updates == step + 1
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), params, expected
        )


@given(
    seed=st.integers(0, 999),
    start=st.sampled_from([0.0, 0.05, 0.2]),
    exponent=st.integers(-3, 12),
)
def test_no_filter_exceeds_the_cap_after_any_update(seed, start, exponent):
    rng = np.random.default_rng(seed)
    tx = make_optimizer(OptimizerConfig(), ARCH, total_steps=9)
    params = random_tree(rng, start)
    state = tx.init(params)
    for _ in range(3):
        updates, state = tx.update(random_tree(rng, 10.0**exponent), state, params)
        params = optax.apply_updates(params, updates)
        for name in ("conv1", "conv2"):
            assert rms(params[name]["kernel"]).max() <= 0.1 * (1 + 1e-6)


def test_the_cap_rescales_what_exceeds_it_and_nothing_else():
    rng = np.random.default_rng(1)
    params = random_tree(rng)
    updates = random_tree(rng, 0.01)
    updates["conv1"]["kernel"] = updates["conv1"]["kernel"].at[..., 2].multiply(100)
    updates["conv1"]["bias"] = jnp.full(5, 7.0)
    updates["fc3"]["kernel"] = jnp.full(KERNELS["fc3"], 7.0)
    cap = cap_filters({"conv1": 0.1, "conv2": 0.1})
    capped, _ = cap.update(updates, cap.init(params), params)
    over = params["conv1"]["kernel"] + updates["conv1"]["kernel"]
    after = params["conv1"]["kernel"] + capped["conv1"]["kernel"]
    assert (rms(over) > 0.1).tolist() == [False, False, True, False, False]
    assert rms(after)[2] == pytest.approx(0.1, rel=1e-6)
    direction = np.asarray(after[..., 2] / over[..., 2])
    np.testing.assert_allclose(direction, direction.mean(), rtol=1e-4)  # Rescaled, not turned.
    expected = jax.tree.map(np.array, updates)
    expected["conv1"]["kernel"][..., 2] = capped["conv1"]["kernel"][..., 2]
    jax.tree.map(np.testing.assert_array_equal, capped, expected)


def test_the_cap_is_the_configured_one():
    params = random_tree(np.random.default_rng(2), 1.0)
    zeros = jax.tree.map(jnp.zeros_like, params)
    for limit, expected in ((0.3, 0.3), (0.0, None)):
        config = OptimizerConfig(filter_cap=limit, weight_decay=0.0)
        tx = make_optimizer(config, ARCH, total_steps=9)
        updates, _ = tx.update(zeros, tx.init(params), params)
        if expected is None:
            assert not any(np.any(leaf) for leaf in jax.tree.leaves(updates))
        else:
            after = optax.apply_updates(params, updates)["conv2"]["kernel"]
            np.testing.assert_allclose(rms(after), expected, rtol=1e-6)


@pytest.mark.parametrize("others", [0.3, 0.0])
def test_the_first_layer_may_have_a_cap_of_its_own(others):
    params = random_tree(np.random.default_rng(2), 1.0)
    zeros = jax.tree.map(jnp.zeros_like, params)
    config = OptimizerConfig(filter_cap=others, first_layer_cap=0.2, weight_decay=0.0)
    tx = make_optimizer(config, ARCH, total_steps=9)
    after = optax.apply_updates(params, tx.update(zeros, tx.init(params), params)[0])
    np.testing.assert_allclose(rms(after["conv1"]["kernel"]), 0.2, rtol=1e-6)
    expected = others or rms(params["conv2"]["kernel"])
    np.testing.assert_allclose(rms(after["conv2"]["kernel"]), expected, rtol=1e-6)


def test_the_cap_needs_the_parameters():
    cap = cap_filters({"conv1": 0.1})
    with pytest.raises(ValueError, match="expected the parameters, got None"):
        cap.update({}, cap.init({}))


# The learning rate


def scales(config: OptimizerConfig, errors: list[float]) -> list[float]:
    """The rate's scale after each epoch of a run with these validation errors."""
    tx = make_optimizer(config, ARCH, total_steps=9)
    state, scales = tx.init(random_tree(np.random.default_rng(0))), []
    for epoch, error in enumerate(errors):
        before = jax.tree.structure(state)
        state = observe(state, error, config)
        assert jax.tree.structure(state) == before
        assert rate_state(state).epochs == epoch + 1
        scales.append(float(rate_state(state).scale))
    return scales


def test_plateaus_lower_the_rate_after_patience_and_again_after_as_long():
    config = OptimizerConfig(patience=2, factor=0.5)
    errors = [0.5, 0.4, 0.4, 0.41, 0.42, 0.4, 0.3, 0.35, 0.3]
    assert scales(config, errors) == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


def test_a_better_error_starts_the_wait_again():
    config = OptimizerConfig(patience=3, factor=0.5)
    assert scales(config, [0.5, 0.6, 0.6, 0.4, 0.6, 0.6, 0.6]) == [1, 1, 1, 1, 1, 1, 0.5]


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_other_schedules_do_not_look_at_the_error(schedule):
    assert scales(OptimizerConfig(patience=1, schedule=schedule), [0.5] * 4) == [1, 1, 1, 1]


def test_the_lowered_rate_is_that_of_the_next_update():
    config = OptimizerConfig(learning_rate=0.02, patience=1, factor=0.5)
    tx = make_optimizer(config, ARCH, total_steps=9)
    params = random_tree(np.random.default_rng(0))
    state = tx.init(params)
    _, state = tx.update(params, state, params)
    assert rate_state(state).rate == pytest.approx(0.02)
    for error in (0.5, 0.5):
        state = observe(state, error, config)
    _, state = tx.update(params, state, params)
    assert rate_state(state).rate == pytest.approx(0.01)


def rates(total_steps: int, steps: list[int], **fields) -> list[float]:
    schedule = rate_schedule(OptimizerConfig(learning_rate=0.4, **fields), total_steps)
    return [float(schedule(step)) for step in steps]


@pytest.mark.parametrize("schedule", ["plateau", "constant"])
def test_the_rate_is_constant_by_itself(schedule):
    assert rates(10, [0, 5, 99], schedule=schedule) == pytest.approx([0.4] * 3)


def test_the_cosine_falls_to_zero_at_the_end():
    by_step = rates(100, [0, 25, 50, 75, 100], schedule="cosine")
    half = 2**-0.5
    expected = [0.4, 0.2 * (1 + half), 0.2, 0.2 * (1 - half), 0]
    assert by_step == pytest.approx(expected, abs=1e-7)


def test_the_warmup_rises_from_zero_and_the_cosine_ends_as_before():
    by_step = rates(110, [0, 5, 10, 60, 110], schedule="cosine", warmup_steps=10)
    assert by_step == pytest.approx([0, 0.2, 0.4, 0.2, 0], abs=1e-7)


def test_a_run_shorter_than_its_warmup_has_a_rate():
    assert rates(5, [0, 5], schedule="cosine", warmup_steps=10) == pytest.approx([0, 0.2])


# The first layer's rate


def test_a_first_layer_rate_of_one_over_the_variance_is_a_net_that_reads_unit_deviation():
    """Dividing pictures by d and multiplying the first kernel by d leaves the net as it is."""
    d, rng = 60.0, np.random.default_rng(4)
    pictures = jnp.float32(rng.normal(0, d, (8, 6, 6, 3)))
    wide = random_tree(rng, 0.3)
    wide["conv1"]["kernel"] = wide["conv1"]["kernel"] / d
    unit = {**wide, "conv1": {**wide["conv1"], "kernel": wide["conv1"]["kernel"] * d}}
    model = ZFNet(ARCH, 3)

    def train(params: Params, pictures: jax.Array, rate: float) -> Params:
        config = OptimizerConfig(
            learning_rate=0.05,
            weight_decay=0.0,
            filter_cap=0.0,
            first_layer_rate=rate,
            schedule="constant",
        )
        tx = make_optimizer(config, ARCH, total_steps=5)

        @jax.jit
        def step(params: Params, state: optax.OptState) -> tuple[Params, optax.OptState]:
            loss = lambda params: jnp.square(
                model.apply({"params": params}, pictures)[0] - 1
            ).mean()
            updates, state = tx.update(jax.grad(loss)(params), state, params)
            return optax.apply_updates(params, updates), state

        state = tx.init(params)
        for _ in range(5):
            params, state = step(params, state)
        return params

    scaled, expected = train(wide, pictures, d**-2), train(unit, pictures / d, 1.0)
    expected["conv1"]["kernel"] = expected["conv1"]["kernel"] / d
    for name in KERNELS:
        for kind in ("kernel", "bias"):
            before, after = wide[name][kind], expected[name][kind]
            assert np.any(before != after)
            scale = float(jnp.abs(after - before).max())
            np.testing.assert_allclose(scaled[name][kind], after, rtol=0, atol=1e-4 * scale)


def test_the_first_layer_rate_is_the_first_kernel_s_alone():
    params = random_tree(np.random.default_rng(0))
    whole, slower = (
        make_optimizer(OptimizerConfig(filter_cap=0.0, first_layer_rate=rate), ARCH, total_steps=5)
        for rate in (1.0, 0.25)
    )
    expected, _ = whole.update(params, whole.init(params), params)
    updates, _ = slower.update(params, slower.init(params), params)
    expected["conv1"]["kernel"] = 0.25 * expected["conv1"]["kernel"]
    jax.tree.map(np.testing.assert_array_equal, updates, expected)
