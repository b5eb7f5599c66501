"""ECG and reports: what the signals say of a report, beside what labels alone can teach.

    python benchmarks/reports.py --data DIR/ludb/data --steps 600 --seeds 0 1 2

LUDB, split by subject. `answer` is beside a network of the same encoder and guide trained on the
two labels alone for as many steps, a linear probe on the frozen embedding of the same fitted model,
and the training shares. None of them sees a report of the people it is scored on; a machine's
reports are left out of the test side (LUDB has none).

Measured, one split, 600 steps: a null result. No network here, nor the one of labels alone, tells
rhythm or axis better than the training shares; a person's own ECG is no likelier beside their
report than beside another's (48 % of pairs). With 12 leads the probe's log probability is a little
above that of the shares (-0.82 against -0.86 and -1.34 against -1.37).
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline, make_pipeline
from torch import Tensor, nn

from latentphys.api import VARIED_BESIDE_TEXT, fit, read
from latentphys.fitted import FittedModel
from latentphys.inference.answers import report_log_prob
from latentphys.learning.specification import sensors_of
from latentphys.model.statespace import ModelSpec, StateSpaceModel
from latentphys.preparation.augmentation import Augmentation
from latentphys.preparation.batch import Batch, collate
from latentphys.preparation.loading import WindowLoader
from latentphys.preparation.preprocessing import (
    DEFAULT_PLANS,
    PreparedRecord,
    Preprocessing,
    SignalPlan,
)
from latentphys.preparation.windows import tile
from latentphys.recipes.statespace import RECIPE
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.findings import QUESTIONS, answer_in
from latentphys.recordings.record import Record
from latentphys.recordings.reports import REPORT, machine_texts, with_reports
from latentphys.trust.decisions import brier_score, calibration_error, selective_risk

# The axis is in how large the leads are beside one another: one scale for all of them.
ECG = SignalPlan(low_hz=0.05, high_hz=40.0, flat_s=2.0, location=0.0, scale=0.25, units="mV")
PREPARATION = Preprocessing({**DEFAULT_PLANS, "ecg": ECG})
LEADS = {12: None, 3: ["i", "ii", "v2"], 1: ["ii"]}
Array = NDArray[np.float64]
Answers = dict[str, dict[str, str | None]]


def labels_of(cohort: Cohort) -> Answers:
    """question -> record name -> what its report says; a machine's report says nothing."""
    reports = {
        r.record: "" if REPORT in machine_texts(r) else r.texts.get(REPORT, "") for r in cohort
    }
    return {q: {name: answer_in(text, q) for name, text in reports.items()} for q in QUESTIONS}


def scores(probability: Array, truth: Sequence[int]) -> dict[str, float]:
    """Accuracy, macro-F1 over classes that occur, and how far to believe the probabilities."""
    from sklearn.metrics import f1_score

    said = probability.argmax(1)
    right = said == np.asarray(truth)
    own = probability[np.arange(len(truth)), truth]
    return {
        "accuracy": float(right.mean()),
        "macro-F1": float(
            f1_score(truth, said, average="macro", labels=np.unique(truth), zero_division=0)
        ),
        "ECE": calibration_error(probability, truth, bins=10),
        "Brier": brier_score(probability, truth),
        "selective risk": selective_risk(probability, truth).area,
        "log prob": float(np.log(np.clip(own, 1e-12, None)).mean()),
    }


