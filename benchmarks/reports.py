"""ECG and reports: what the signals say of a report, beside what labels alone can teach.

    python benchmarks/reports.py --data DIR/ludb/data --steps 100 --seeds 3

LUDB (150 people, ten seconds of 12 leads each, cardiologists' findings), split by subject. Beside
`answer`: a network of the same encoder, guide and pooling trained on the two labels alone for as
many steps; a linear probe on the frozen embedding of the same fitted model; the same probe on
plain figures of the heart's beats and of each lead; and the training shares. None of them sees a
report of the people it is scored on; a machine's reports are left out (LUDB has none). Each is
learned once and asked with 12 leads, three, and one. Intervals are over people, pooled over splits.

Measured by the command above, seeds 0, 1 and 2:

                                   12 leads                        3 leads           1 lead
                        accuracy           macro-F1  log prob   acc  F1   log p   acc  F1   log p
    rhythm  answer      0.82 [0.75, 0.89]  0.46       -0.64     .80  .44  -0.73   .81  .40  -0.69
            beats, leads     0.77          0.35       -0.66     .78  .53  -0.77   .77  .44  -0.71
            labels alone     0.73          0.21       -0.87     .73  .21  -0.86   .73  .21  -0.86
            embedding        0.73          0.21       -0.88     .73  .21  -0.89   .73  .21  -0.90
            shares      0.73 [0.64, 0.82]  0.21       -0.88     .73  .21  -0.88   .73  .21  -0.88
    axis    answer      0.66 [0.56, 0.76]  0.40       -1.05     .50  .26  -1.30   .48  .23  -1.35
            beats, leads     0.66          0.43       -0.91     .40  .20  -1.30   .43  .21  -1.36
            labels alone     0.29          0.14       -1.40     .28  .14  -1.43   .24  .15  -1.43
            embedding        0.39          0.16       -1.38     .42  .16  -1.38   .43  .17  -1.37
            shares      0.39 [0.28, 0.50]  0.11       -1.37     .39  .11  -1.37   .39  .11  -1.37

Calibration error of the answers: 0.07, 0.09 and 0.07 of rhythm, 0.12, 0.10 and 0.10 of the axis. Of
two people's ECGs, one's own makes one's report likelier in 79 % [75, 83] with 12 leads, 69 % [64,
74] with three, 67 % [62, 72] with one.

What made the answers so: they start from how common a choice is, and add what the signals say
beyond what they say of everyone, divided by a temperature, all learned with as few leads as are
shown (`latentphys.inference.answers`). Before, with one temperature for the score itself, rhythm
had macro-F1 0.27 with 12 leads and the axis log prob -1.45 with three. What the probe of the
embedding reads, a mean over time, holds neither answer. The network of labels alone is hardly
trained after 100 steps; with 600 it had been no better than the shares either.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from latentphys.api import VARIED_BESIDE_TEXT, fit, read
from latentphys.fitted import FittedModel
from latentphys.inference.answers import answer_record, report_log_prob
from latentphys.inference.embedding import unit_features
from latentphys.learning.specification import sensors_of
from latentphys.model.statespace import ModelSpec, StateSpaceModel
from latentphys.model.texts import TextEmission, TextSpec, channel_shapes
from latentphys.preparation.augmentation import Augmentation
from latentphys.preparation.batch import Batch, collate
from latentphys.preparation.beats import beat_times
from latentphys.preparation.loading import WindowLoader
from latentphys.preparation.preprocessing import (
    DEFAULT_PLANS,
    PreparedRecord,
    Preprocessing,
    SignalPlan,
)
from latentphys.preparation.spans import spans_of
from latentphys.preparation.windows import tile
from latentphys.recipes.statespace import RECIPE
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import LabelError
from latentphys.recordings.findings import QUESTIONS, answer_in
from latentphys.recordings.record import Record, rate_of
from latentphys.recordings.regridding import on_grid
from latentphys.recordings.reports import REPORT, machine_texts, with_reports
from latentphys.trust.decisions import brier_score, calibration_error, selective_risk

# The size of a lead tells of hypertrophy: one scale for all of them.
ECG = SignalPlan(low_hz=0.05, high_hz=40.0, flat_s=2.0, location=0.0, scale=0.25, units="mV")
PREPARATION = Preprocessing({**DEFAULT_PLANS, "ecg": ECG})
# What one sensor tells of another is not to be learned where there is one.
ALONE = replace(RECIPE, objective=replace(RECIPE.objective, elbo=1.0, cross=0.0, miss=0.0))
RATE_HZ = 200.0  # a whole number of samples a state step, and well above what the filter leaves
WINDOW_S = 10.0
LEADS: dict[int, tuple[str, ...]] = {12: (), 3: ("i", "ii", "v2"), 1: ("ii",)}
RESAMPLES = 1000
Array = NDArray[np.float64]
Bounds = tuple[float, float, float]
Answers = dict[str, dict[str, str | None]]


def labels_of(cohort: Cohort) -> Answers:
    """question -> record name -> what its report says; a machine's report says nothing."""
    reports = {
        r.record: "" if REPORT in machine_texts(r) else r.texts.get(REPORT, "") for r in cohort
    }
    return {q: {name: answer_in(text, q) for name, text in reports.items()} for q in QUESTIONS}


