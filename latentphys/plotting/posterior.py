"""The posterior state over time, with what is known of heart and breath beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from latentphys.plotting.style import MODEL, TRUTH, check_stretch, ends, not_of_one, panels, span
from latentphys.recordings.record import Record

BESIDE = ("hr", "pulse", "resp_rate")


def plot_posterior(
    posterior: xr.DataTree,
    record: Record | None = None,
    start_s: float = 0.0,
    stop_s: float | None = None,
    latents: int = 4,
) -> Any:
    """Draw the latent state as an image and its liveliest dimensions with two-sd bands.

    Args:
        posterior: what `FittedModel.posterior` gives for one record.
        record: the record, for its heart and breathing rates (measured or simulated).
        start_s, stop_s: the stretch to draw, seconds; 30 s when `stop_s` is left out.
        latents: how many dimensions to draw as lines.

    Returns:
        Matplotlib Axes: the image, the lines, then one panel a rate.

    Raises:
        ArgumentError: results of several records, or a stretch outside the record.
    """
    stop_s = start_s + 30.0 if stop_s is None else stop_s
    if "posterior" not in getattr(posterior, "children", ()):
        raise not_of_one(posterior, "plot_posterior")
    whole = posterior["posterior"].to_dataset()
    check_stretch(start_s, stop_s, *ends(whole))
    state = span(whole, start_s, stop_s)
    rates, latents = _rates(record, start_s, stop_s), min(latents, state.sizes["latent"])
    title = f"{state.attrs['record']}: posterior state given {state.attrs['given'] or 'nothing'}"
    axes = panels(1 + latents + len(rates), title, height=1.2)
    mean, sd, time = state.z_mean.values, state.z_sd.values, state.time.values
    limit = float(np.quantile(np.abs(mean), 0.99))
    axes[0].imshow(
        mean.T,
        aspect="auto",
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
        extent=(time[0], time[-1], mean.shape[1] - 0.5, -0.5),
    )
    axes[0].set_ylabel("latent")
    liveliest = np.argsort(mean.var(0) / (sd**2).mean(0))[::-1][:latents]
    for ax, k in zip(axes[1 : 1 + latents], liveliest, strict=True):
        band = mean[:, k] - 2 * sd[:, k], mean[:, k] + 2 * sd[:, k]
        ax.fill_between(time, *band, color=MODEL, alpha=0.25, lw=0)
        ax.plot(time, mean[:, k], color=MODEL, lw=1.0)
        ax.set_ylabel(f"z[{k}]")
    for ax, (name, at, values) in zip(axes[1 + latents :], rates, strict=True):
        ax.plot(at, values, color=TRUTH, lw=1.2)
        ax.set_ylabel(f"{name}\n[1/min]")
    axes[-1].set_xlim(start_s, stop_s)
    axes[-1].set_xlabel("time [s]")
    return axes


def _rates(
    record: Record | None, start_s: float, stop_s: float
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Heart and breathing rates known of a record: (name, time, values)."""
    if record is None:
        return []
    if record.truth is not None:
        truth = span(record.truth, start_s, stop_s)
        names = ("heart_rate", "breathing_rate")
        found = [(n, truth.time.values, truth[n].values) for n in names if n in truth]
        if found:
            return found
    found = []
    for name in BESIDE:
        if name in record.signals:
            signal = span(record.signals[name], start_s, stop_s)
            found.append((name, signal.time.values, signal.values[0]))
    return found
