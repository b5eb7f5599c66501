"""Questions about reports: closed sets, probabilities that sum, nothing without a text to learn."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from latentphys import api
from latentphys.api import fit, load
from latentphys.inference import answers as own
from latentphys.inference.paths import infer_path
from latentphys.preparation.batch import collate
from latentphys.preparation.loading import WindowLoader
from latentphys.preparation.prefetching import Batches
from latentphys.preparation.tokens import TextReader, Vocabulary, ended
from latentphys.preparation.windows import tile
from latentphys.recipes.catalogue import recipe
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ArgumentError, FitError, ModalityError, ModelFileError
from latentphys.recordings.record import Record
from latentphys.recordings.reports import findings_in, mark_machine
from latentphys.recordings.simulation import simulate

if TYPE_CHECKING:
    from latentphys.fitted import FittedModel

REPORTS = (
    "Rhythm: sinus rhythm.\nElectric axis of the heart: normal.",
    "Rhythm: sinus bradycardia.\nElectric axis of the heart: left axis deviation.",
    "Rhythm: sinus rhythm.\nSTEMI: septal.",
)
SETTING = {"steps": 3, "latent_dim": 6, "window_s": 8.0, "progress": False, "seed": 0}


def with_report(record: Record, report: str) -> Record:
    return replace(record, texts={"report": report})


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    records = simulate(subjects=6, minutes=0.3, seed=3, absent=0.0)
    return Cohort([with_report(r, REPORTS[k % 3]) for k, r in enumerate(records)])


@pytest.fixture(scope="module")
def reading(cohort: Cohort) -> FittedModel:
    return fit(cohort, text="report", **SETTING)  # type: ignore[arg-type]


def test_an_answer_is_a_distribution_over_what_training_reports_named(
    reading: FittedModel, cohort: Cohort
) -> None:
    answer = reading.answer(cohort[0], "rhythm")
    assert answer.choice.values.tolist() == ["sinus", "bradycardia"]
    assert float(answer.sum()) == pytest.approx(1.0)
    assert "not a diagnosis" in answer.attrs["not_for"]
    assert "not a diagnosis" in reading.describe(cohort[0]).attrs["not_for"]
    assert (answer > 0).all()
    turned = reading.answer(cohort[0], "rhythm", ["bradycardia", "sinus"])
    np.testing.assert_allclose(turned.values, answer.values[::-1])
    assert reading.answer(cohort[0], "electric axis").choice.values.tolist() == ["normal", "left"]


def test_the_answer_is_from_signals_alone_unless_the_text_is_given(
    reading: FittedModel, cohort: Cohort
) -> None:
    record = cohort[0]
    bare = reading.answer(record.drop("report"), "rhythm").values
    assert np.array_equal(reading.answer(record, "rhythm").values, bare)
    read = reading.answer(record, "rhythm", given=["ecg", "report"]).values
    assert not np.allclose(read, reading.answer(record, "rhythm", given=["ecg"]).values)


def test_the_formulas(reading: FittedModel, cohort: Cohort) -> None:
    """Against the emission asked word by word, on the same paths."""
    networks = copy.deepcopy(reading.model)
    with torch.no_grad():  # draws that differ in what they say of the prompt too
        for weight in networks.text_emission.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    reading = replace(reading, model=networks)
    assert reading.answers is not None
    told, reader = reading.answers, reading.answers.reader
    record, emission = reading.prepared(cohort[0]), reading.model.text_emission
    generator = torch.Generator().manual_seed(0)
    paths = infer_path(reading.model, record, reading.modalities, 8.0, 16, generator).draws
    index = tile([record], 8.0, 8.0, 12.5)
    assert len(index) == 3  # the mean over windows as long as those it was fitted to
    parts = []
    for row, start in enumerate(index.start_step):
        batch = collate([record], index, [row], reading.modalities)
        parts.append(
            emission.pool(paths[:, None, start : start + 100], reading.model.shapes_of(batch))
        )
    pooled = torch.stack(parts).mean(0)

    def log_prob(report: str, where: slice) -> float:
        ids = torch.from_numpy(reader.encode(report))[None]
        tokens = own.Tokens("report", ids, torch.ones_like(ids, dtype=torch.bool))
        scored = torch.zeros_like(tokens.mask)
        scored[:, where] = True
        with torch.no_grad():
            each = emission(pooled, tokens).log_prob(ids)
            each = torch.where(scored, each, 0.0).sum(-1)
        return float(torch.logsumexp(each.flatten(), 0) - np.log(len(each)))

    phrases = ("sinus rhythm", "sinus bradycardia")
    score = np.array([log_prob(f"Rhythm: {phrase}", slice(2, None)) for phrase in phrases])
    held = told.reference(5)
    t = held.temperature["rhythm"]
    marginal = np.array(list(held.marginals["rhythm"].values()))
    ratio = np.exp((score - marginal) / t)
    uniform = reading.answer(cohort[0], "rhythm", prior="uniform")
    np.testing.assert_allclose(uniform.values, ratio / ratio.sum(), rtol=1e-5)
    ratio *= list(told.shares["rhythm"].values())
    answer = reading.answer(cohort[0], "rhythm")
    np.testing.assert_allclose(answer.values, ratio / ratio.sum(), rtol=1e-5)
    ranked = reading.describe(cohort[0], top=9)
    name = "rhythm: sinus bradycardia"
    share, t = told.shares["findings"][name], held.temperature["findings"]
    logit = np.log(share / (1 - share))
    logit += (log_prob(name, slice(None)) - held.marginals["findings"][name]) / t
    found = float(ranked.sel(finding=name))
    assert found == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)
    whole = own.report_log_prob(
        reading.model, reader, reading.prepared(cohort[0]), [REPORTS[1]], reading.modalities, 8.0
    )
    assert whole[0] == pytest.approx(log_prob(REPORTS[1], slice(None)), rel=1e-5)


def test_findings_are_ranked_and_never_made_up(reading: FittedModel, cohort: Cohort) -> None:
    ranked = reading.describe(cohort[0], top=3)
    assert ranked.shape == (3,)
    assert (np.diff(ranked.values) <= 0).all()
    every = reading.describe(cohort[0], top=99)
    trained = [r for r in cohort if r.subject not in reading.about["held_out"]]
    counted = Counter(f for r in trained for f in findings_in(r.texts["report"]))
    expected = {name: count / len(trained) for name, count in counted.items() if count > 1}
    assert len(expected) > 2
    shares = dict(zip(every.finding.values.tolist(), every.share.values.tolist(), strict=True))
    assert shares == pytest.approx(expected)


def test_a_finding_of_one_report_is_no_candidate(cohort: Cohort) -> None:
    records = list(cohort)
    records[0] = with_report(records[0], REPORTS[0] + "\nWandering atrial pacemaker.")
    told = fit(records, text="report", held_out=0.0, **SETTING)  # type: ignore[arg-type]
    assert told.answers is not None
    assert "wandering atrial pacemaker" not in told.answers.shares["findings"]
    assert told.answers.held_out == 0
    for held in told.answers.references.values():
        assert set(held.temperature.values()) == {1.0}


def test_a_saved_model_answers_the_same(
    reading: FittedModel, cohort: Cohort, tmp_path: Path
) -> None:
    reading.save(tmp_path / "m")
    back = load(tmp_path / "m")
    assert back.answers == reading.answers
    for question in ("rhythm", "electric axis"):
        a, b = (model.answer(cohort[1], question) for model in (reading, back))
        assert a.identical(b)
    assert back.describe(cohort[1]).identical(reading.describe(cohort[1]))
    card = tmp_path / "m" / "model.json"
    assert "not a diagnosis" in card.read_text()
    card.write_text(card.read_text().replace('"septal":', '"apical":'))
    with pytest.raises(ModelFileError, match="vocabulary is not the one that was saved"):
        load(tmp_path / "m")


def test_what_cannot_be_asked(reading: FittedModel, cohort: Cohort, tiny_fit: FittedModel) -> None:
    record = cohort[0]
    with pytest.raises(ArgumentError, match="one of rhythm, electric axis; got 'mood'"):
        reading.answer(record, "mood")
    with pytest.raises(ArgumentError, match="sinus, bradycardia, .* got 'fibrillation'"):
        reading.answer(record, "rhythm", ["sinus", "fibrillation"])
    with pytest.raises(ArgumentError, match="two choices or more, each given once; got sinus"):
        reading.answer(record, "rhythm", ["sinus"])
    with pytest.raises(ArgumentError, match="prior is 'training' or 'uniform', got 'flat'"):
        reading.answer(record, "rhythm", prior="flat")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="top"):
        reading.describe(record, top=0)
    with pytest.raises(ModalityError, match="given: .* got 'eeg'"):
        reading.answer(record, "rhythm", given=["eeg"])
    with pytest.raises(ModalityError, match="target: .* got 'report'"):
        reading.impute(record, "report")
    with pytest.raises(FitError, match="fitted with them; .* Fit with text='report'"):
        tiny_fit.answer(record, "rhythm")
    with pytest.raises(FitError, match="a text's name or a TextReader, got int"):
        fit(cohort, text=3, **SETTING)  # type: ignore[arg-type]


def test_windows_with_a_report_keep_their_rates_and_amplitudes(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bradycardia sped up by a fifth would be called what it no longer is."""
    streams = []

    def caught(stream: WindowLoader) -> Batches:
        streams.append(stream)
        return Batches(stream)

    monkeypatch.setattr(api, "Batches", caught)
    for text in (None, "report"):
        fit(cohort, text=text, **SETTING)  # type: ignore[arg-type]
    plain, told = (stream.augmentation for stream in streams)
    assert (plain.tempo, plain.gain) == (0.2, 0.2)
    assert (told.tempo, told.gain) == (0.0, 0.0)
    assert told.one_channel == plain.one_channel