def scores(probability: Array, truth: Sequence[int] | NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, macro-F1 over classes that occur, and how far to believe the probabilities."""
    truth = np.asarray(truth)
    said = probability.argmax(1)
    right = said == truth
    f1 = []
    for k in np.unique(truth):
        hits = (right & (truth == k)).sum()
        f1.append(2 * hits / max(1, (said == k).sum() + (truth == k).sum()))
    own = probability[np.arange(len(truth)), truth]
    return {
        "accuracy": float(right.mean()),
        "macro-F1": float(np.mean(f1)),
        "ECE": calibration_error(probability, truth, bins=10),
        "Brier": brier_score(probability, truth),
        "selective risk": selective_risk(probability, truth).area,
        "log prob": float(np.log(np.clip(own, 1e-12, None)).mean()),
    }


@dataclass
class Results:
    """What every predictor said of everyone, pooled over splits.

    Attributes:
        said: (question, leads, predictor) -> a list of (subject, truth, probabilities).
        pairs: leads -> a list of (subject, own log likelihood a token, that of others' ECG,
            share of others' ECG that own is likelier than).
    """

    said: dict[tuple[str, int, str], list[tuple[str, int, Array]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    pairs: dict[int, list[tuple[str, float, float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(
        self,
        key: tuple[str, int, str],
        said: Sequence[tuple[str, str]],
        choices: Sequence[str],
        probability: Array,
    ) -> None:
        """More people's (subject, truth), and the probability of each choice; prints a line."""
        every = list(QUESTIONS[key[0]].choices)
        full = np.zeros((len(said), len(every)))
        full[:, [every.index(choice) for choice in choices]] = probability
        truth = [every.index(choice) for _, choice in said]
        rows = zip(said, truth, full, strict=True)
        self.said[key] += [(subject, y, p) for (subject, _), y, p in rows]
        told = "  ".join(f"{name} {value:6.3f}" for name, value in scores(full, truth).items())
        print(f"  {key[0]:13} {key[1]:2} leads  {key[2]:22} {told}", flush=True)

    def more(self, other: Results) -> None:
        """Those of another split beside these."""
        for key, rows in other.said.items():
            self.said[key] += rows
        for leads, pairs in other.pairs.items():
            self.pairs[leads] += pairs

    def to_json(self) -> str:
        """Everything, as it is read by `from_json`."""
        said = [
            [*key, [(subject, truth, p.tolist()) for subject, truth, p in rows]]
            for key, rows in self.said.items()
        ]
        return json.dumps({"said": said, "pairs": list(self.pairs.items())})

    @classmethod
    def from_json(cls, text: str) -> Results:
        """The inverse of `to_json`."""
        plain, made = json.loads(text), cls()
        for question, leads, who, rows in plain["said"]:
            made.said[question, leads, who] = [(s, y, np.array(p)) for s, y, p in rows]
        for leads, pairs in plain["pairs"]:
            made.pairs[leads] = [tuple(row) for row in pairs]
        return made

    def of(self, question: str, leads: int, who: str) -> dict[str, Bounds]:
        """Score -> its estimate and 95 % interval over people."""
        people, truth, probability = zip(*self.said[question, leads, who], strict=True)
        y, p = np.array(truth), np.array(probability)
        drawn = [scores(p[rows], y[rows]) for rows in _resampled(people)]
        return {
            name: (value, *_between([each[name] for each in drawn]))
            for name, value in scores(p, y).items()
        }

    def paired(self, leads: int) -> dict[str, Bounds]:
        """By how much one's own ECG makes one's report likelier, nats a token, and how often."""
        people, own, others, better = zip(*self.pairs[leads], strict=True)
        chosen = _resampled(people)
        columns = {"gain": np.subtract(own, others), "likelier of two": np.array(better)}
        return {
            name: (float(x.mean()), *_between([x[rows].mean() for rows in chosen]))
            for name, x in columns.items()
        }

    def table(self) -> str:
        """Every figure."""
        rows = [(f"{q:13} {n:2} leads  {who:22}", self.of(q, n, who)) for q, n, who in self.said]
        rows += [(f"own report    {n:2} leads  {'':22}", self.paired(n)) for n in self.pairs]
        return "\n".join(
            f"{name} "
            + "  ".join(
                f"{k} {v:6.3f} [{low:6.3f}, {high:6.3f}]" for k, (v, low, high) in own.items()
            )
            for name, own in rows
        )


def _resampled(people: Sequence[str]) -> list[NDArray[np.int64]]:
    """Rows of resampled people; someone unseen in two splits comes with both rows."""
    rng = np.random.default_rng(0)
    names, of = np.unique(people, return_inverse=True)
    rows = [np.flatnonzero(of == k) for k in range(len(names))]
    return [
        np.concatenate([rows[k] for k in rng.integers(len(rows), size=len(rows))])
        for _ in range(RESAMPLES)
    ]


def _between(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


class LabelNetwork(nn.Module):
    """The model's encoder, guide network and pooling under a linear answer to each question.

    Args:
        spec: of the state-space model whose encoder and guide it has.
        sizes: choices of each question.
    """

    def __init__(self, spec: ModelSpec, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.body = StateSpaceModel(spec)
        channels = {name: len(sensor.channels) for name, sensor in spec.sensors.items()}
        self.reading = TextEmission(TextSpec("", 1, 0, ()), spec.latent_dim, channels=channels)
        self.drop = nn.Dropout(0.3)
        self.heads = nn.ModuleDict(
            {q.replace(" ", "_"): nn.Linear(64, n) for q, n in sizes.items()}
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """question -> logits (batch, choice)."""
        mean = self.body.guide_of(self.body.evidence(batch)).mean
        pooled = self.drop(self.reading.pool(mean, self.body.shapes_of(batch)))
        return {name.replace("_", " "): head(pooled) for name, head in self.heads.items()}

    def loss(self, batch: Batch, labels: Answers, known: Mapping[str, list[str]]) -> Tensor:
        """Cross-entropy of both questions; a record without an answer is not asked."""
        total = torch.zeros(())
        for question, logits in self(batch).items():
            said = [labels[question][name] for name in batch.record]
            rows = [k for k, choice in enumerate(said) if choice in known[question]]
            if rows:
                truth = torch.tensor([known[question].index(str(said[k])) for k in rows])
                total = total + nn.functional.cross_entropy(logits[rows], truth)
        return total


def train_labels(
    train: Sequence[PreparedRecord],
    checks: Sequence[PreparedRecord],
    labels: Answers,
    known: Mapping[str, list[str]],
    steps: int,
    seed: int,
) -> LabelNetwork:
    """The network at its least loss on held-out training subjects."""
    torch.manual_seed(seed)
    clock = RECIPE.state_rate_hz
    net = LabelNetwork(
        ModelSpec(sensors_of(train, clock), clock), {q: len(own) for q, own in known.items()}
    )
    varied = Augmentation(**VARIED_BESIDE_TEXT)
    size = round(WINDOW_S * clock)
    loader = WindowLoader(train, ("ecg",), size, clock, 8, seed, varied, bucketed=True)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1)
    best, best_loss = net.state_dict(), np.inf
    for number in range(steps):
        net.train()
        cosine = 0.5 * (1 + np.cos(np.pi * number / steps))
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, (number + 1) / 50) * cosine
        optimiser.zero_grad()
        net.loss(loader.batch(number), labels, known).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        if (number + 1) % 30 == 0 or number + 1 == steps:
            net.eval()
            with torch.no_grad():
                loss = float(net.loss(windows(checks), labels, known))
            if loss < best_loss:
                best_loss, best = loss, {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(best)
    return net.eval()


def windows(records: Sequence[PreparedRecord]) -> Batch:
    """The first ten seconds of every record."""
    index = tile(records, WINDOW_S, 1e6, RECIPE.state_rate_hz)
    first = [int(np.flatnonzero(index.record_index == k)[0]) for k in range(len(records))]
    return collate(records, index, first, ("ecg",))


def resampled(record: Record) -> Record:
    """The record with its ECG at RATE_HZ, and no annotations."""
    signal = record.signals["ecg"]
    own, count = rate_of(signal), round(record.duration_s * RATE_HZ)
    times = signal["time"].values
    values = [on_grid(np.asarray(x, np.float64), times, own, RATE_HZ, count) for x in signal.values]
    coords = {"channel": signal["channel"].values, "time": np.arange(count) / RATE_HZ}
    attrs = {**signal.attrs, "rate_hz": RATE_HZ}
    ecg = xr.DataArray(np.array(values), dims=("channel", "time"), coords=coords, attrs=attrs)
    return replace(record, signals={"ecg": ecg}, annotations={})


def with_leads(record: PreparedRecord, leads: Sequence[str]) -> PreparedRecord:
    """The record with these leads alone; all of them if there are none."""
    signal = record.signals["ecg"]
    if not leads:
        return record
    # Not observed is as good as not there, and keeps every lead in its place.
    kept = np.isin(signal.channels, leads)[:, None]
    values = np.where(kept, signal.values, np.nan).astype(np.float32)
    return replace(record, signals={"ecg": replace(signal, values=values)})


def beat_figures(record: Record) -> Array:
    """Heart rate, and how irregular it is, by the beats found in lead II."""
    try:
        intervals = np.diff(beat_times(record.select(ecg="ii")))
    except LabelError:
        return np.zeros(3)
    rate, spread = 60.0 / np.median(intervals), intervals.std() / intervals.mean()
    return np.array([rate / 60.0, 1.0 / (rate / 60.0), np.log(spread + 0.01)])


def lead_figures(record: PreparedRecord) -> Array:
    """How lopsided each lead is; 0 of one that is not there."""
    batch = windows([record])
    return channel_shapes(batch.values["ecg"], batch.mask["ecg"])[0, :, 0].double().numpy()


def frozen(fitted: FittedModel, record: Record, prepared: PreparedRecord) -> Array:
    """The record's embedding."""
    spans = spans_of(record, prepared, "record", WINDOW_S, RECIPE.state_rate_hz)
    found = unit_features(fitted.model, prepared, spans, ["ecg"], WINDOW_S, "record")
    return np.asarray(found[0], np.float64)


def probed(
    features: Mapping[str, Array],
    asked: Sequence[Array],
    labels: Mapping[str, str | None],
    known: list[str],
) -> Array:
    """Logistic regression of the training records' features; its answers (record, choice)."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = [name for name in features if labels[name] in known]
    truth = [known.index(str(labels[name])) for name in rows]
    model = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(Cs=np.logspace(-3, 1, 9), cv=3, scoring="neg_log_loss", max_iter=1000),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes of fewer people than folds
        model.fit(np.array([features[name] for name in rows]), truth)
        found = np.full((len(asked), len(known)), 1e-6)
        found[:, model.classes_] = np.clip(model.predict_proba(np.array(asked)), 1e-6, None)
    return found / found.sum(1, keepdims=True)


def compare(
    fitted: FittedModel, train: Cohort, test: Cohort, steps: int, seed: int, results: Results
) -> None:
    """Ask everyone unseen in one split."""
    assert fitted.answers is not None
    labels, truth = labels_of(train), labels_of(test)
    known = fitted.answers.choices
    held = set(fitted.about["held_out"])
    own = {r.record: fitted.prepared(r) for r in train}
    asked = {r.record: fitted.prepared(r) for r in test}
    net = train_labels(
        [r for r in own.values() if r.subject not in held],
        [r for r in own.values() if r.subject in held],
        labels,
        known,
        steps,
        seed,
    )
    embedded = {r.record: frozen(fitted, r, own[r.record]) for r in train}
    beats = {r.record: beat_figures(r) for side in (train, test) for r in side}
    plain = {name: np.r_[beats[name], lead_figures(r)] for name, r in own.items()}
    for count, leads in LEADS.items():
        cut = {name: with_leads(record, leads) for name, record in asked.items()}
        state = {r.record: frozen(fitted, r, cut[r.record]) for r in test}
        figures = {name: np.r_[beats[name], lead_figures(r)] for name, r in cut.items()}
        with torch.no_grad():
            logits = net(windows(list(cut.values())))
        for question, choices in known.items():
            names = [name for name in cut if truth[question][name] in choices]
            rows = [list(cut).index(name) for name in names]
            probe = partial(probed, labels=labels[question], known=choices)
            found = {
                "answer": answered(fitted, [cut[name] for name in names], question),
                "labels alone": logits[question][rows].softmax(-1).double().numpy(),
                "probe of embedding": probe(embedded, [state[name] for name in names]),
                "probe of beats, leads": probe(plain, [figures[name] for name in names]),
                "training shares": shares(labels[question], choices, len(names)),
            }
            for who, probability in found.items():
                said = [(asked[n].subject, str(truth[question][n])) for n in names]
                results.add((question, count, who), said, choices, probability)
        results.pairs[count] += pairing(fitted, list(cut.values()), list(test))


def shares(labels: Mapping[str, str | None], choices: list[str], count: int) -> Array:
    """What training reports say, whoever is asked about; (record, choice)."""
    said = [choice for choice in labels.values() if choice in choices]
    return np.tile([said.count(choice) / len(said) for choice in choices], (count, 1))


def answered(fitted: FittedModel, records: Sequence[PreparedRecord], question: str) -> Array:
    """(record, choice) probabilities of every choice that training reports name."""
    assert fitted.answers is not None
    ask = partial(answer_record, fitted.model, fitted.answers)
    return np.array(
        [ask(r, question, None, "training", ("ecg",), WINDOW_S).values for r in records]
    )


def pairing(
    fitted: FittedModel, prepared: Sequence[PreparedRecord], records: Sequence[Record]
) -> list[tuple[str, float, float, float]]:
    """Log likelihood a token of everyone's report, by their own ECG and by the others'."""
    assert fitted.answers is not None
    reader = fitted.answers.reader
    texts = [reader.text_of(record) for record in records]
    told = [own for own, text in zip(prepared, texts, strict=True) if text]
    reports = [text for text in texts if text]
    tokens = np.array([len(reader.encode(report)) for report in reports])
    ask = partial(report_log_prob, fitted.model, reader)
    table = np.array([ask(r, reports, ("ecg",), WINDOW_S) for r in told]) / tokens
    # One report, the ECGs exchanged: how long or rare it is cancels.
    rows = []
    for k, record in enumerate(told):
        others = np.delete(table[:, k], k)
        better = float((table[k, k] > others).mean())
        rows.append((record.subject, float(table[k, k]), float(others.mean()), better))
    return rows


def parse() -> argparse.Namespace:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="LUDB's folder of headers and signals")
    parser.add_argument("--steps", type=int, default=100, help="of training, of either network")
    parser.add_argument("--seeds", type=int, default=3, help="how many splits and seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--results", type=Path, help="folder of finished seeds, kept and read")
    return parser.parse_args()


def one_split(cohort: Cohort, seed: int, steps: int) -> Results:
    """Fit on two thirds of the people and ask about the others."""
    sides = cohort.split(test=0.3, seed=seed)
    train, test = (Cohort([resampled(record) for record in side]) for side in sides)
    print(f"seed {seed}: {len(train)} subjects to fit, {len(test)} unseen", flush=True)
    chosen = {"recipe": ALONE, "window_s": WINDOW_S, "preprocessing": PREPARATION}
    fitted = fit(train, steps=steps, seed=seed, text=REPORT, held_out=0.2, progress=False, **chosen)
    results = Results()
    compare(fitted, train, test, steps, seed, results)
    return results


def main() -> None:
    """Fit and compare, a split a seed."""
    options = parse()
    warnings.filterwarnings("ignore", category=UserWarning)
    results, cohort = Results(), None
    for seed in range(options.first, options.first + options.seeds):
        file = options.results / f"seed-{seed}.json" if options.results else None
        if file is not None and file.is_file():
            own = Results.from_json(file.read_text())
        else:
            # short records: read them once
            cohort = cohort or Cohort(list(with_reports(read(options.data))))
            own = one_split(cohort, seed, options.steps)
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(own.to_json())
        results.more(own)
    print(results.table())


if __name__ == "__main__":
    main()