class LabelNetwork(nn.Module):
    """The model's encoder and guide network under a linear answer to each question.

    Args:
        spec: of the state-space model whose encoder and guide it has.
        sizes: choices of each question.
    """

    def __init__(self, spec: ModelSpec, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.body = StateSpaceModel(spec)
        self.look = nn.Sequential(nn.Linear(spec.latent_dim, 64), nn.SiLU(), nn.Dropout(0.3))
        self.heads = nn.ModuleDict(
            {q.replace(" ", "_"): nn.Linear(64, n) for q, n in sizes.items()}
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """question -> logits (batch, choice)."""
        mean = self.body.guide_of(self.body.evidence(batch)).mean
        pooled = self.look(mean).mean(1)
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
    sensors = sensors_of(train, RECIPE.state_rate_hz)
    net = LabelNetwork(
        ModelSpec(sensors, RECIPE.state_rate_hz), {q: len(choices) for q, choices in known.items()}
    )
    loader = WindowLoader(
        train,
        ("ecg",),
        125,
        RECIPE.state_rate_hz,
        8,
        seed,
        Augmentation(**VARIED_BESIDE_TEXT),
        bucketed=True,
    )
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
        if (number + 1) % 50 == 0:
            net.eval()
            with torch.no_grad():
                loss = float(net.loss(windows(checks), labels, known))
            if loss < best_loss:
                best_loss, best = loss, {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(best)
    print(f"labels alone: held-out loss {best_loss:.3f}", flush=True)
    return net.eval()


def windows(records: Sequence[PreparedRecord]) -> Batch:
    """The first ten seconds of every record."""
    index = tile(records, 10.0, 1e6, RECIPE.state_rate_hz)
    first = [int(np.flatnonzero(index.record_index == k)[0]) for k in range(len(records))]
    return collate(records, index, first, ("ecg",))


def probe(
    fitted: FittedModel, train: Cohort, labels: Mapping[str, str | None], known: list[str]
) -> Pipeline:
    """Logistic regression on the frozen embedding of whole training records."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    said = [labels[name] for name in train.names]
    rows = [k for k, choice in enumerate(said) if choice in known]
    features = fitted.embed(train, given=["ecg"], unit="record").values[rows]
    truth = [known.index(str(said[k])) for k in rows]
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)).fit(
        features, truth
    )


def compare(fitted: FittedModel, train: Cohort, test: Cohort, steps: int, seed: int) -> None:
    """Print the table of one split."""
    assert fitted.answers is not None
    labels, truth = labels_of(train), labels_of(test)
    known = {q: list(own) for q, own in fitted.answers.marginals.items()}
    held = set(fitted.about["held_out"])
    prepared = {r.record: fitted.prepared(r) for r in train}
    net = train_labels(
        [r for r in prepared.values() if r.subject not in held],
        [r for r in prepared.values() if r.subject in held],
        labels,
        known,
        steps,
        seed,
    )
    for question, choices in known.items():
        model = probe(fitted, train, labels[question], choices)
        said = [choice for choice in labels[question].values() if choice in choices]
        shares = np.array([said.count(choice) / len(said) for choice in choices])
        asked = [r for r in test if truth[question][r.record] in choices]
        right = [choices.index(str(truth[question][r.record])) for r in asked]
        for count, leads in LEADS.items():
            cut = [r if leads is None else r.select(ecg=leads) for r in asked]
            rows = {
                "answer": stacked(fitted, cut, question, choices, "training"),
                "answer, uniform prior": stacked(fitted, cut, question, choices, "uniform"),
                "labels alone": labelled(net, fitted, cut, question),
                "linear probe": model.predict_proba(
                    fitted.embed(Cohort(cut), given=["ecg"], unit="record").values
                ),
                "training shares": np.tile(shares, (len(cut), 1)),
            }
            for name, p in rows.items():
                told = "  ".join(f"{key} {value:6.3f}" for key, value in scores(p, right).items())
                print(f"seed {seed}  {question:13}  {count:2} leads  {name:22} {told}", flush=True)
    for count, leads in LEADS.items():
        cut = [r if leads is None else r.select(ecg=leads) for r in test]
        print(
            f"seed {seed}  report likelihood, {count:2} leads: {pairing(fitted, cut)}", flush=True
        )


def stacked(
    fitted: FittedModel, records: Sequence[Record], question: str, choices: list[str], prior: str
) -> Array:
    """(record, choice) probabilities."""
    found = [fitted.answer(r, question, choices, prior=prior).values for r in records]  # type: ignore[arg-type]
    return np.array(found)


@torch.no_grad()
def labelled(
    net: LabelNetwork, fitted: FittedModel, records: Sequence[Record], question: str
) -> Array:
    """(record, choice) probabilities of the network of labels."""
    batch = windows([fitted.prepared(record) for record in records])
    return net(batch)[question].softmax(-1).double().numpy()


def pairing(fitted: FittedModel, records: Sequence[Record]) -> str:
    """log p(report | ECG) of a person's own report, and of the others' reports."""
    assert fitted.answers is not None
    reader = fitted.answers.reader
    told = [record for record in records if reader.text_of(record)]
    reports = [reader.text_of(record) for record in told]
    tokens = np.array([len(reader.encode(report)) for report in reports])
    table = np.array(
        [
            report_log_prob(
                fitted.model, reader, fitted.prepared(r), reports, ("ecg",), fitted.window_s
            )
            for r in told
        ]
    )
    own = np.diag(table)
    # One report, the ECGs exchanged: how long or rare it is cancels.
    others = (table.sum(0) - own) / (len(told) - 1)
    beaten = np.array([(own[k] > np.delete(table[:, k], k)).mean() for k in range(len(told))])
    return (
        f"own {np.mean(own / tokens):.3f} nats a token, other people's ECG "
        f"{np.mean(others / tokens):.3f}; own ECG is the better of two in {beaten.mean():.1%}"
    )


def parse() -> argparse.Namespace:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="LUDB's folder of headers and signals")
    parser.add_argument("--steps", type=int, default=600, help="of training, of either network")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    return parser.parse_args()


def main() -> None:
    """Fit and compare, a split a seed."""
    options = parse()
    warnings.filterwarnings("ignore", category=UserWarning)
    cohort = with_reports(read(options.data))
    cohort = Cohort(list(cohort))  # short records: read them once
    for seed in options.seeds:
        train, test = cohort.split(test=0.3, seed=seed)
        print(f"seed {seed}: {len(train)} subjects to fit, {len(test)} unseen", flush=True)
        fitted = fit(
            train,
            steps=options.steps,
            seed=seed,
            window_s=10.0,
            text=REPORT,
            preprocessing=PREPARATION,
            progress=False,
        )
        for row in fitted.history.rows:
            print({name: round(value, 2) for name, value in row.items()}, flush=True)
        print(f"temperatures {dict(fitted.answers.temperature)}", flush=True)  # type: ignore[union-attr]
        compare(fitted, train, test, options.steps, seed)


if __name__ == "__main__":
    main()
