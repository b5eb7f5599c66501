"""Image sequences as strips of frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from latentphys.plotting.style import check_stretch


def plot_cine(
    images: xr.Dataset | xr.DataArray,
    truth: xr.DataArray | None = None,
    start_s: float = 0.0,
    stop_s: float | None = None,
    frames: int = 8,
) -> Any:
    """Draw frames side by side: what was recorded, the imputed mean, and its standard deviation.

    Args:
        images: what `FittedModel.impute` gives of one record's images, or images themselves.
        truth: images on the same grid, as `FittedModel.filtered` gives them; None draws none.
        start_s, stop_s: the stretch to draw, seconds; 1 s when `stop_s` is left out.
        frames: how many of it, evenly spread.

    Returns:
        Matplotlib Axes, (row, frame).

    Raises:
        ArgumentError: a stretch outside the images.
    """
    import matplotlib.pyplot as plt

    stop_s = start_s + 1.0 if stop_s is None else stop_s
    rows: dict[str, xr.DataArray] = {} if truth is None else {"recorded": truth}
    if isinstance(images, xr.Dataset):
        rows |= {"mean": images["mean"], "sd": images["sd"]}
    else:
        rows["images"] = images
    rows = {name: _one_slice(row) for name, row in rows.items()}
    time = next(iter(rows.values()))["time"].values
    check_stretch(start_s, stop_s, float(time[0]), float(time[-1]))
    inside = np.flatnonzero((time >= start_s) & (time < stop_s))
    chosen = inside[np.unique(np.linspace(0, len(inside) - 1, frames).round().astype(int))]
    figure, axes = plt.subplots(
        len(rows),
        len(chosen),
        squeeze=False,
        figsize=(1.05 * len(chosen) + 0.9, 1.1 * len(rows) + 0.7),
        layout="constrained",
    )
    if isinstance(images, xr.Dataset):
        about = images.attrs
        figure.suptitle(f"{about['record']}: {about['modality']} given {about['given']}", size=10)
    bright = [row.isel(time=chosen).values for name, row in rows.items() if name != "sd"]
    low, high = np.nanpercentile(np.concatenate([b.ravel() for b in bright]), [1.0, 99.5])
    for drawn, (name, row) in zip(axes, rows.items(), strict=True):
        limits = {"vmin": 0.0} if name == "sd" else {"vmin": low, "vmax": high}
        if name == "sd":
            limits["vmax"] = float(np.nanmax(row.isel(time=chosen)))
        for ax, at in zip(drawn, chosen, strict=True):
            shown = ax.imshow(row.isel(time=at), cmap="magma" if name == "sd" else "gray", **limits)
            ax.set(xticks=[], yticks=[])
        drawn[0].set_ylabel(name)
        figure.colorbar(shown, ax=list(drawn), shrink=0.85, pad=0.01, aspect=12)
    for ax, at in zip(axes[-1], chosen, strict=True):
        ax.set_xlabel(f"{time[at]:.2f} s", fontsize=8)
    return axes


def _one_slice(images: xr.DataArray) -> xr.DataArray:
    """The middle slice of a stack."""
    return images.isel(slice=images.sizes["slice"] // 2) if "slice" in images.dims else images
