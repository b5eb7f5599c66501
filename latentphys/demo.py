"""The five-minute tour: fit, score on unseen subjects, draw, and write one page about it."""

from __future__ import annotations

import base64
import html
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentphys.api import fit, read, simulate
from latentphys.fitted import FittedModel
from latentphys.inference.imputation import Question
from latentphys.plotting.imputation import plot_imputation
from latentphys.plotting.posterior import plot_posterior
from latentphys.plotting.record import plot_record
from latentphys.plotting.training import plot_training
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recipes.catalogue import recipe
from latentphys.recordings.arguments import number_between
from latentphys.recordings.beside import beside, check_folder
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import LatentphysError, ReadError
from latentphys.recordings.record import Record
from latentphys.trust.baselines import Baseline, MeanBaseline, RidgeBaseline
from latentphys.trust.directions import score_model, score_predictor, table

SENSORS = ("ecg", "ppg", "resp")
DEFAULT_DATA = Path("../shared/data")
LEGEND = (
    "Subjects the model has never seen; signals standardised, so that errors and widths are in "
    "standard deviations of the sensor; each row saw the same sensors; means over subjects. "
    "<b>Correlation</b> with the recorded signal, over the record and as the median over windows: "
    "higher is better, 1 at most. <b>NRMSE</b>, error of the mean over the signal's own spread: "
    "lower is better, and above 1 worse than answering with the mean. <b>CRPS</b>, error of the "
    "whole predictive distribution: lower is better. <b>Coverage</b>, share of recorded samples "
    "inside the 90 % intervals: near 0.9 is honest. <b>Width</b> of those intervals: narrower is "
    "better where coverage is honest. nan: undefined, as the correlation of a constant is."
)
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#222}pre{background:#f5f5f2;padding:1rem;overflow-x:auto;font-size:12px}"
    "img{max-width:100%}figure{margin:2rem 0}figcaption{font-weight:600;margin-bottom:.5rem}"
)
BASELINES: dict[str, type[Baseline]] = {"mean": MeanBaseline, "ridge": RidgeBaseline}
INTRODUCTION = {
    "record": "What was recorded: every sensor at its own rate.",
    "imputation": "The sensor nobody gave the model, for a subject it has never seen.",
    "posterior": "The state behind the sensors, with the rates measured beside it.",
    "training": "How the fit went.",
}


@dataclass
class Tour:
    """What will be shown, chosen before training so that nothing after it can fail for it.

    Attributes:
        record: the unseen record that is drawn.
        target: the sensor imputed in it; empty when no record has it and another.
        rows: target -> baseline -> its scores.
        notes: what is left out, and why.
    """

    record: Record
    target: str
    rows: dict[str, dict[str, dict[str, float]]]
    notes: list[str]


def recordings(data: str | Path | None) -> tuple[Cohort, str]:
    """The demo's recordings and a sentence that says which they are.

    Looks at `data`, then the folder LATENTPHYS_DATA names, then ../shared/data; of the last two,
    at a folder `bidmc` in them first. Without any of the three it simulates.

    Raises:
        ReadError: the folder named holds no recordings.
    """
    if data is not None:
        return read(data), f"recordings read from {Path(data).name}"
    named = os.environ.get("LATENTPHYS_DATA")
    if not named and not DEFAULT_DATA.exists():
        return simulate(subjects=24, minutes=4.0, seed=0), "simulated recordings (no data folder)"
    root = Path(named).expanduser() if named else DEFAULT_DATA
    folder = root / "bidmc" if (root / "bidmc").is_dir() else root
    try:
        if not folder.is_dir():
            raise ReadError("it is a file" if folder.exists() else "nothing is there")
        cohort = read(folder)
    except ReadError as error:
        raise ReadError(
            f"{'LATENTPHYS_DATA' if named else 'the default'} names a folder of recordings, or one "
            f"with a folder 'bidmc' of them; got {str(root)!r}: {error} Name such a folder, or "
            "give one with --data; unset LATENTPHYS_DATA to use simulated recordings."
        ) from error
    bidmc = folder.name == "bidmc"
    which = "BIDMC, intensive-care patients" if bidmc else f"read from {folder.resolve().name}"
    return cohort, f"real recordings: {which}"


def run_demo(data: str | Path | None, out: str | Path, minutes: float, seed: int = 0) -> None:
    """Run the tour and write figures, NetCDF results, the model and report.html into `out`.

    Raises:
        WriteError: `out` is a file.
    """
    folder = check_folder(out)
    number_between("minutes", minutes, 0.0, math.inf, "5 is usual.")
    cohort, which = recordings(data)
    used = [name for name in SENSORS if name in cohort.modalities] or list(cohort.modalities)
    cohort = Cohort([entry for entry in cohort.entries if set(used) & set(entry.modalities)])
    train, test = cohort.split(test=0.2, seed=seed)
    print(f"{which}: {len(train.subjects)} subjects to fit, {len(test.subjects)} unseen")
    tour = plan(train.keep(*used), test.keep(*used))
    tour.record = test[tour.record.record]  # with the rates measured beside the sensors
    train, test = train.keep(*used), test.keep(*used)
    folder.mkdir(parents=True, exist_ok=True)
    fitted = fit(train, minutes=minutes, seed=seed)
    print(fitted)
    fitted.save(folder / "model")
    scores = _scores(fitted, test, tour)
    print(scores)
    figures = _answers(fitted, tour, folder)
    for note in tour.notes:
        print(note)
    page = _page(which, fitted, scores, figures, tour.notes)
    with beside(folder / "report.html") as part:
        part.write_text(page, encoding="utf-8")
    print(f"report: {folder / 'report.html'}")


