"""Forecasts of jobs whose true times are known: fitted to samples of three sizes, as the agent fits them."""

from __future__ import annotations

from functools import cache

from flexmpi.models.forecast import MINIMUM_SAMPLES, SKIPPED, Forecast, Samples


@cache
def forecast_of(serial: float = 0.0, parallel: float = 1.0, sizes: tuple[int, ...] = (1, 2, 4)) -> Forecast:
    samples, iteration = Samples(), 0
    for size in sizes:
        for _ in range(MINIMUM_SAMPLES + SKIPPED):
            iteration += 1
            nodes = [f"node{number}" for number in range(size)]
            samples = samples.after(
                nodes, iteration=iteration, iteration_s=serial + parallel / size, now=float(iteration)
            )
    forecast = samples.forecast
    assert isinstance(forecast, Forecast)
    return forecast
