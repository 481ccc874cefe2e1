"""The least-squares fit that all models share, and the figures they answer with."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from flexmpi.models.estimate import LEAST_NOISE, Estimate, fit, non_negative, typical

quick = settings(derandomize=True, max_examples=100, deadline=None)
numbers = st.floats(-10, 10).map(lambda value: round(value, 3))


@quick
@given(
    st.integers(1, 4).flatmap(lambda n: st.tuples(arrays.arrays(float, (6, n), elements=numbers), st.just(n))),
    st.data(),
)
def test_the_non_negative_solution_is_that_of_lawson_and_hanson(shaped, data):
    matrix, unknowns = shaped
    full_rank = np.vstack([matrix, 0.1 * np.eye(unknowns)])
    values = data.draw(arrays.arrays(float, 6 + unknowns, elements=numbers))
    expected, residual = scipy.optimize.nnls(full_rank, values)
    found = non_negative(full_rank, values)
    assert np.all(found >= 0)
    assert np.linalg.norm(full_rank @ found - values) == pytest.approx(residual, abs=1e-8)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_fit_finds_coefficients_that_the_samples_show_whatever_the_prior_says():
    features = [[1.0, 1.0], [1.0, 0.5], [1.0, 0.25]]
    found = fit(features, [1.1, 0.6, 0.35], noise=[0.001] * 3, prior=[0.0, 5.0], prior_error=[1.0, 10.0])
    np.testing.assert_allclose(found.coefficients, [0.1, 1.0], atol=1e-4)
    assert found.at([1.0, 0.125]).error < 0.002


def test_the_prior_decides_what_the_samples_leave_open_and_the_error_says_that_it_is_open():
    found = fit([[1.0, 1.0]], [1.0], noise=[0.01], prior=[0.0, 1.0], prior_error=[0.2, 10.0])
    assert found.at([1.0, 1.0]).value == pytest.approx(1.0, abs=0.01)
    assert found.at([1.0, 1.0]).error < 0.02
    assert found.at([1.0, 0.1]).value == pytest.approx(0.1, abs=0.02)
    assert 0.1 < found.at([1.0, 0.1]).error < 0.3


@quick
@given(
    arrays.arrays(float, (5, 3), elements=st.floats(0, 1e6)),
    arrays.arrays(float, 5, elements=st.floats(0, 1e6)),
    arrays.arrays(float, 5, elements=st.floats(1e-12, 1e3)),
)
def test_a_fit_has_an_answer_however_sure_its_samples_are(features, targets, noise):
    found = fit(features, targets, noise=noise, prior=[1.0] * 3, prior_error=[10.0] * 3)
    assert np.all(np.isfinite(found.coefficients)) and np.all(found.coefficients >= 0)
    assert np.all(np.isfinite(found.covariance)) and np.all(np.diag(found.covariance) >= 0)


def test_samples_that_contradict_each_other_make_the_error_larger():
    calm = fit([[1.0]] * 4, [1.0, 1.0, 1.0, 1.0], noise=[0.01] * 4, prior=[1.0], prior_error=[10.0])
    wild = fit([[1.0]] * 4, [0.5, 1.5, 0.5, 1.5], noise=[0.01] * 4, prior=[1.0], prior_error=[10.0])
    assert wild.at([1.0]).error > 10 * calm.at([1.0]).error


def test_more_features_than_can_all_be_tried_are_refused():
    with pytest.raises(ValueError, match="at most 4 features, got 5"):
        fit([[1.0] * 5], [1.0], noise=[1.0], prior=[0.0] * 5, prior_error=[1.0] * 5)


def test_an_outlier_does_not_move_what_is_typical():
    value, error = typical([1.0, 1.01, 0.99, 1.0, 50.0], [1] * 5)
    assert value == 1.0
    assert LEAST_NOISE <= error < 0.03


def test_long_intervals_count_more_than_short_ones():
    assert typical([1.0, 1.0, 1.0, 2.0], [1, 1, 1, 10])[0] == 2.0


def test_one_measurement_is_trusted_to_the_least_noise_only():
    assert typical([2.0], [7]) == (2.0, 2.0 * LEAST_NOISE)


def test_what_is_partly_declared_counts_as_declared():
    total = Estimate(1.0, 0.3) + Estimate(2.0, 0.4, "declared")
    assert (total.value, total.error, total.source) == (3.0, 0.5, "declared")
    assert str(total) == "3 ± 0.5 (declared)"
    assert Estimate(2.0, 0.1).scaled(3.0) == Estimate(6.0, pytest.approx(0.3), "learnt")
