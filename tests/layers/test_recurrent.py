import numpy as np
import pytest

from mri_zoo.layers.recurrent import ConvGRU, StateInitializer, repeat_borders


@pytest.mark.parametrize("size", [1, 2, 4])
def test_borders_are_repeated(rng, size):
    x = rng.standard_normal((2, 3, 5, 2)).astype("float32")
    expected = np.pad(x, ((0, 0), (size, size), (size, size), (0, 0)), mode="edge")
    np.testing.assert_array_equal(repeat_borders(x, size), expected)


def test_states_are_zero_at_first_and_remembered(rng):
    layer = ConvGRU(2, 4, 3)
    x = rng.standard_normal((2, 7, 5, 2)).astype("float32")
    y, states = layer(x)
    assert y.shape == (2, 7, 5, 2) and [state.shape for state in states] == [(2, 7, 5, 4)] * 3
    np.testing.assert_array_equal(layer(x, [np.zeros((2, 7, 5, 4), "float32")] * 3)[0], y)
    assert np.any(np.asarray(layer(x, states)[0]) != y)


def test_a_closed_update_gate_keeps_the_state(rng):
    layer = ConvGRU(2, 4, 2)
    x = rng.standard_normal((1, 7, 5, 2)).astype("float32")
    states = [rng.standard_normal((1, 7, 5, 4)).astype("float32") for _ in range(2)]
    layer(x)
    for gate in layer.update:
        gate.bias.assign(np.full(4, -1e3))
    for new, old in zip(layer(x, states)[1], states, strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)


def test_first_states_are_not_negative(rng):
    states = StateInitializer(3, 5, (4, 6), (1, 2), 2)(rng.standard_normal((1, 7, 5, 2)).astype("float32"))
    assert [state.shape for state in states] == [(1, 7, 5, 5)] * 3
    assert all(np.min(state) >= 0 for state in states)
