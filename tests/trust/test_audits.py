"""Audits find planted violations, leave a sound model alone, and say so where they cannot tell."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr

import latentphys as lp
from latentphys.cli import main
from latentphys.fitted import FittedModel
from latentphys.model.statespace import StateSpaceModel
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ArgumentError, CohortError
from latentphys.recordings.record import Record
from latentphys.trust.audits.audit import Audit
from latentphys.trust.audits.case import Case
from latentphys.trust.audits.dominance import shapley
from latentphys.trust.audits.edits import amplified, at_tempo, shifted
from latentphys.trust.audits.finding import Finding, judged
from latentphys.trust.audits.pairing import sign_flips
from latentphys.trust.audits.pathology import pathology
from latentphys.trust.audits.readout import beats_a_minute, delay_s
from latentphys.trust.audits.running import AUDITS
from latentphys.trust.audits.shuffling import shuffling


def simulated(subjects: int, minutes: float, seed: int) -> Cohort:
    return lp.simulate(subjects, minutes, seed, absent=0.0, nuisance=0.5).keep("ecg", "ppg")


@pytest.fixture(scope="module")
def training() -> Cohort:
    return simulated(8, 1.0, 3)


@pytest.fixture(scope="module")
def sound(training: Cohort) -> FittedModel:
    """Follows a pulse, which takes longer with gaps, with blocks or with little of the ELBO."""
    objective = {"elbo": 1.0, "cross": 3.0, "miss": 0.003, "block": 0.0, "own_gaps": 0.0}
    chosen = lp.recipe("statespace", objective=objective, training={"warm_up": 1.0 / 3.0})
    sizes = {"latent_dim": 12, "window_s": 8.0, "held_out": 0.0}
    return lp.fit(training, recipe=chosen, steps=250, seed=0, progress=False, **sizes)


@pytest.fixture(scope="module")
def people() -> Cohort:
    """Six whom it never saw."""
    return simulated(6, 0.6, 40).prefixed("new_")


@pytest.fixture(scope="module")
def audit(sound: FittedModel, people: Cohort) -> Audit:
    return sound.audit(people, draws=2)


def changed(model: FittedModel, change: Callable[[StateSpaceModel], None]) -> FittedModel:
    network = copy.deepcopy(model.model)
    with torch.no_grad():
        change(network)
    return replace(model, model=network)


def test_a_sound_model_is_no_worry(audit: Audit) -> None:
    assert {finding.audit for finding in audit} == set(AUDITS)
    for name in (
        "leakage",
        "collapse",
        "dominance",
        "lag",
        "identity",
        "dose: gain",
        "dose: clock",
        "dose: filter",
        "dose: sampling rate",
    ):
        assert audit[name].verdict == "fine", audit[name].words
    assert audit["lag"].value == pytest.approx(1.0, abs=0.25)
    assert audit["lag"].control_value < 0.3
    assert audit["dose: gain"].value == pytest.approx(0.0, abs=1e-3)
    shares = audit["dominance"].detail["share"]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert audit["identity"].value == pytest.approx(0.0, abs=1e-3)
    assert audit["dose: lead placement"].detail["bars"].keys() == {"ecg leads"}


def test_a_model_that_answers_the_same_to_everything_has_collapsed(
    sound: FittedModel, people: Cohort
) -> None:
    def change(network: StateSpaceModel) -> None:
        network.guide_network.head.weight.zero_()  # type: ignore[union-attr, operator]

    found = changed(sound, change).audit(people, only=["collapse", "lag"], draws=2)
    assert found["collapse"].value == 0
    assert found.worries() == ("collapse", "lag")
    assert found["lag"].value == pytest.approx(0.0, abs=0.05)


def test_a_sensor_without_evidence_is_ignored_and_the_other_speaks_alone(
    sound: FittedModel, people: Cohort
) -> None:
    def change(network: StateSpaceModel) -> None:
        network.encoder("ppg").to_evidence.weight.zero_()
        network.encoder("ppg").to_evidence.bias.fill_(-30.0)

    found = changed(sound, change).audit(people, only=["dominance"])["dominance"]
    assert found.verdict == "worry"
    assert found.words.startswith("Pseudo-unimodal: ecg alone")
    assert found.detail["share"]["ppg"] == pytest.approx(0.0, abs=1e-4)
    assert found.detail["perceptual"]["ppg"] == pytest.approx(0.0, abs=1e-4)


def test_a_state_in_fixed_units_knows_people_by_gain(sound: FittedModel, people: Cohort) -> None:
    loud = Cohort(
        [amplified(r, {"ppg": 0.3 * 1.6**k, "ecg": 2.0 * 0.7**k}) for k, r in enumerate(people)]
    )
    plans = dict(sound.preprocessing.plans)
    for name, sensor in sound.model.spec.sensors.items():
        location, scale = (float(np.median(x)) for x in (sensor.location, sensor.scale))
        plans[name] = replace(plans[name], location=location, scale=scale)
    fixed = replace(sound, preprocessing=replace(sound.preprocessing, plans=plans))
    found = fixed.audit(loud, only=["identity"])["identity"]
    assert found.verdict == "worry", found.words
    assert "Gain stands for the person" in found.words
    same = sound.audit(loud, only=["identity"])["identity"]
    assert (same.verdict, same.value) == ("fine", pytest.approx(0.0, abs=1e-3))


def test_people_of_training_and_copies_under_other_names_leak(
    sound: FittedModel, training: Cohort, people: Cohort
) -> None:
    named = sound.audit(training, only=["leakage"])["leakage"]
    assert (named.verdict, named.value) == ("worry", 1.0)
    assert "cohort.split" in named.words
    one = training[0].crop(5.0, 55.0)
    copied = Cohort([*people, replace(one, subject="x", record="x")])
    assert sound.audit(copied, only=["leakage"])["leakage"].verdict == "fine"
    found = sound.audit(copied, only=["leakage"], training=training)["leakage"]
    assert found.verdict == "worry"
    assert "'x'" in found.words
    assert sound.audit(people, only=["leakage"], training=training).worries() == ()


def test_what_cannot_be_tested_says_what_it_needs(sound: FittedModel, people: Cohort) -> None:
    found = sound.audit(Cohort([people[0].drop("ecg")]))
    assert {f.verdict for f in found if f.audit not in ("leakage", "collapse")} == {"not tested"}
    assert "Needs" in found["lag"].words
    assert "Not tested:" in found.summary
    json.loads(found.to_json())


def test_a_label_of_ones_own_is_probed(sound: FittedModel, people: Cohort) -> None:
    def heart(record: Record) -> object:
        assert record.truth is not None
        return record.truth["heart_rate"] / 60.0

    found = sound.audit(people, only=["responsive"], labels={"beats_a_second": heart})
    own, rate = found["responsive: beats a second"], found["responsive: heart rate"]
    assert own.value == pytest.approx(rate.value, abs=1e-3)


def test_arguments_are_refused(sound: FittedModel, people: Cohort) -> None:
    with pytest.raises(ArgumentError, match="Did you mean 'leakage'"):
        sound.audit(people, only=["leakge"])
    with pytest.raises(ArgumentError, match=r"Write \['lag'\]"):
        sound.audit(people, only="lag")
    with pytest.raises(ArgumentError, match="Cohort\\(records\\)"):
        sound.audit(people[0])  # type: ignore[arg-type]
    other = Record.from_arrays({"eeg": (np.ones(500), 100.0)}, subject="a")
    with pytest.raises(CohortError, match="ecg, ppg"):
        sound.audit(Cohort([other]))


class _Page(HTMLParser):
    """Text of a page, in order, and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.pictures, self.outside = "", 0, []  # type: ignore[var-annotated]
        self.tag = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tag = tag
        self.pictures += tag == "svg"
        self.outside += [v for k, v in attrs if k in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data if self.tag != "style" else ""


def test_the_report_begins_with_what_to_worry_about(audit: Audit, tmp_path: Path) -> None:
    bad = replace(audit["lag"], name="lag", verdict="worry", words="Fusion <erases> delays.")
    shown = Audit((*audit.findings[:3], bad), audit.about)
    page = _Page()
    page.feed(shown.save(tmp_path / "out").read_text(encoding="utf-8"))
    assert "Worry about lag (1 of 4 findings)" in page.text[:300]
    assert page.text.index("Fusion <erases> delays.") < page.text.index("leakage")
    # The curves of dominance and lag are under their intervals.
    assert page.pictures == 6
    assert {name for name in page.outside if name and not name.startswith("#")} == set()
    assert {"#lag", "#leakage"} <= set(page.outside)
    plain = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert plain["worries"] == ["lag"]
    assert plain["findings"][0]["low"] is None
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert repr(shown).splitlines()[1].startswith("worry")
    assert "<table>" in shown._repr_html_()


def test_the_figure_has_a_panel_a_finding(audit: Audit) -> None:
    axes = lp.plot_audit(audit)
    titles = [ax.get_title() for ax in axes.flat if ax.get_title()]
    assert titles == [f.name for f in audit.sorted() if f.verdict != "not tested"]
    line = next(ax for ax in axes.flat if ax.get_title() == "lag").lines[0]
    told = audit["lag"].detail["curves"]["series"]["told"]
    np.testing.assert_array_equal(line.get_ydata(), told)
    plt.close("all")


def test_the_command_fails_on_what_it_is_told_to(
    sound: FittedModel, training: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound.save(tmp_path / "model")
    for record in list(training)[:2]:
        record.write(tmp_path / "data" / f"{record.record}.nc")
    call = ["audit", str(tmp_path / "model"), str(tmp_path / "data")]
    assert main([*call, "--only", "leakage"]) == 0
    assert "Worry about leakage" in capsys.readouterr().out
    out = str(tmp_path / "out")
    assert main([*call, "--only", "collapse", "--fail-on", "leakage", "--out", out]) == 1
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"report.html", "audit.json"}
    assert main([*call, "--only", "leakage", "--fail-on", "collapse"]) == 0
    with pytest.raises(SystemExit) as stop:
        main([*call, "--fail-on", "domination"])
    assert stop.value.code == 2
    assert "Did you mean 'dominance'?" in capsys.readouterr().err


def test_the_command_fails_on_what_could_not_be_tested(
    sound: FittedModel, training: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound.save(tmp_path / "model")
    record = training[0].keep("ecg")
    record.write(tmp_path / "data" / f"{record.record}.nc")
    call = ["audit", str(tmp_path / "model"), str(tmp_path / "data"), "--only", "lag"]
    assert main([*call, "--fail-on", "lag"]) == 1
    assert "--fail-on asks for lag, which these recordings cannot test" in capsys.readouterr().out
    assert main([*call, "--fail-on", "lag", "--allow-untested"]) == 0
    assert main(call) == 0


@pytest.fixture(scope="module")
def dozen() -> Cohort:
    """Twelve people, every second with a slow heart and a report and a device that say so."""
    made = []
    for k, record in enumerate(simulated(12, 0.6, 70)):
        slow = k % 2 == 0
        notes = {
            "device": "A" if slow else "B",
            "comments": f"<diagnoses>:\n{'First degree block' if slow else 'Sinus rhythm'}.",
        }
        paced = at_tempo(record, 0.7 if slow else 1.3)
        # What was played faster ends early.
        made.append(replace(paced, attrs=notes, truth=None, annotations={}).crop(0.0, 25.0))
    return Cohort(made).prefixed("other_")


def test_devices_that_differ_are_told_and_dealt_ones_are_not(
    sound: FittedModel, dozen: Cohort
) -> None:
    found = sound.audit(dozen, only=["identity"])["identity: device"]
    assert found.verdict == "worry"
    assert found.value > 0.8
    dealt = [
        replace(record, attrs={"device": "AAABBB"[k // 2], "ward": "xy"[k == 0]})
        for k, record in enumerate(dozen)
    ]
    other = sound.audit(Cohort(dealt), only=["identity"])
    assert other["identity: device"].verdict in ("fine", "unsure")
    assert other["identity: ward"].verdict == "not tested"
    assert "x 11, y 1" in other["identity: ward"].words


def test_what_is_nuisance_for_one_label_is_signal_for_another(
    sound: FittedModel, dozen: Cohort
) -> None:
    found = sound.audit(dozen, only=["pathology"])
    block = found["pathology: conduction block"]
    assert block.value > 0.8
    assert block.detail["people_with"] == 6
    towards = block.detail["towards"]
    # Here a block is a slow heart: slowing looks like it, amplifying does not.
    assert towards["slower by 15 %"] > 0.1
    assert abs(towards["gain (ecg x0.5)"]) < 0.01

    lost = pathology(_Blind(sound._for_trust(), dozen))[0]
    assert (lost.verdict, lost.value, lost.control) == ("worry", 0.5, "raw features")
    assert "Training lost what raw features tells" in lost.words
    bare = sound.audit(Cohort([replace(r, attrs={}) for r in dozen]), only=["pathology"])
    assert bare["pathology"].verdict == "not tested"


class _Blind(Case):
    """A state that is the same whatever was recorded."""

    def features(self, record: Record) -> np.ndarray:
        return np.zeros((1, 3))


class _BySize(Case):
    """A state that is the samples' size."""

    def features(self, record: Record) -> np.ndarray:
        return self.raw_features(record)[:, 3:5]


def test_a_label_told_of_shuffled_samples_is_a_worry(sound: FittedModel, dozen: Cohort) -> None:
    loud = Cohort([amplified(r, {"ppg": 1.3**k}) for k, r in enumerate(dozen)])

    def size(record: Record) -> object:
        values = np.log(np.nanstd(record.signals["ppg"].values[0]))
        return xr.DataArray([values], dims="time", coords={"time": [0.0]})

    case = _BySize(sound._for_trust(), loud, labels={"size": size})
    found = shuffling(case)[0]
    assert found.verdict == "worry", found.words
    assert found.name == "shuffled"
    assert found.value == pytest.approx(found.control_value, abs=0.05)
    assert "size is read from sizes, holes or the person" in found.words


def test_sleep_stages_are_probed_beside_their_controls(
    tiny_fit: FittedModel, tiny_cohort: Cohort
) -> None:
    staged = []
    for record in tiny_cohort.prefixed("asleep_"):
        stage = xr.DataArray(["W", "N2"], dims="event", coords={"time": ("event", [0.0, 30.0])})
        staged.append(replace(record, annotations={"stage": stage}))
    found = tiny_fit.audit(Cohort(staged), only=["responsive"])["responsive: sleep stage"]
    assert set(found.detail["bars"]) == {"latentphys", "untrained", "raw", "majority"}
    assert found.detail["limits"][0] == found.detail["bars"]["majority"]
    assert found.low <= found.value <= found.high


def test_a_verdict_goes_by_the_interval() -> None:
    assert judged(0.8, 1.2, least=0.7) == "fine"
    assert judged(0.1, 0.69, least=0.7) == "worry"
    assert judged(0.1, 0.9, least=0.7) == "unsure"
    assert judged(0.8, 1.4, 0.7, 1.3) == "unsure"
    assert judged(math.nan, math.nan, least=0.7) == "unsure"
    nan = math.nan
    one = Finding("lag", "H.", "slope", 0.8, 0.5, 1.0, "", nan, "unsure", "Cannot say.")
    audit = Audit((one,))
    assert audit.untested(["lag"]) == ("lag",)
    assert "Too few people to say: lag." in audit.summary
    assert "What these people are too few to say" in audit.to_html()


def test_shapley_values_add_up_and_are_symmetric() -> None:
    rng = np.random.default_rng(0)
    v = rng.standard_normal(8)
    phi = shapley(v, 3)
    assert phi.sum() == pytest.approx(v[7] - v[0])
    # The average over orders of arrival, written out.
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    for m in range(3):
        gains = []
        for order in orders:
            before = sum(1 << k for k in order[: order.index(m)])
            gains.append(v[before | 1 << m] - v[before])
        assert phi[m] == pytest.approx(np.mean(gains))


def test_delays_rates_and_edits_are_exact() -> None:
    t = np.arange(0.0, 30.0, 1 / 125.0)

    def beat(at: np.ndarray) -> np.ndarray:
        return np.exp(np.cos(2 * np.pi * 1.3 * at) * 3.0)

    assert delay_s(beat(t - 0.031), beat(t)) == pytest.approx(0.031, abs=5e-4)
    assert delay_s(beat(t), beat(t - 0.031)) == pytest.approx(-0.031, abs=5e-4)
    assert delay_s(np.zeros(500), np.zeros(500)) == 0.0
    assert beats_a_minute(beat(t)) == pytest.approx(78.0, abs=0.3)
    half_turn = np.cos(np.pi * np.arange(1250) / 1250) ** 3  # nothing in it repeats
    ripple = 1e-3 * np.random.default_rng(0).standard_normal(1250)
    assert math.isnan(beats_a_minute(half_turn + ripple))
    assert math.isnan(beats_a_minute(np.full(1250, np.nan)))
    record = Record.from_arrays({"ppg": (beat(t), 125.0)}, subject="s")
    late = shifted(record, "ppg", 0.04).signals["ppg"].values[0]
    np.testing.assert_allclose(late[10:], beat(t[10:] - 0.04), atol=0.05)
    assert np.isnan(late[:5]).all()
    fast = at_tempo(record, 1.1).signals["ppg"].values[0]
    seen = np.isfinite(fast)
    assert beats_a_minute(fast[seen]) == pytest.approx(85.8, abs=0.4)


def test_people_without_a_value_are_left_out(sound: FittedModel, people: Cohort) -> None:
    case = Case(sound._for_trust(), people)
    first = case.subjects[0]
    values = case.by_subject({first: [np.array([1.0, np.nan]), np.array([3.0, np.nan])]})
    assert values.shape == (2, 6)
    assert values[0, 0] == 2.0
    assert np.isnan(values[1]).all()
    assert np.isnan(values[0, 1:]).all()


def test_sign_flips_are_a_valid_p() -> None:
    rng = np.random.default_rng(1)
    p = np.array([sign_flips(rng.standard_normal(8), k) for k in range(200)])
    assert (p < 0.05).mean() <= 0.09
    assert sign_flips(np.abs(rng.standard_normal(10)), 0) < 0.01


def test_a_figure_that_is_not_known_is_a_dash() -> None:
    nan = math.nan
    finding = Finding("a: b", "", "", nan, nan, nan, "", nan, "not tested", "")
    assert (finding.figures, finding.audit) == ("-", "a")
    assert finding.to_dict()["value"] is None
