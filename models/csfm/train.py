"""Hidden ECG and hidden findings of LUDB's reports; two minutes of one processor."""

import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from reports import (
    LEADS,
    PREPARATION,
    Results,
    answered,
    labels_of,
    pairing,
    resampled,
    shares,
    with_leads,
)
from running import Figures, recordings_of, run

import latentphys as lp
from latentphys.fitted import FittedModel
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.reports import REPORT, with_reports

STEPS, SEED = 60, 0
SHOWN = {"accuracy": "accuracy", "macro-F1": "macro-F1", "log prob": "log probability"}


@cache
def people() -> tuple[Cohort, Cohort]:
    """Two thirds of LUDB's people to train, the rest for the figures."""
    cohort = Cohort(list(with_reports(lp.read(recordings_of("ludb") / "data"))))
    sides = cohort.split(test=0.3, seed=SEED)
    train, test = (Cohort([resampled(record) for record in side]) for side in sides)
    return train, test


def fitted() -> FittedModel:
    """The recipe, with reports."""
    return lp.fit(
        people()[0],
        recipe="csfm",
        steps=STEPS,
        seed=SEED,
        text=REPORT,
        preprocessing=PREPARATION,
        held_out=0.2,
    )


def scored(fit: FittedModel) -> Figures:
    """Answers from the ECG alone beside the training shares; reports beside ECGs."""
    assert fit.answers is not None
    train, test = people()
    labels, truth = labels_of(train), labels_of(test)
    prepared = {record.record: fit.prepared(record) for record in test}
    results, figures = Results(), Figures()
    for count, leads in LEADS.items():
        cut = {name: with_leads(record, leads) for name, record in prepared.items()}
        for question, choices in fit.answers.choices.items():
            names = [name for name in cut if truth[question][name] in choices]
            said = [(prepared[name].subject, str(truth[question][name])) for name in names]
            rows = {
                "latentphys": answered(fit, [cut[name] for name in names], question),
                "training shares": shares(labels[question], choices, len(names)),
            }
            for who, probability in rows.items():
                results.add((question, count, who), said, choices, probability)
                for score, bounds in results.of(question, count, who).items():
                    if score in SHOWN:
                        name = f"{question}, {count} leads: {SHOWN[score]}"
                        figures.setdefault(name, {})[who] = bounds
        results.pairs[count] = pairing(fit, list(cut.values()), list(test))
        better = results.paired(count)["likelier of two"]
        name = f"own report likelier by own ECG than by another's, {count} leads"
        figures[name] = {"latentphys": better, "training shares": (0.5, 0.5, 0.5)}
    return figures


if __name__ == "__main__":
    run("csfm", fitted, scored)