def test_texts_change_nothing_unless_asked_for(cohort: Cohort) -> None:
    bare = Cohort([record.drop("report") for record in cohort])
    told, untold = (fit(each, **SETTING) for each in (cohort, bare))  # type: ignore[arg-type]
    for name, weight in untold.model.state_dict().items():
        assert torch.equal(weight, told.model.state_dict()[name])
    assert told.answers is None


def test_a_record_without_its_report_is_as_one_read_from_its_signals(
    reading: FittedModel, cohort: Cohort
) -> None:
    record, signals = cohort[0], reading.modalities
    from_signals = reading.posterior(record, given=signals, draws=2)["posterior"]["z_mean"]
    for report in (None, "", "qqq zzz"):
        bare = record.drop("report") if report is None else with_report(record, report)
        without = reading.posterior(bare, draws=2)["posterior"]["z_mean"]
        assert np.array_equal(from_signals, without)
    read = reading.posterior(record, draws=2)["posterior"]["z_mean"]
    assert not np.allclose(from_signals, read)


def test_a_report_alone_speaks_of_a_sensor(reading: FittedModel, cohort: Cohort) -> None:
    record = cohort[0]
    texts = [with_report(record, report) for report in REPORTS[:2]]
    a, b = (reading.impute(each, "ppg", given=["report"], draws=4)["mean"] for each in texts)
    assert a.shape == record.signals["ppg"].shape
    assert not np.allclose(a, b)


