"""Distributions of durations: censored values count only up to their time, and are marked and counted."""

from __future__ import annotations

from math import log, sqrt

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot

from qcore.analysis.plotting.distribution_plot import BAND_GID, CENSORED_GID, CURVE_GID, plot_times
from qcore.analysis.plotting.survival import distribution
from qcore.analysis.spans import Span
from qcore.errors import ConfigError
from tests.analysis.pictures import check_figure, check_limits

mpl.use("Agg")

#: Weeks in remission with 6-MP (Freireich and others 1963), the usual example of the estimate.
FREIREICH = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
STILL_WELL = [0, 0, 0, 1, 0, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1]


def test_the_estimate_of_kaplan_and_meier_is_that_of_textbooks() -> None:
    known = distribution(FREIREICH, [bool(flag) for flag in STILL_WELL])
    survival = {t: round(1 - s, 3) for t, s in zip(known.times, known.shares, strict=True)}
    assert survival == {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    assert (known.quantile(0.5), known.quantile(0.9)) == (23, None)
    assert (known.count, len(known.censored), known.longest) == (21, 12, 35)
    # R: survfit(Surv(time, status) ~ 1, conf.type = "log-log")
    assert [round(1 - known.high[0], 3), round(1 - known.low[0], 3)] == [0.620, 0.952]


def test_without_censored_values_the_band_is_that_of_massart() -> None:
    known = distribution([4.0, 1.0, 3.0, 2.0])
    assert known.shares == (0.25, 0.5, 0.75, 1.0)
    margin = sqrt(log(40) / 8)
    assert known.high[0] == pytest.approx(0.25 + margin)
    assert known.low == tuple(max(0.0, share - margin) for share in known.shares)


def test_a_gap_that_did_not_end_is_marked_and_counted() -> None:
    spans = [Span(0, 100_000), Span(0, 300_000), Span(0, 200_000, is_censored=True)]
    ax = plot_times(spans)
    (curve,) = [line for line in ax.lines if line.get_gid() == CURVE_GID]
    assert [float(y) for y in np.asarray(curve.get_ydata())] == pytest.approx(
        [0, 100 / 3, 100, 100]
    )
    (tick,) = [line for line in ax.lines if line.get_gid() == CENSORED_GID]
    assert list(np.asarray(tick.get_xdata())) == [200.0]
    assert "3 runs, 1 not finished" in [text.get_text() for text in ax.texts]
    pyplot.close()


def test_a_curve_ends_below_100_percent_if_the_longest_are_censored() -> None:
    ax = plot_times([100.0, 200.0, 900.0], censored=[False, False, True])
    (curve,) = [line for line in ax.lines if line.get_gid() == CURVE_GID]
    assert float(np.asarray(curve.get_ydata())[-1]) == pytest.approx(200 / 3)
    assert float(np.asarray(curve.get_xdata())[-1]) == 900
    assert "99 %: not reached" in [text.get_text() for text in ax.texts]
    check_limits(ax)
    pyplot.close()


def test_curves_have_bands_counts_and_dashes_of_their_own() -> None:
    figure, ax = pyplot.subplots(figsize=(6, 3.4), layout="constrained")
    for number in range(3):
        values = [100.0 + 10 * number * rank for rank in range(30)]
        plot_times(values, ax, label=f"variant {number}", censored=[False] * 29 + [True])
    assert len([c for c in ax.collections if c.get_gid() == BAND_GID]) == 3
    curves = [line for line in ax.lines if line.get_gid() == CURVE_GID]
    assert len({str(line.get_color()) for line in curves}) == 3
    legend = ax.get_legend()
    assert legend is not None
    assert legend.get_texts()[2].get_text() == "variant 2, 30 runs, 1 not finished"
    figure.draw_without_rendering()
    check_figure(figure)
    pyplot.close(figure)


@pytest.mark.parametrize("censored", [[], [True, True]])
def test_nothing_that_ended_gives_a_flat_curve(censored: list[bool]) -> None:
    ax = plot_times([5.0] * len(censored), censored=censored)
    (curve,) = [line for line in ax.lines if line.get_gid() == CURVE_GID]
    assert not any(np.asarray(curve.get_ydata()))
    pyplot.close()


def test_marks_of_another_number_are_an_error() -> None:
    with pytest.raises(ConfigError, match="2 durations, but 1 marks"):
        distribution([1.0, 2.0], [True])
