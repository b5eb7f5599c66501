"""An imputed sensor: its mean, its interval, and the truth where there is one."""

from __future__ import annotations

from typing import Any

import xarray as xr

from latentphys.plotting.cine import plot_cine
from latentphys.plotting.style import MODEL, TRUTH, check_stretch, ends, not_of_one, panels, span
from latentphys.recordings.record import Record


def plot_imputation(
    imputed: xr.Dataset | xr.DataTree,
    truth: Record | xr.DataArray | None = None,
    start_s: float = 0.0,
    stop_s: float | None = None,
    draws: int = 0,
) -> Any:
    """Draw what `FittedModel.impute` gives for one record.

    Args:
        imputed: Dataset with mean, lower and upper; of images it is drawn by `plot_cine`.
        truth: the record, or the signal itself (channel, time); None draws no truth.
        start_s, stop_s: the stretch to draw, seconds; 16 s, of images 1 s, when `stop_s` is left
            out.
        draws: how many of the draws to show besides, as thin lines; of signals only.

    Returns:
        Matplotlib Axes, (channel,).

    Raises:
        ArgumentError: results of several records, or a stretch outside the record.
    """
    if isinstance(imputed, xr.DataTree):  # one record's of a cohort's
        if not imputed.has_data:
            raise not_of_one(imputed, "plot_imputation")
        imputed = imputed.to_dataset()
    name, percent = imputed.attrs["modality"], 100 * imputed.attrs["level"]
    if "y" in imputed.dims:
        frames = truth.images.get(name) if isinstance(truth, Record) else truth
        return plot_cine(imputed, frames, start_s, stop_s)
    stop_s = start_s + 16.0 if stop_s is None else stop_s
    check_stretch(start_s, stop_s, *ends(imputed))
    if isinstance(truth, Record):
        truth = truth.signals.get(name)
    title = f"{imputed.attrs['record']}: {name} given {imputed.attrs['given'] or 'nothing'}"
    axes = panels(imputed.sizes["channel"], title, height=2.6)
    part = span(imputed, start_s, stop_s)
    for k, ax in enumerate(axes):
        at = part.isel(channel=k)
        ax.fill_between(
            at.time, at.lower, at.upper, color=MODEL, alpha=0.25, lw=0, label=f"{percent:g} %"
        )
        if draws:
            some = at["draws"].isel(sample=slice(draws)).transpose("time", "sample")
            ax.plot(at.time, some, color=MODEL, alpha=0.5, lw=0.6)
        ax.plot(at.time, at["mean"], color=MODEL, lw=1.6, label="mean")
        if truth is not None:
            ax.plot(at.time, span(truth, start_s, stop_s)[k], color=TRUTH, lw=1.0, label="recorded")
        ax.set_ylabel(f"{name} {at.channel.item()}\n[{at['mean'].attrs.get('units') or 'a.u.'}]")
    axes[0].legend(loc="upper right", ncols=3, frameon=False)
    axes[-1].set_xlim(start_s, stop_s)
    axes[-1].set_xlabel("time [s]")
    return axes