def test_a_report_of_ten_thousand_tokens_is_cut_with_a_warning(
    reading: FittedModel, cohort: Cohort
) -> None:
    long = with_report(cohort[0], "Sinus rhythm. " * 3334)
    with pytest.warns(UserWarning, match="first 128 tokens .* has 10002, of which 9874"):
        answer = reading.answer(long, "rhythm", given=["ecg", "report"])
    assert float(answer.sum()) == pytest.approx(1.0)


def test_a_machines_reports_are_dropped_by_one_argument(cohort: Cohort) -> None:
    records = list(cohort)
    # "pacing" is a word of the machine alone
    records[0] = mark_machine(with_report(records[0], REPORTS[0] + "\nPacing."))
    person = fit(records, text="report", **SETTING)  # type: ignore[arg-type]
    both = fit(records, text=TextReader(machine=True), **SETTING)  # type: ignore[arg-type]
    assert person.answers is not None
    assert both.answers is not None
    assert "pacing" not in person.answers.reader.known.text
    assert "pacing" in both.answers.reader.known.text
    marked = mark_machine(cohort[1])
    a, b = (person.posterior(each, draws=2) for each in (marked, cohort[1].drop("report")))
    assert np.array_equal(a["posterior"]["z_mean"], b["posterior"]["z_mean"])


