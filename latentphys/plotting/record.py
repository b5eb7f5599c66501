"""The signals of a recording, one panel a modality."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentphys.plotting.style import check_stretch, panels, span
from latentphys.recordings.record import Record


def plot_record(record: Record, start_s: float = 0.0, stop_s: float | None = None) -> Any:
    """Draw every signal at its own rate; a gap in a line is a sample not observed.

    Args:
        record: the recording.
        start_s, stop_s: the stretch to draw, seconds; 30 s when `stop_s` is left out.

    Returns:
        Matplotlib Axes, (modality,).

    Raises:
        ArgumentError: a stretch outside the record.
    """
    stop_s = start_s + 30.0 if stop_s is None else stop_s
    check_stretch(start_s, stop_s, 0.0, record.duration_s)
    axes = panels(len(record.modalities), f"{record.record}, subject {record.subject}")
    for ax, name in zip(axes, record.modalities, strict=True):
        signal = span(record.signals[name], start_s, stop_s)
        time = np.asarray(signal.time)
        slow = len(time) < 4 * (stop_s - start_s)
        for channel, values in zip(signal.channel.values, signal.values, strict=True):
            ax.plot(time, values, "o-" if slow else "-", ms=2, lw=0.8, label=str(channel))
        ax.set_ylabel(f"{name}\n[{signal.attrs.get('units') or 'a.u.'}]")
        if len(signal.channel) > 1:
            ax.legend(loc="upper right", ncols=len(signal.channel))
    axes[-1].set_xlim(start_s, stop_s)
    axes[-1].set_xlabel("time [s]")
    return axes