def plan(train: Cohort, test: Cohort) -> Tour:
    """The record and target to draw, and what the baselines reach, with what must be left out.

    Raises:
        UnitError: one modality comes in different units.
    """
    Cohort((*train.entries, *test.entries)).units  # noqa: B018  raises before training
    prepare = recipe("statespace").preprocessing.prepare
    known, unseen = [prepare(record) for record in train], [prepare(record) for record in test]
    names = [name for name in train.modalities if any(_seen(r, name) for r in known)]
    notes: list[str] = []
    rows = {name: _rivals(known, unseen, name, names, notes) for name in names}
    # The target the pictures want first; then the record in which the most sensors were observed.
    first = [name for name in ("ppg", *reversed(names)) if name in names]
    count = [sum(_seen(r, name) for name in names) for r in unseen]
    best = sorted(range(len(unseen)), key=lambda k: -count[k])
    pairs = [(k, t) for t in first for k in best if count[k] > 1 and _seen(unseen[k], t)]
    chosen, target = pairs[0] if pairs else (best[0], "")
    if not target:
        notes.append("Imputation left out: no unseen record has two sensors with samples.")
    return Tour(test[chosen], target, rows, notes)


def _seen(record: PreparedRecord, name: str) -> bool:
    """Whether anything of a sensor was observed."""
    return name in record.signals and bool(np.isfinite(record.signals[name].values).any())


def _rivals(
    known: Sequence[PreparedRecord],
    unseen: Sequence[PreparedRecord],
    target: str,
    names: Sequence[str],
    notes: list[str],
) -> dict[str, dict[str, float]]:
    """Scores of each baseline that fits this direction; those that do not are noted."""
    given = tuple(name for name in names if name != target)
    if not given:
        return {}
    question, rows = Question(target, given), {}
    for name, kind in BASELINES.items():
        try:
            predict = kind().fit(known, target, given).predict
            rows[name] = score_predictor(predict, unseen, question)
        except LatentphysError as error:
            notes.append(f"Baseline {name} of {target} left out: {error}")
    return rows


def _scores(fitted: FittedModel, test: Cohort, tour: Tour) -> str:
    """A table a direction: every sensor from all others, beside baselines fitted alike."""
    unseen = [fitted.preprocessing.prepare(record) for record in test]
    parts = []
    for target in fitted.modalities:
        given = tuple(name for name in fitted.modalities if name != target)
        if not given:
            continue
        question = Question(target, given, draws=50, window_s=fitted.window_s)
        ours = score_model(fitted.model, unseen, question, trained_on=fitted.training_subjects)
        rows = {"latentphys": ours, **tour.rows.get(target, {})}
        parts.append(f"{target} given {', '.join(given)}\n{table(rows)}")
    return "\n\n".join(parts)


def _answers(fitted: FittedModel, tour: Tour, folder: Path) -> dict[str, Path]:
    """Posterior and imputation of one unseen record, written and drawn."""
    import matplotlib.pyplot as plt

    record, target = tour.record, tour.target
    posterior = fitted.posterior(record, draws=20)
    _write(posterior, folder / "posterior.nc")
    # Half a minute that lies within the record.
    start_s = min(60.0, max(0.0, record.duration_s - 30.0))
    stop_s = min(start_s + 30.0, record.duration_s)
    drawings: dict[str, Any] = {"record": plot_record(record, start_s, min(start_s + 16.0, stop_s))}
    others = [name for name in fitted.modalities if name != target]
    if target in fitted.modalities and others:
        imputed = fitted.impute(record, target, given=others)
        _write(imputed, folder / "imputation.nc")
        truth = fitted.filtered(record, target)
        drawings["imputation"] = plot_imputation(
            imputed, truth, start_s, min(start_s + 16.0, stop_s)
        )
    drawings["posterior"] = plot_posterior(posterior, record, start_s, stop_s)
    drawings["training"] = plot_training(fitted)
    figures = {}
    for name, axes in drawings.items():
        figures[name] = folder / f"{name}.png"
        with beside(figures[name]) as part:
            axes[0].figure.savefig(part, format="png", dpi=130, bbox_inches="tight")
        plt.close(axes[0].figure)
    return figures


def _write(result: Any, target: Path) -> None:
    """Write NetCDF beside the target, then rename: a reader never meets half a file."""
    with beside(target) as part:
        result.to_netcdf(part, engine="h5netcdf")


def _page(
    which: str, fitted: FittedModel, scores: str, figures: dict[str, Path], notes: Sequence[str]
) -> str:
    """One self-contained page."""
    pictures = "".join(
        f"<figure><figcaption>{INTRODUCTION[name]}</figcaption>"
        f"<img alt='{name}' src='data:image/png;base64,"
        f"{base64.b64encode(path.read_bytes()).decode()}'></figure>"
        for name, path in figures.items()
    )
    left_out = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>latentphys</title>"
        f"<style>{STYLE}</style><h1>One state behind several sensors</h1>"
        f"<p>{html.escape(which)}. {html.escape(repr(fitted))}.</p>"
        f"<h2>How well an absent sensor is imputed</h2><p>{LEGEND}</p>"
        f"<pre>{html.escape(scores)}</pre>{left_out}{pictures}</html>"
    )
