"""A frozen encoder's features in a model: evidence, emission, and nothing where they are not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from latentphys.api import fit, load
from latentphys.learning.objective import Objective, _Seen
from latentphys.preparation.batch import collate
from latentphys.preparation.windows import tile
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.simulation import simulate
from latentphys.trust.patterns import Questions

if TYPE_CHECKING:
    from pathlib import Path

    from latentphys.fitted import FittedModel

Array = NDArray[np.float64]


class Components:
    """A principal component analysis of training subjects' windows."""

    def __init__(self, cohort: Cohort, window_s: float) -> None:
        from sklearn.decomposition import PCA

        rows = []
        for record in cohort:
            size = round(window_s * record.rate_hz("ppg"))
            x = record.signals["ppg"].values
            cut = x[:, : x.shape[1] // size * size].reshape(-1, size)
            rows.append(cut[np.isfinite(cut).all(1)])
        self.pca = PCA(n_components=3, random_state=0).fit(np.concatenate(rows))

    def __call__(self, windows: Array, rate_hz: float) -> Array:
        return np.asarray(self.pca.transform(windows[:, 0]))


@pytest.fixture(scope="module")
def sides() -> tuple[Cohort, Cohort]:
    records = simulate(subjects=6, minutes=0.3, seed=5, absent=0.0).keep("ecg", "ppg")
    train, test = records.split(test=0.3, seed=0)
    encoder = Components(train, 2.0)
    return tuple(  # type: ignore[return-value]
        side.with_embedding("ppg", encoder, window_s=2.0, hop_s=1.0, name="ppg_pca")
        for side in (train, test)
    )


@pytest.fixture(scope="module")
def fitted(sides: tuple[Cohort, Cohort]) -> FittedModel:
    return fit(sides[0], steps=3, latent_dim=6, window_s=8.0, progress=False, seed=0)


def test_features_are_a_sensor_of_their_own_rate_that_remembers_its_source(
    fitted: FittedModel,
) -> None:
    assert fitted.modalities == ("ecg", "ppg", "ppg_pca")
    spec = fitted.model.spec.sensors["ppg_pca"]
    assert spec.rate_hz == pytest.approx(1.0)
    assert spec.channels == ("ppg_pca_1", "ppg_pca_2", "ppg_pca_3")
    assert spec.likelihood == "normal"
    assert spec.source == "ppg"
    assert spec.reach == 13  # a second, half a window, of 12.5 steps
    assert fitted.model.spec.derived_from("ppg") == ("ppg_pca",)
    assert fitted.model.spec.derived_from("ppg_pca") == ("ppg",)
    assert fitted.model.spec.derived_from("ecg") == ()


def test_they_are_evidence_and_are_imputed(
    fitted: FittedModel, sides: tuple[Cohort, Cohort]
) -> None:
    record = sides[1][0]
    alone = fitted.posterior(record, given=["ecg"], draws=2)["posterior"]["z_mean"]
    more = fitted.posterior(record, given=["ecg", "ppg_pca"], draws=2)["posterior"]["z_mean"]
    assert not np.allclose(alone, more)
    told = fitted.impute(record, "ppg_pca", given=["ecg"], draws=4)
    assert told["mean"].shape == record.signals["ppg_pca"].shape
    np.testing.assert_allclose(told.time, record.signals["ppg_pca"].time)
    assert (told["sd"] > 0).all()
    assert np.isfinite(told["draws"]).all()


def test_a_sensor_is_not_imputed_from_its_own_embedding_unless_asked(
    fitted: FittedModel, sides: tuple[Cohort, Cohort]
) -> None:
    record = sides[1][0]
    plain = fitted.impute(record, "ppg", draws=4)
    assert plain.attrs["given"] == "ecg"
    from_ecg = fitted.impute(record, "ppg", given=["ecg"], draws=4)
    assert np.array_equal(plain["mean"], from_ecg["mean"])
    from_both = fitted.impute(record, "ppg", given=["ecg", "ppg_pca"], draws=4)
    assert not np.allclose(plain["mean"], from_both["mean"])


def test_without_them_the_answer_is_that_of_the_other_sensors_bit_for_bit(
    fitted: FittedModel, sides: tuple[Cohort, Cohort]
) -> None:
    record = sides[1][0]
    features = record.signals["ppg_pca"]
    silent = features.copy(data=np.full_like(features, np.nan))
    versions = [
        record.drop("ppg_pca"),
        replace(record, signals={**record.signals, "ppg_pca": silent}),
    ]
    expected = fitted.posterior(record, given=["ecg", "ppg"], draws=2)["posterior"]["z_mean"]
    for version in versions:
        found = fitted.posterior(version, draws=2)["posterior"]["z_mean"]
        assert np.array_equal(found, expected)


def test_an_evaluation_asks_no_sensor_of_its_own_embedding(
    fitted: FittedModel, sides: tuple[Cohort, Cohort]
) -> None:
    scored = fitted.evaluate(sides[1], training=sides[0], gaps_s=(), draws=2).to_dataframe()
    asked = {(row.label, row.target) for row in scored.itertuples() if np.isfinite(row.estimate)}
    assert ("ecg", "ppg") in asked
    assert ("ecg", "ppg_pca") in asked
    for label, target in asked:
        own = set(fitted.model.spec.derived_from(target))
        assert target in label.split("+") or not own & set(label.split("+"))


def test_training_hides_no_sample_that_an_embedding_would_tell(
    fitted: FittedModel, sides: tuple[Cohort, Cohort]
) -> None:
    prepared = [fitted.preprocessing.prepare(sides[1][0])]
    index = tile(prepared, fitted.window_s, fitted.window_s, fitted.model.spec.state_rate_hz)
    batch = collate(prepared, index, range(len(index)), fitted.modalities)
    objective = Objective(own_gaps=1.0)
    seen = _Seen.of(fitted.model, batch, objective, torch.Generator().manual_seed(0))
    hidden = [name for name in batch.mask if (batch.mask[name] & ~seen.shown.mask[name]).any()]
    assert hidden == ["ecg"]


def test_lost_samples_are_not_told_by_their_embedding(
    fitted: FittedModel, sides: tuple[Cohort, Cohort]
) -> None:
    record = fitted.preprocessing.prepare(sides[1][0])
    derived = {name: fitted.model.spec.derived_from(name) for name in fitted.modalities}
    lost = Questions((), (), (0.5,), derived=derived).patterns(record, fitted.modalities)
    assert [pattern.given for pattern in lost] == [("ecg", "ppg")]
    alone = {"ecg": (), "ppg_pca": ()}
    lost = Questions((), (), (0.5,), derived=alone).patterns(record, ("ecg", "ppg_pca"))
    assert [pattern.given for pattern in lost] == [("ecg", "ppg_pca")]


def test_a_saved_model_knows_the_source(fitted: FittedModel, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m")
    assert load(tmp_path / "m").model.spec == fitted.model.spec
