"""The five-minute tour: fit, score on unseen subjects, draw, and write one page about it."""

from __future__ import annotations

import base64
import html
import os
from pathlib import Path
from typing import Any

from latentphys.api import fit, read, simulate
from latentphys.fitted import FittedModel
from latentphys.inference.imputation import Question
from latentphys.plotting.imputation import plot_imputation
from latentphys.plotting.posterior import plot_posterior
from latentphys.plotting.record import plot_record
from latentphys.plotting.training import plot_training
from latentphys.recordings.cohort import Cohort
from latentphys.trust.directions import baselines, score_model, score_predictor, table

SENSORS = ("ecg", "ppg", "resp")
DEFAULT_DATA = Path("../shared/data")
INTRODUCTION = {
    "record": "What was recorded: every sensor at its own rate.",
    "imputation": "The sensor nobody gave the model, for a subject it has never seen.",
    "posterior": "The state behind the sensors, with the rates measured beside it.",
    "training": "How the fit went.",
}


def recordings(data: str | Path | None) -> tuple[Cohort, str]:
    """The demo's recordings and a sentence that says which they are.

    Looks at `data`, then the LATENTPHYS_DATA folder, then ../shared/data, then simulates.
    """
    if data is not None:
        return read(data), f"recordings read from {Path(data).name}"
    root = Path(os.environ.get("LATENTPHYS_DATA", DEFAULT_DATA))
    if (root / "bidmc").is_dir():
        return read(root / "bidmc"), "real recordings: BIDMC, intensive-care patients"
    return simulate(subjects=24, minutes=4.0, seed=0), "simulated recordings (no data folder found)"


def run_demo(data: str | Path | None, out: str | Path, minutes: float, seed: int = 0) -> None:
    """Run the tour and write figures, NetCDF results, the model and report.html into `out`."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    cohort, which = recordings(data)
    train, test = cohort.split(test=0.2, seed=seed)
    used = [name for name in SENSORS if name in cohort.modalities] or list(cohort.modalities)
    print(f"{which}: {len(train.subjects)} subjects to fit, {len(test.subjects)} unseen")
    fitted = fit(train.keep(*used), minutes=minutes, seed=seed)
    print(fitted)
    fitted.save(folder / "model")
    scores = _scores(fitted, train.keep(*used), test.keep(*used))
    print(scores)
    figures = _answers(fitted, test, folder)
    page = _page(which, fitted, scores, figures)
    (folder / "report.html").write_text(page, encoding="utf-8")
    print(f"report: {folder / 'report.html'}")


def _scores(fitted: FittedModel, train: Cohort, test: Cohort) -> str:
    """A table a direction: every sensor from all others, beside baselines fitted alike."""
    known = [fitted.preprocessing.prepare(record) for record in train]
    unseen = [fitted.preprocessing.prepare(record) for record in test]
    parts = []
    for target in fitted.modalities:
        given = tuple(name for name in fitted.modalities if name != target)
        if not given:
            continue
        question = Question(target, given, draws=50, window_s=fitted.window_s)
        rows = {"latentphys": score_model(fitted.model, unseen, question)}
        for name, predict in baselines(known, target, given).items():
            rows[name] = score_predictor(predict, unseen, question)
        parts.append(f"{target} given {', '.join(given)}\n{table(rows)}")
    return "\n\n".join(parts)


def _answers(fitted: FittedModel, test: Cohort, folder: Path) -> dict[str, Path]:
    """Posterior and imputation of one unseen record, written and drawn."""
    import matplotlib.pyplot as plt

    complete = [e for e in test.entries if set(fitted.modalities) <= set(e.modalities)]
    record = test[complete[0].record] if complete else test[0]
    target = "ppg" if "ppg" in fitted.modalities else fitted.modalities[-1]
    others = [name for name in fitted.modalities if name != target]
    imputed = fitted.impute(record, target, given=others)
    posterior = fitted.posterior(record, draws=20)
    _write(imputed, folder / "imputation.nc")
    _write(posterior, folder / "posterior.nc")
    start_s = min(60.0, record.duration_s / 2)
    drawings: dict[str, Any] = {
        "record": plot_record(record, start_s, start_s + 16.0),
        "imputation": plot_imputation(
            imputed, fitted.filtered(record, target), start_s, start_s + 16.0
        ),
        "posterior": plot_posterior(posterior, record, start_s, start_s + 30.0),
        "training": plot_training(fitted),
    }
    figures = {}
    for name, axes in drawings.items():
        figures[name] = folder / f"{name}.png"
        axes[0].figure.savefig(figures[name], dpi=130, bbox_inches="tight")
        plt.close(axes[0].figure)
    return figures


def _write(result: Any, target: Path) -> None:
    """Write NetCDF beside the target, then rename: a reader never meets half a file."""
    beside = target.with_name(f".{target.name}")
    result.to_netcdf(beside, engine="h5netcdf")
    os.replace(beside, target)


def _page(which: str, fitted: FittedModel, scores: str, figures: dict[str, Path]) -> str:
    """One self-contained page."""
    pictures = "".join(
        f"<figure><figcaption>{INTRODUCTION[name]}</figcaption>"
        f"<img alt='{name}' src='data:image/png;base64,"
        f"{base64.b64encode(path.read_bytes()).decode()}'></figure>"
        for name, path in figures.items()
    )
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
        "color:#222}pre{background:#f5f5f2;padding:1rem;overflow-x:auto;font-size:12px}"
        "img{max-width:100%}figure{margin:2rem 0}figcaption{font-weight:600;margin-bottom:.5rem}"
    )
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>latentphys</title>"
        f"<style>{style}</style><h1>One state behind several sensors</h1>"
        f"<p>{html.escape(which)}. {html.escape(repr(fitted))}.</p>"
        "<h2>How well an absent sensor is imputed</h2>"
        "<p>Subjects the model has never seen; standardised signals; each row saw the same "
        "sensors. Coverage is that of 90 % intervals: near 0.9 is honest. NRMSE above 1 is worse "
        "than answering with the mean.</p>"
        f"<pre>{html.escape(scores)}</pre>{pictures}</html>"
    )
