"""An inspection in pictures: whose rhythm each number keeps, what moving it does, where z rests."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentphys.plotting.style import MODEL, TRUTH
from latentphys.trust.inspection.result import Inspection

SHADES = "Blues"
DOWN, UP = "#d1603d", MODEL


def plot_inspection(inspection: Inspection, latents: int = 3) -> Any:
    """Above: what each number goes with, its spectrum, what it moves, and how the state turns.

    Below: sensors where a number is moved by one standard deviation down and up, a row for each
    of the numbers that move sensors most.

    Args:
        inspection: from `FittedModel.inspect`.
        latents: rows below.

    Returns:
        Matplotlib Axes: (4,) above, and (latent, sensor) below.
    """
    import matplotlib.pyplot as plt

    data = inspection["latent"]
    sensors = [str(name) for name in data.modality.values]
    most = np.argsort(-data.effect.max("modality").values)[:latents]
    figure = plt.figure(figsize=(13.0, 4.2 + 1.35 * len(most)), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[4.2, 1.35 * len(most)])
    above, below = parts
    top = above.subplots(1, 4, width_ratios=[1.0, 1.4, 0.8, 1.2])
    order = np.argsort(data.peak_hz.values, kind="stable")
    _goes_with(top[0], data.isel(latent=order))
    _spectra(top[1], data.isel(latent=order))
    _effects(top[2], data.isel(latent=order), sensors)
    _turning(top[3], inspection)
    rows = below.subplots(len(most), len(sensors), squeeze=False, sharex=True)
    for row, latent in zip(rows, most, strict=True):
        for ax, name in zip(row, sensors, strict=True):
            _curves(ax, inspection[f"traversal/{name}"].curve.isel(latent=int(latent)))
        row[0].set_ylabel(f"z{int(latent)}", rotation=0, ha="right", va="center")
    for ax, name in zip(rows[0], sensors, strict=True):
        ax.set_title(f"{name} [its sd]", fontsize=10)
    for ax in rows[-1]:
        ax.set_xlabel("seconds", fontsize=8)
    handles, labels = rows[0, 0].get_legend_handles_labels()
    below.legend(handles, labels, frameon=False, fontsize=8, ncols=3, loc="outside lower center")
    return top, rows


def _image(ax: Any, values: np.ndarray, latents: np.ndarray, **look: Any) -> Any:
    """Rows of numbers, named down the side."""
    shown = ax.imshow(values, aspect="auto", interpolation="nearest", **look)
    every = max(1, len(latents) // 16)
    ax.set_yticks(range(0, len(latents), every), [f"z{k}" for k in latents[::every]], fontsize=7)
    return shown


def _goes_with(ax: Any, data: Any) -> None:
    """Shares told by phases, then the strongest loading on each label."""
    columns, names = [], []
    if "rhythm_share" in data:
        columns += list(data.rhythm_share.values.T)
        names += [f"{name} phase" for name in data.rhythm.values]
    if "loading" in data:
        size = np.abs(data.loading)
        columns += list(size.max("summary").values.T)
        names += [
            f"{str(label).replace('_', ' ')}\n(chance {float(chance):.2f})"
            for label, chance in zip(data.label.values, data.loading_by_chance.values, strict=True)
        ]
    if not columns:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "no recordings:\nnothing to go with", ha="center", va="center")
        return
    shown = _image(ax, np.stack(columns, 1), data.latent.values, cmap=SHADES, vmin=0.0, vmax=1.0)
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=7)
    ax.set_title("goes with (share, |r|)", fontsize=10)
    ax.figure.colorbar(shown, ax=ax, shrink=0.6)


def _spectra(ax: Any, data: Any) -> None:
    """Shares of power over log frequency."""
    hertz, share = data.frequency_hz.values, data.spectrum.values
    power = share * hertz  # a share per octave, so that slow and fast are seen alike
    power = power / np.maximum(power.max(1, keepdims=True), 1e-12)
    rows = np.arange(len(power) + 1) - 0.5
    edges = np.concatenate([[hertz[0] / 2], np.sqrt(hertz[1:] * hertz[:-1]), [hertz[-1]]])
    ax.pcolormesh(edges, rows, power, cmap=SHADES, vmin=0.0, vmax=1.0)
    ax.plot(data.peak_hz, np.arange(len(power)), ".", color=DOWN, ms=5, label="peak")
    ax.set(xscale="log", ylim=(len(power) - 0.5, -0.5), yticks=[], xlabel="Hz")
    ax.set_title("spectrum, per octave", fontsize=10)
    ax.legend(frameon=False, fontsize=7, loc="lower left")


def _effects(ax: Any, data: Any, sensors: list[str]) -> None:
    shown = _image(ax, data.effect.values, data.latent.values, cmap=SHADES, vmin=0.0)
    ax.set_xticks(range(len(sensors)), sensors, fontsize=8)
    ax.set_title("1 sd of it moves [sd]", fontsize=10)
    ax.figure.colorbar(shown, ax=ax, shrink=0.6)


def _turning(ax: Any, inspection: Inspection) -> None:
    """Eigenvalues at the fixed points in the unit circle; the named ones turn."""
    data = inspection["transition"]
    circle = np.linspace(0.0, 2.0 * np.pi, 200)
    ax.plot(np.cos(circle), np.sin(circle), color="0.8", lw=0.8)
    ax.axhline(0.0, color="0.9", lw=0.8, zorder=0)
    for k in range(min(data.sizes["point"], 3)):
        one = data.isel(point=k)
        ax.plot(
            one.eigenvalue_real,
            one.eigenvalue_imaginary,
            "o",
            ms=4,
            color=f"C{k}",
            alpha=0.7,
            label=f"rest {k}",
        )
        turns = [m for m in range(one.sizes["mode"]) if float(one.eigenvalue_imaginary[m]) > 1e-9][
            :3
        ]
        for m in turns if k == 0 else []:
            at = float(one.eigenvalue_real[m]), float(one.eigenvalue_imaginary[m])
            text = f"{float(one.frequency_hz[m]):.2f} Hz"
            ax.annotate(text, at, (4, 4), textcoords="offset points", fontsize=7)
    if not data.sizes["point"]:
        ax.text(0.0, 0.0, "no rest found", ha="center")
    ax.set(aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    ax.set_title("motions about the rests", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
    if data.sizes["point"]:
        ax.legend(frameon=False, fontsize=7, loc="lower left")


def _curves(ax: Any, curve: Any) -> None:
    looks = {-1.0: (DOWN, "-1 sd"), 0.0: (TRUTH, "as it was"), 1.0: (UP, "+1 sd")}
    for move, (colour, label) in looks.items():
        one = curve.sel(move_sd=move)
        ax.plot(curve.time, one, color=colour, lw=0.9, label=label)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=7)
