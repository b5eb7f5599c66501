"""A fitted model: each question is one call of a lower layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, overload

import xarray as xr

from latentphys.inference.imputation import Question, check_modalities, impute_record
from latentphys.inference.posterior import Unit, embed_records, posterior_record
from latentphys.learning.checkpoints import check_weights, load_model, save_model
from latentphys.learning.tracking import History
from latentphys.model.statespace import ModelSpec, StateSpaceModel
from latentphys.preparation.preprocessing import PreparedRecord, Preprocessing, Step
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import CohortError, ModalityError, ModelFileError
from latentphys.recordings.record import Record


@dataclass(frozen=True, eq=False)
class FittedModel:
    """What `latentphys.fit` returns.

    Attributes:
        model: the networks, in evaluation mode.
        preprocessing: how recordings are prepared for them.
        window_s: length of the windows it was trained on, seconds.
        history: every term of the objective over training.
        about: how it was fitted: subjects, budget, seed, versions.
    """

    model: StateSpaceModel
    preprocessing: Preprocessing
    window_s: float
    history: History
    about: dict[str, Any]

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities it was fitted with."""
        return tuple(self.model.spec.sensors)

    def posterior(
        self,
        data: Record | Cohort,
        *,
        given: Sequence[str] | None = None,
        draws: int = 100,
        seed: int = 0,
    ) -> xr.DataTree:
        """The posterior physiological state over time.

        Args:
            data: a record, or a cohort (one child a record).
            given: modalities used; all the model knows when left out.
            draws: posterior paths.
            seed: of the draws.

        Returns:
            DataTree with group `posterior`: z (sample, time, latent), z_mean, z_sd
            (time, latent).

        Raises:
            ModalityError: a modality the model was not fitted with.
        """
        given = self._given(given)

        def ask(record: PreparedRecord) -> xr.DataTree:
            return posterior_record(self.model, record, given, self.window_s, draws, seed)

        if isinstance(data, Record):
            return ask(self.preprocessing.prepare(data))
        trees = {record.record: ask(self.preprocessing.prepare(record)) for record in data}
        return xr.DataTree(children=trees)

    @overload
    def impute(
        self,
        data: Record,
        target: str,
        *,
        given: Sequence[str] | None = None,
        draws: int = 100,
        level: float = 0.9,
        seed: int = 0,
    ) -> xr.Dataset: ...
    @overload
    def impute(
        self,
        data: Cohort,
        target: str,
        *,
        given: Sequence[str] | None = None,
        draws: int = 100,
        level: float = 0.9,
        seed: int = 0,
    ) -> xr.DataTree: ...
    def impute(
        self,
        data: Record | Cohort,
        target: str,
        *,
        given: Sequence[str] | None = None,
        draws: int = 100,
        level: float = 0.9,
        seed: int = 0,
    ) -> xr.Dataset | xr.DataTree:
        """One sensor from others, with intervals, in its own units and at its own times.

        Args:
            data: a record, or a cohort (one child a record).
            target: the modality to impute; what the record has of it is not used unless it is
                also among `given`.
            given: modalities it is imputed from; all others when left out.
            draws: posterior predictive draws.
            level: of the central interval [lower, upper].
            seed: of the draws.

        Returns:
            Dataset with mean, sd, lower, upper (channel, time) and draws
            (sample, channel, time); of a cohort, a DataTree of them.

        Raises:
            ModalityError: a modality the model was not fitted with.
        """
        check_modalities(self.model, [target], "target")
        if given is None:
            given = [name for name in self.modalities if name != target]
        question = Question(target, self._given(given), draws, level, self.window_s, seed)
        if isinstance(data, Record):
            return impute_record(self.model, self.preprocessing.prepare(data), question)
        answers = {
            record.record: impute_record(self.model, self.preprocessing.prepare(record), question)
            for record in data
        }
        return xr.DataTree.from_dict(answers)

    def posterior_predictive(
        self, data: Record | Cohort, *, draws: int = 100, seed: int = 0
    ) -> xr.DataTree:
        """Every sensor given every sensor: what the model would have recorded again.

        Returns:
            DataTree with one child a modality (of a cohort, one child a record above it), each
            as `impute` gives it.
        """
        if isinstance(data, Cohort):
            trees = {
                record.record: self.posterior_predictive(record, draws=draws, seed=seed)
                for record in data
            }
            return xr.DataTree(children=trees)
        answers = {
            name: self.impute(data, name, given=self.modalities, draws=draws, seed=seed)
            for name in self.modalities
        }
        return xr.DataTree.from_dict(answers, name=data.record)

    def embed(
        self, data: Record | Cohort, unit: Unit = "window", *, given: Sequence[str] | None = None
    ) -> xr.DataArray:
        """The state averaged over windows, records or subjects, for use elsewhere.

        Args:
            data: a record or a cohort.
            unit: "window", "record" or "subject".
            given: modalities used; all the model knows when left out.

        Returns:
            (unit, feature) with coordinates subject, record and start_s.
        """
        if unit not in ("window", "record", "subject"):
            raise ValueError(
                f"unit is 'window', 'record' or 'subject', got {unit!r}. Choose one of them."
            )
        records = [data] if isinstance(data, Record) else list(data)
        prepared = [self.preprocessing.prepare(record) for record in records]
        return embed_records(self.model, prepared, self._given(given), self.window_s, unit)

    def filtered(self, record: Record, modality: str) -> xr.DataArray:
        """A signal as the model sees it: filtered, artefacts NaN, in its own units.

        The truth to hold an imputation against.

        Returns:
            (channel, time).
        """
        signal = self.preprocessing.prepare(record).signals[modality]
        return record.signals[modality].copy(data=signal.scale.to_units(signal.values))

    def save(self, path: str | Path) -> None:
        """Write a folder of weights (safetensors) and JSON that `latentphys.load` reads.

        An interrupted save leaves a model that stood there before intact.
        """
        card = {
            "spec": self.model.spec.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
            "window_s": self.window_s,
            "history": self.history.to_dict(),
            "about": self.about,
        }
        save_model(path, self.model.state_dict(), card)

    @classmethod
    def load(cls, path: str | Path, *, steps: Mapping[str, Step] | None = None) -> FittedModel:
        """The inverse of `save`; strict, and never runs code from the file.

        Args:
            path: the folder.
            steps: the preprocessing steps of one's own it was fitted with, if any, by name.

        Raises:
            ModelFileError: not a model of this release, weights that do not fit it, or other steps.
        """
        weights, card = load_model(path)
        try:
            model = StateSpaceModel(ModelSpec.from_dict(card["spec"]))
            window_s, about = float(card["window_s"]), dict(card["about"])
            history = History.from_dict(card["history"])
            preprocessing = Preprocessing.from_dict(card["preprocessing"], steps)
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelFileError(
                f"{path} does not describe a model of this release: {error!r}. Load it with the "
                "release that wrote it, or save it again."
            ) from error
        check_weights(model.state_dict(), weights)
        model.load_state_dict(weights)
        return cls(model.eval(), preprocessing, window_s, history, about)

    def _given(self, given: Sequence[str] | None) -> tuple[str, ...]:
        if given is None:
            return self.modalities
        if isinstance(given, str):
            raise ModalityError(f"given is a list of modalities, got {given!r}. Write [{given!r}].")
        check_modalities(self.model, given, "given")
        return tuple(given)

    def __repr__(self) -> str:
        size = sum(weight.numel() for weight in self.model.parameters())
        return (
            f"FittedModel({', '.join(self.modalities)}; latent {self.model.spec.latent_dim} at "
            f"{self.model.spec.state_rate_hz:g} Hz, {size:,} weights)"
        )


def summary_of(cohort: Cohort) -> dict[str, Any]:
    """Names of a cohort's subjects and records, for a model's card.

    Raises:
        CohortError: the cohort is empty.
    """
    if not len(cohort):
        raise CohortError("a fit needs at least one record, got an empty cohort.")
    about: dict[str, Any] = {"subjects": list(cohort.subjects), "records": list(cohort.names)}
    return {**about, "split": cohort.split_digest} if cohort.split_digest else about


def software() -> dict[str, str]:
    """Versions a model was made with."""
    names = ("torch", "pyro-ppl", "numpy", "scipy", "xarray")
    return {name: version(name) for name in names}