def test_a_temperature_repairs_overconfidence() -> None:
    rng = np.random.default_rng(0)
    scores = np.log(rng.dirichlet([1.0, 1.0], 200))
    truth = (rng.random(200) < np.exp(scores[:, 1])).astype(int)

    def loss(t: float, sharper: float) -> float:
        said = own._chosen(np.array([0.5, 0.5]), sharper * scores, t)
        return -float(np.log(said[np.arange(200), truth]).sum())

    assert own._temperature(lambda t: loss(t, 4.0)) == pytest.approx(4.0, rel=0.3)
    assert own._temperature(lambda t: loss(t, 1.0)) == pytest.approx(1.0, rel=0.3)


def test_an_answer_of_few_channels_is_held_against_answers_of_few(
    reading: FittedModel, cohort: Cohort
) -> None:
    told = reading.answers
    assert told is not None
    assert list(told.references) == [1, 2, 5]  # two of the ECG and one each of the others
    assert told.reference(40) == told.references[5]
    assert told.reference(0) == told.references[1]
    flat = replace(told.references[1], temperature=dict.fromkeys((*own.QUESTIONS, "findings"), 1e9))
    numb = replace(reading, answers=replace(told, references={**told.references, 1: flat}))
    record = cohort[0]
    shares = list(told.shares["rhythm"].values())
    alone = numb.answer(record, "rhythm", given=["ppg"])
    np.testing.assert_allclose(alone.values, shares, rtol=1e-5)
    found = numb.describe(record, given=["ppg"], top=9)
    np.testing.assert_allclose(found.values, found.share.values, rtol=1e-5)
    both = (model.answer(record, "rhythm", given=["ecg", "ppg"]) for model in (numb, reading))
    assert next(both).identical(next(both))
    silent = {name: x.copy(data=np.full(x.shape, np.nan)) for name, x in record.signals.items()}
    lost = replace(record, signals={**silent, "ppg": record.signals["ppg"]})
    np.testing.assert_allclose(numb.answer(lost, "rhythm").values, shares, rtol=1e-5)


def test_masked_signals_and_masked_words_are_a_recipe(cohort: Cohort) -> None:
    small = {"latent_dim": 6, "evidence_dim": 8, "widths": (8, 12), "width": 8}
    chosen = recipe("csfm", model=small, batch_size=2, window_s=6.0)
    fitted = fit(cohort, text="report", recipe=chosen, steps=3, held_out=0.0, progress=False)
    row = fitted.history.rows[-1]
    assert "elbo" not in row
    assert row["mask/ecg"] != 0.0
    assert any(key.startswith("text") or "report" in key for key in row), sorted(row)


def test_a_clinical_vocabulary_is_plugged_in_by_its_file(cohort: Cohort, tmp_path: Path) -> None:
    """Its words are read in place of the reports' own; what it lacks is unknown, and not asked."""
    words = "Rhythm: sinus rhythm. Rhythm: sinus bradycardia. Rhythm: asystole. STEMI: septal."
    Vocabulary.train([ended(words)], kind="bpe").save(tmp_path / "clinical.json")
    clinical = Vocabulary.from_file(tmp_path / "clinical.json")
    reader = TextReader(vocabulary=clinical)
    told = fit(cohort, text=reader, **SETTING)  # type: ignore[arg-type]
    assert told.answers is not None
    assert told.answers.reader.known == clinical
    assert told.model.spec.text is not None
    assert told.model.spec.text.size == len(clinical)
    assert float(told.answer(cohort[0], "rhythm").sum()) == pytest.approx(1.0)
    assert "asystole" in clinical.text
    told.save(tmp_path / "m")
    assert load(tmp_path / "m").answers == told.answers
