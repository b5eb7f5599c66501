"""A fitted model: each question is one call of a lower layer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, overload

import xarray as xr

from latentphys.inference.answers import Answers, Prior, answer_record, describe_record
from latentphys.inference.doors import check_cohort, check_list, warn_of_unheard
from latentphys.inference.embedding import Form, embed_records
from latentphys.inference.imputation import (
    Question,
    Scaling,
    as_images,
    check_modalities,
    impute_record,
)
from latentphys.inference.lags import LagQuestion, LagUnit, lag_records
from latentphys.inference.posterior import posterior_record
from latentphys.learning.checkpoints import check_weights, halved, load_model, save_model
from latentphys.learning.finetuning import Adapt
from latentphys.learning.objective import RECONSTRUCTING
from latentphys.learning.resuming import named_folder
from latentphys.learning.tracking import History
from latentphys.model.statespace import ModelSpec, StateSpaceModel
from latentphys.preparation.frames import as_frames
from latentphys.preparation.inputs import check_inputs
from latentphys.preparation.preprocessing import (
    PreparedRecord,
    Preprocessing,
    Step,
    units_of_channels,
)
from latentphys.preparation.spans import Spans, Unit, spans_of
from latentphys.recordings.arguments import number_between, seed_number, whole_number
from latentphys.recordings.beside import check_folder
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import (
    ArgumentError,
    CohortError,
    FitError,
    ModalityError,
    ModelFileError,
    UnitError,
    closest,
    listed,
)
from latentphys.recordings.modalities import normal_units
from latentphys.recordings.record import Record
from latentphys.recordings.units import UNCALIBRATED, quantity_of
from latentphys.trust.adapting import FinetuneRequest, finetune_cohort
from latentphys.trust.adapting import Kind as TaskLabels
from latentphys.trust.assessment import Assessment, assess_cohort
from latentphys.trust.audits.audit import Audit
from latentphys.trust.audits.running import Labels as Truths
from latentphys.trust.audits.running import Request as AuditRequest
from latentphys.trust.audits.running import audit_cohort
from latentphys.trust.calibration import Calibration
from latentphys.trust.conformal import Guarantee
from latentphys.trust.directions import score_model, warn_of_training_subjects
from latentphys.trust.held_out import (
    GAPS_S,
    Fitted,
    OnTrained,
    Request,
    calibrate_cohort,
    evaluate_cohort,
)
from latentphys.trust.inspection.inspecting import inspect_model
from latentphys.trust.inspection.result import Inspection
from latentphys.trust.probing import ProbeRequest, ProbeResult, probe_cohort
from latentphys.trust.rates import RESPIRATION, rate_intervals
from latentphys.trust.result import Evaluation
from latentphys.trust.targets import Labels
from latentphys.trust.tasks import Task, predict_cohort

TASK = "task."  # before the names of a head's weights in a saved model


@dataclass(frozen=True, eq=False)
class FittedModel:
    """What `latentphys.fit` returns.

    Attributes:
        model: the networks, in evaluation mode.
        preprocessing: how recordings are prepared for them.
        window_s: length of the windows it was trained on, seconds.
        history: every term of the objective over training.
        about: how it was fitted: subjects, budget, seed, versions.
        calibration: the repair of its intervals that `calibrate` found, if any.
        answers: what it needs beside the networks to answer questions; None without text.
        task: what `finetune` taught it, if anything.
    """

    model: StateSpaceModel
    preprocessing: Preprocessing
    window_s: float
    history: History
    about: dict[str, Any]
    calibration: Calibration | None = None
    answers: Answers | None = None
    task: Task | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities it was fitted with."""
        return tuple(self.model.spec.sensors)

    @property
    def training_subjects(self) -> tuple[str, ...]:
        """Subjects it was fitted on, those its best state was chosen on included."""
        return tuple(self.about.get("subjects", ()))

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
            (time, latent). Of a record in which none of the given was observed, the prior.

        Raises:
            ModalityError: a modality the model was not fitted with.
            ArgumentError: draws or a seed that cannot be.
            UnitError: a modality in units that training's cannot be converted to.
            InputError: inputs, none of which the model knows.

        Warns:
            UserWarning: records that have none of the given.
        """
        given = self._given(given)
        draws = whole_number("draws", draws, 1, "100 is usual.")
        seed = seed_number(seed)

        def ask(record: Record) -> xr.DataTree:
            prepared = self.prepared(record)
            return posterior_record(self.model, prepared, given, self.window_s, draws, seed)

        records = self._asked(data, given)
        if isinstance(data, Record):
            return ask(data)
        trees = {record.record: ask(record) for record in records}
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
        scaling: Scaling = "own",
        channels: Sequence[str] | None = None,
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
        scaling: Scaling = "own",
        channels: Sequence[str] | None = None,
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
        scaling: Scaling = "own",
        channels: Sequence[str] | None = None,
    ) -> xr.Dataset | xr.DataTree:
        """One sensor from others, with intervals, in its own units and at its own times.

        Warning:
            With `scaling="own"` two figures a channel, median and spread, are taken from what
            the record has of the target, to give the answer its size; nothing else of it is used.
            Where the size itself is to be found out, ask for `scaling="training"`.

        Args:
            data: a record, or a cohort (one child a record).
            target: the modality to impute; what the record has of it is not used unless it is
                also among `given`: then its gaps are filled, so that they join what is beside
                them.
            given: modalities it is imputed from; all others when left out, but for embeddings of
                the target, and what it is an embedding of.
            draws: posterior predictive draws, two or more.
            level: of the central interval [lower, upper], between 0 and 1.
            seed: of the draws.
            scaling: "own": in the size of the record's own target, channel by channel, where it
                has samples of it, else of the training subjects' typical one; "training": always
                the latter.
            channels: of the target, in the answer's order, the record's or not: leads that were
                not recorded, say. When left out the record's own; of a sensor it does not have,
                the one commonest in training.

        Returns:
            Dataset with mean, sd, lower, upper (channel, time) and draws
            (sample, channel, time); of images (time, y, x), with slice before time where there
            are several, on the grid the model was fitted with. Attribute `scaling` says whose
            size it has. The interval is of the predictive mixture, not of the draws alone. Of a
            cohort, a DataTree of them. Attribute `given` names the given modalities that were
            there; where none was, the answer is the prior's.

        Raises:
            ModalityError: a modality the model was not fitted with, or a channel that neither
                model nor record knows.
            ArgumentError: draws, a level, a seed, a scaling or channels that cannot be.
            UnitError: a modality in units that training's cannot be converted to.
            InputError: inputs, none of which the model knows.

        Warns:
            UserWarning: the model was taught a representation alone, not what sensors record; or
                records that have none of the given.
        """
        question = self._question(target, given, draws, level, seed, scaling, channels)
        records = self._asked(data, question.given)
        if isinstance(data, Record):
            return self._imputed(data, question)
        answers = {record.record: self._imputed(record, question) for record in records}
        return xr.DataTree.from_dict(answers)

    def score(
        self,
        data: Record | Cohort,
        target: str,
        *,
        given: Sequence[str] | None = None,
        draws: int = 100,
        level: float = 0.9,
        seed: int = 0,
    ) -> dict[str, float]:
        """How well a sensor that was recorded is imputed from others, means over subjects.

        Args:
            data: a record, or a cohort, of subjects the model was not fitted on.
            target: the modality to impute and hold against what was recorded.
            given: modalities it is imputed from, the target not among them; all others when
                left out.
            draws: posterior predictive draws, two or more.
            level: of the interval whose coverage is counted.
            seed: of the draws.

        Returns:
            The scores of `latentphys.trust.scores.score_imputation`, on the standardised signal.

        Raises:
            ModalityError: a modality the model was not fitted with, or the target among the given.
            ArgumentError: draws, a level or a seed that cannot be.
            CohortError: no record has both the target and one of the given.

        Warns:
            UserWarning: subjects that the model was fitted or chosen on are among them.
        """
        question = self._question(target, given, draws, level, seed, "own")
        if target in question.given:
            raise ModalityError(
                f"a score holds {target!r} against what others tell of it; got it among given. "
                f"Leave {target!r} out of given."
            )
        records = [data] if isinstance(data, Record) else _records(data)
        people = [data.subject] if isinstance(data, Record) else data.subjects
        warn_of_training_subjects(people, self.training_subjects)
        prepared = (self.prepared(record) for record in records)
        scores = score_model(self.model, prepared, question)
        if all(math.isnan(score) for score in scores.values()):
            raise CohortError(
                f"a score needs a record with samples of {target!r} and of one of "
                f"{listed(question.given)}; none has them. Look at them with lp.plot_record."
            )
        return scores

    def evaluate(
        self,
        cohort: Cohort,
        *,
        training: Cohort | None = None,
        subsets: Sequence[Sequence[str]] | None = None,
        gaps_s: Sequence[float] = GAPS_S,
        missing: Sequence[str | float] = (),
        draws: int = 32,
        seed: int = 0,
        trained: OnTrained = "refuse",
    ) -> Evaluation:
        """How good it is on people it never saw, for every missing pattern, beside baselines.

        Scores: log score (nats a sample), CRPS (standard deviations), correlation, the median
        correlation in windows, NRMSE, coverage at 50, 80, 90 and 95 %, PIT. Baselines: the
        mean, ridge regression on lagged samples, a Kalman smoother; in gaps also the last
        observation and linear interpolation.

        Warning:
            Every figure is on the standardised signal, which takes a recording's own scale from
            its own sensor; hidden samples are hidden after filtering.

        Args:
            cohort: people it was neither fitted nor calibrated with.
            training: what the baselines are fitted to; the other people of `cohort`, by thirds,
                when left out.
            subsets: sensors given while the others are absent; all 2^M - 1 when left out. Where
                no sensor is absent, what it makes of each sensor it is shown.
            gaps_s: lengths of gaps in one sensor of an otherwise complete recording, seconds.
            missing: shares of every sensor lost in bursts, as 0.5; "artefact" and "amplitude"
                hide a tenth of the samples by their own size.
            draws: posterior paths.
            seed: of draws, gaps and the resampling of people.
            trained: "refuse" people it was fitted with, or "warn".

        Returns:
            An `Evaluation`: labelled arrays in `tree`, a table when shown.

        Raises:
            SplitError: it was fitted or calibrated with some of these people.
            ArgumentError: draws, a seed, a gap's length or a kind of missingness that cannot be.
            ModalityError: a subset with a sensor it does not know.
            CohortError: nothing to score.
        """
        request = Request(training, subsets, gaps_s, missing, draws, seed, trained)
        return evaluate_cohort(self._for_trust(), cohort, request)

    def calibrate(
        self,
        cohort: Cohort,
        *,
        subsets: Sequence[Sequence[str]] | None = None,
        guarantee: Guarantee = "leave_one_out",
        draws: int = 32,
        seed: int = 0,
    ) -> FittedModel:
        """The same model with intervals repaired on people it was not fitted with.

        Conformal prediction with whole subjects, by missing pattern: the interval at a level
        becomes mean -+ q sd, q from the residuals of the calibration people, each weighing the
        same. The assumption: a new subject is exchangeable with them, and the pattern goes missing
        as it did here. What is promised, by `guarantee`, holds on average over people, not for
        each:

        "leave_one_out": q is such that people left out of the calibration one at a time are
        covered at the level on average (Beran 1990); a new person is, but for an error that falls
        faster than 1 / K with K calibration subjects. It aims at the level and bounds nothing.
        "finite_sample": a sample at a random time of a new subject is covered with at least the
        level's probability, at any K (Lee, Barber and Willett 2023). Too wide by up to 1 / (K + 1);
        above K / (K + 1) infinite: 95 % takes 19 people.
        "asymptotic": no correction (Dunn, Wasserman and Ramdas 2023); narrow with few.

        Args:
            cohort: calibration people; evaluate on others.
            subsets: the patterns calibrated; all when left out. Others take a pooled factor.
            guarantee: "leave_one_out", "finite_sample" or "asymptotic".
            draws: posterior paths.
            seed: of draws and gaps.

        Returns:
            A copy whose `impute` uses the repair, and that is saved with it; so does its
            `breathing_rate`, where breaths of the calibration people were marked.

        Raises:
            SplitError: it was fitted with some of these people.
        """
        calibration = calibrate_cohort(self._for_trust(), cohort, subsets, guarantee, draws, seed)
        return replace(self, calibration=calibration)

    def breathing_rate(
        self,
        data: Record | Cohort,
        *,
        given: Sequence[str] | None = None,
        draws: int = 100,
        level: float = 0.9,
        seed: int = 0,
    ) -> xr.Dataset | xr.DataTree:
        """How fast somebody breathes, by windows of 32 s, from sensors other than respiration.

        Breaths are counted in the mean of the imputed respiration's draws, and in each of them for
        an interval. Draws share much of their rhythm, so that their own spread is too narrow for a
        new person: calibrate on people whose breaths were marked, and the interval is repaired as
        those of samples are, with the same promise and assumption (`calibrate`).

        Args:
            data: a record, or a cohort (one child a record).
            given: modalities it is told from; all but respiration when left out.
            draws: of the respiration, two or more.
            level: of the interval.
            seed: of the draws.

        Returns:
            Dataset with rate, lower, upper (window), breaths a minute, and coordinates start_s
            and stop_s; attribute `calibration` tells what the interval promises, and is empty of
            one that was not repaired. A record shorter than 32 s has no window.

        Raises:
            ModalityError: a model without respiration ("resp"), or a modality it does not know.
            ArgumentError: draws, a level or a seed that cannot be.

        Warns:
            UserWarning: records that have none of the given.
        """
        question = self._question(RESPIRATION, given, draws, level, seed, "own")

        def ask(record: Record) -> xr.Dataset:
            prepared = self.prepared(record)
            return rate_intervals(self.model, prepared, question, self.calibration)

        records = self._asked(data, question.given)
        if isinstance(data, Record):
            return ask(data)
        return xr.DataTree.from_dict({record.record: ask(record) for record in records})

    def audit(
        self,
        cohort: Cohort,
        *,
        only: Sequence[str] | None = None,
        training: Cohort | None = None,
        labels: Truths | None = None,
        draws: int = 8,
        seed: int = 0,
    ) -> Audit:
        """What the model follows and what it ignores, each beside a control, in words.

        leakage: someone or something here was in training. collapse: the posterior is the prior.
        dominance: sensors that are not heard. lag: delays that fusion erases. dose: gain, noise,
        clock, lead placement, filter or sampling rate move the state, or heart rate, PR or QT do
        not by as much as they were changed. responsive: probes of rates, transit times, marked
        PR, QRS and QT, and sleep stages in new people. identity: people known by gain; devices,
        wards, rates. pathology: findings of reports, and the nuisances that look like them.
        pairing: imputed sensors that are of nobody. shuffled: labels told without any order.

        Warning:
            The verdict goes by the whole 95 % interval over people: "unsure" is not "fine". The
            middle four minutes of each record are looked at, the middle one for PR and QT.

        Args:
            cohort: people the model was not fitted with.
            only: names of audits; all when left out.
            training: what it was fitted on, to find copies under other names.
            labels: name -> a function of a record that gives numbers over time (a DataArray with
                coordinate `time`, as `latentphys.labels` makes them), probed beside the rates.
            draws: posterior paths that read-outs are averaged over.
            seed: of draws, folds, permutations and resampled people.

        Returns:
            An `Audit`: a table when shown; `save` writes report.html and audit.json.

        Raises:
            ArgumentError: an audit that there is not, draws or a seed that cannot be.
            CohortError: no record has a sensor of the model.
        """
        request = AuditRequest(only, training, labels, draws, seed)
        return audit_cohort(self._for_trust(), cohort, request)

    def inspect(self, cohort: Cohort | None = None, *, seed: int = 0) -> Inspection:
        """What each number of the state does, and where its transition rests and turns.

        Of each number: its spectrum and memory, how much of it the phase of heart and breath
        tells, which known figure it goes with more than chance would have it (heart rate,
        breathing rate, transit time, marked PR, QRS and QT), and what moving it by one standard
        deviation does to each sensor. Of the transition, whichever it is: fixed points, and the
        frequency and decay of the motions about them.

        Warning:
            A loading is a correlation over these people, not a cause; a traversal moves one
            number while the others stay, where the body would move them together.

        Args:
            cohort: recordings whose posterior states are looked at, the middle four minutes of
                each; the model's own paths when left out.
            seed: of the paths, the starts, and the labels dealt to others.

        Returns:
            An `Inspection`: a table when shown, an xarray DataTree in `tree`, drawn by
            `latentphys.plot_inspection`.

        Raises:
            ArgumentError: no cohort, or a seed that cannot be.
            CohortError: no record has a sensor of the model.
            FitError: without a cohort, own paths that are not finite.

        Warns:
            UserWarning: without a cohort, own paths that run away.
        """
        return inspect_model(self._for_trust(), cohort, seed)

    def _imputed(self, record: Record, question: Question) -> xr.Dataset:
        prepared = self.prepared(record)
        imputed = impute_record(self.model, prepared, question)
        if self.calibration is not None:
            imputed = self.calibration.repair(imputed, prepared)
        own = prepared.signals.get(question.target)
        grid = self.model.spec.sensors[question.target].grid if own is None else own.grid
        return imputed if grid is None else as_images(imputed, grid)

    def _asked(self, data: Record | Cohort, given: Sequence[str]) -> Iterable[Record]:
        """The records to be asked about; one that nothing given tells of is warned of."""
        records = [data] if isinstance(data, Record) else _records(data)
        warn_of_unheard(data, given, self.modalities)
        return records

    def _for_trust(self) -> Fitted:
        return Fitted(
            self.model, self.prepared, self.window_s, self.training_subjects, self.calibration
        )

    def posterior_predictive(
        self, data: Record | Cohort, *, draws: int = 100, seed: int = 0
    ) -> xr.DataTree:
        """Every sensor given every sensor: what the model would have recorded again.

        Args:
            data: a record, or a cohort.
            draws: posterior predictive draws, two or more.
            seed: of the draws.

        Returns:
            DataTree with one child a modality (of a cohort, one child a record above it), each
            as `impute` gives it.

        Raises:
            ArgumentError: draws or a seed that cannot be.
            UnitError: a modality in units that training's cannot be converted to.
            InputError: inputs, none of which the model knows.
        """
        given, level = self.modalities, 0.9
        questions = [self._question(m, given, draws, level, seed, "own") for m in given]

        def ask(record: Record) -> xr.DataTree:
            answers = {q.target: self._imputed(record, q) for q in questions}
            return xr.DataTree.from_dict(answers, name=record.record)

        records = self._asked(data, given)
        if isinstance(data, Record):
            return ask(data)
        return xr.DataTree(children={record.record: ask(record) for record in records})

    def embed(
        self,
        data: Record | Cohort,
        unit: Unit = "window",
        *,
        given: Sequence[str] | None = None,
        per_modality: bool = False,
        pooled: bool = True,
        aligned: bool = False,
    ) -> xr.DataArray:
        """What the state is and does over each unit of time, for use elsewhere.

        A unit is a "patch" (one state step), a "beat" (from one R peak to the next: marked beats,
        else found in the ECG), an "epoch" (30 s, on the grid of the record's sleep stages if it
        has some), a "window" (of the model's length), a "record" or a "subject" (the mean of its
        records). A row has four features a latent dimension: `mean` of the posterior mean,
        `log_sd` its mean log posterior standard deviation, and `log_variation` and
        `log_increment`, the log root mean square of the posterior mean about its own mean and
        from step to step, whose ratio is how fast it moves; a patch has the first two. Units
        longer than a beat have the state's rhythms besides: `breathing_1`, `breathing_2` and
        `breathing_4` are the mean log frequency, in Hz, of its power from 0.07 to 0.8 Hz,
        weighted by the power to the 1, 2 and 4 (ever nearer the peak; `latentphys.model.figures`),
        and `heart_1` to `heart_4` from 0.8 to 4 Hz, where the model's clock shows them.

        What is left of a record after the last whole window or epoch is not a unit; a record
        shorter than one is one, as long as it is.

        Args:
            data: a record or a cohort.
            unit: what a row stands for.
            given: modalities used; all the model knows when left out.
            per_modality: the embedding given each of them alone.
            pooled: False gives a window's or epoch's posterior mean step by step.
            aligned: True gives a window's or epoch's unit vector, as contrastive recipes
                ("sleepfm") compare them: with per_modality, the dot product of two modalities'
                says how far they go together, and the nearest of others' is what they retrieve.

        Returns:
            (unit, feature), with per_modality (unit, modality, feature) in which a modality that
            a record lacks is NaN; without pooling (unit, step, latent). Coordinates subject,
            record, start_s and stop_s (of subjects: subject), of sequences since_s, the middle of
            each step from start_s on.

        Raises:
            ModalityError: a modality the model was not fitted with.
            ArgumentError: another unit, sequences or unit vectors of other units than windows and
                epochs, or unit vectors of a model that has none.
            LabelError: beats of a record that has neither marked beats nor an ECG.
            UnitError: a modality in units that training's cannot be converted to.
            InputError: inputs, none of which the model knows.

        Warns:
            UserWarning: records that have none of the given: their rows are the prior's.
        """
        form, given = Form(unit, per_modality, pooled, aligned), self._signals(given)
        # Each modality alone: one that a record lacks is NaN, and no prior.
        records = self._asked(data, () if per_modality else given)
        # A generator: a cohort's records are prepared one at a time.
        prepared = (self._with_spans(record, unit) for record in records)
        return embed_records(self.model, prepared, given, self.window_s, form)

    def lag(
        self,
        data: Record | Cohort,
        *,
        unit: LagUnit = "record",
        given: Sequence[str] | None = None,
        draws: int = 100,
        seed: int = 0,
    ) -> xr.Dataset:
        """By how much sensors follow the state, with a posterior: transit times, up to a constant.

        A model has lags where it was fitted with them, `recipe("statespace", model={"lags":
        ("ppg",)})`. A lag is against what is usual among the training subjects (the prior's
        mean is 0 here), so only differences between people and moments mean anything.

        Args:
            data: a record or a cohort.
            unit: what a row stands for: a "record" or a "subject", whose posterior has the moments
                of its windows' mixed, or a "window" of the model's length.
            given: modalities used; all the model knows when left out. Without the sensor itself,
                or without any other, the answer is the prior.
            draws: posterior draws.
            seed: of the draws.

        Returns:
            Dataset with mean, sd and told (unit, modality), and draws (sample, unit, modality),
            in seconds; `told` is False where the answer is the prior. Coordinates subject, but
            for subjects record, and of windows start_s.

        Raises:
            FitError: a model fitted without lags.
            ModalityError: a modality the model was not fitted with.
            ArgumentError: another unit, draws or a seed that cannot be.
        """
        draws = whole_number("draws", draws, 1, "100 is usual.")
        seed = seed_number(seed)
        question = LagQuestion(self._signals(given), unit, self.window_s, draws, seed)
        records = [data] if isinstance(data, Record) else _records(data)
        return lag_records(self.model, (self.prepared(record) for record in records), question)

    def probe(
        self,
        cohort: Cohort,
        labels: Labels,
        *,
        unit: Unit = "window",
        kind: Literal["auto", "number", "class", "ordinal"] = "auto",
        given: Sequence[str] | None = None,
        folds: int = 5,
        seed: int = 0,
    ) -> ProbeResult:
        """What a linear probe reads of a label from the embedding, on people it was not fitted to.

        Ridge regression of numbers, logistic regression of classes, logistic regressions of each
        "above this level" of ordinal labels; the subjects are cut into folds, and the penalty is
        chosen by subjects within the training folds. Beside it, in the same folds: the same probe
        on the untrained network, on raw features (mean, sd and log power in half octaves of each
        sensor) and on nothing (the mean, or the majority).

        Args:
            cohort: people the model was not fitted with, two or more with labels.
            labels: "stage", "heart_rate", "breathing_rate", "task", or the name of an attribute,
                of a variable of the truth or of annotations of the recordings; a pandas Series,
                DataArray or mapping by (record, start_s), by record or by subject; or a function
                of a Record that gives a label, or a DataArray of labels over time. Units without
                one are left out.
            unit: as `embed` has them.
            kind: "number", "class" or "ordinal"; "auto" tells by the labels.
            given: modalities used; all the model knows when left out.
            folds: of subjects; as many as there are people, if they are fewer.
            seed: of folds, of the untrained network and of the resampling of people.

        Returns:
            A `ProbeResult`: a table when shown; `dataset` holds the scores of each set of
            features with intervals over people, and what was predicted of each unit.

        Raises:
            LabelError: no unit has a label, all have the same, or they are not of the kind; beats
                of a record that has none.
            SplitError: fewer than two subjects.
            ArgumentError: a unit, kind, number of folds or seed that cannot be.
            ModalityError: a modality the model was not fitted with.

        Warns:
            UserWarning: subjects that the model was fitted or chosen on are among them; or labels
                of nobody here, while somebody has none.
        """
        request = ProbeRequest(labels, unit, kind, self._signals(given), folds, seed)
        check_cohort(cohort, "a probe takes")
        return probe_cohort(self._for_trust(), cohort, request)

    def finetune(
        self,
        cohort: Cohort,
        labels: Labels,
        *,
        resilient: bool = True,
        adapt: Adapt = "frozen",
        kind: TaskLabels = "auto",
        unit: Unit = "window",
        given: Sequence[str] | None = None,
        class_weights: Literal["balanced"] | Mapping[Any, float] | None = None,
        held_out: float | Cohort = 0.2,
        steps: int = 400,
        seed: int = 0,
        progress: bool = True,
    ) -> FittedModel:
        """The same model taught to tell a label, whichever of its sensors will be there.

        With `resilient`, subsets of each window's sensors are looked at besides, random ones at
        every step or, by a head that is fitted in full, all of them: the window is encoded once,
        and the same head is asked of the posterior each subset leaves
        (`latentphys.learning.task_terms`). Training keeps the state that is best on held-out
        subjects, and ends when they gain nothing more. On the same subjects, probabilities get a
        temperature, and numbers a spread and conformal intervals, for each set of sensors; as
        they also chose the state, both are a little too sure.

        Warning:
            Held-out people whom the model itself was fitted on are no strangers to it, and
            intervals from few of them promise little: on BIDMC, 90 % intervals from five people
            held the breathing rate of eight new ones in 70 to 82 % of the epochs, by the sensors
            given (`benchmarks/finetuning.py`). Hold out a Cohort that the model has not seen.
            With adapt="full" the encoders and the guide move, the emissions stay: imputations
            get worse, and intervals that `calibrate` repaired are dropped. Survival is learned
            in batches, whose members alone are each other's risk set.

        Args:
            cohort: people to learn from; those the model was fitted on may be among them.
            labels: as `probe` takes them: a name, a Series, table, DataArray or mapping by
                (record, start_s), record or subject, a mapping record -> a label a unit, or a
                function of a Record. Survival: pairs (time, whether the event happened: True or
                False, 1 or 0), or a table with columns time and event.
            resilient: False teaches with every sensor alone.
            adapt: "frozen", a linear head on the model as it is, fitted in full with a penalty
                that held-out subjects choose (`latentphys.learning.linear_heads`); "head", a
                network on it; "full", the network, and encoders and guide move too.
            kind: "number", "class", "ordinal" (cumulative logits) or "survival" (Cox's partial
                likelihood); "auto" tells by the labels.
            unit: "window", "epoch", "record" or "subject".
            given: sensors used; all the model knows when left out.
            class_weights: class -> weight, or "balanced".
            held_out: share of the subjects that choose the state or the penalty, 0 for none; or a
                Cohort.
            steps: most updates, or iterations over all penalties.
            seed: of held-out subjects, weights, batches and subsets.
            progress: whether to draw a bar.

        Returns:
            A copy with a `task`, which `predict` and `assess` ask; `save` keeps it.

        Raises:
            LabelError: no unit has a label, all have the same, no event, not of the kind.
            SplitError: someone is both learned from and held out.
            ArgumentError: an argument that cannot be.
            ModalityError: a sensor the model was not fitted with.

        Warns:
            UserWarning: units without a label, which are left out, and labels of nobody here
                while somebody has none; nobody could be held out.
        """
        given = self._signals(given)
        check_cohort(cohort, "fine-tuning takes")
        request = FinetuneRequest(
            labels,
            kind,
            unit,
            resilient,
            adapt,
            tuple(name for name in self.modalities if name in given),
            class_weights,
            held_out,
            steps,
            seed,
            progress,
        )
        model, task = finetune_cohort(self._for_trust(), cohort, request)
        seen = dict.fromkeys((*self.training_subjects, *task.about["subjects"]))
        about = {**self.about, "subjects": list(seen)}
        repair = None if adapt == "full" else self.calibration
        return replace(self, model=model, about=about, calibration=repair, task=task)

    def predict(
        self,
        data: Record | Cohort,
        *,
        given: Sequence[str] | None = None,
        level: float = 0.9,
    ) -> xr.Dataset:
        """What the task it was fine-tuned for says of every unit, from the given sensors.

        Args:
            data: a record or a cohort.
            given: sensors used; those it was taught with when left out.
            level: of the intervals of numbers.

        Returns:
            Of classes: probability (unit, class), predicted (unit). Of numbers: mean, sd, lower
            and upper (unit). Of survival: risk (unit), the log hazard ratio, and survival
            (unit, horizon). Coordinates subject, record, start_s, stop_s and `sensors`, those the
            unit has of the given; without any, training's own shares, mean or risk 0. Attribute
            `calibration` says what is promised.

        Raises:
            FitError: a model that was not fine-tuned.
            ModalityError: a sensor the task was not taught with.
            ArgumentError: a level that cannot be.
        """
        task = self._task()
        given = task.given if given is None else self._given(given)
        level = number_between("level", level, 0.0, 1.0, "0.9 is usual.")
        if isinstance(data, Cohort):
            _records(data)
        return predict_cohort(self._for_trust(), task, data, task.known(given), level)

    def assess(
        self,
        cohort: Cohort,
        labels: Labels | None = None,
        *,
        subsets: Sequence[Sequence[str]] | None = None,
        level: float = 0.9,
        seed: int = 0,
        trained: OnTrained = "refuse",
    ) -> Assessment:
        """How good the task's predictions are on people it never saw, for every set of sensors.

        Args:
            cohort: people it was not fitted or fine-tuned with.
            labels: their labels; left out, those of the name it was fine-tuned with.
            subsets: sensors given while the others are absent; all when left out.
            level: of the intervals whose coverage is counted.
            seed: of the resampling of people.
            trained: "refuse" people it was made with, or "warn".

        Returns:
            An `Assessment`: a table when shown; scores with 95 % intervals over people beside
            those of training's mean, shares or no risk at all.

        Raises:
            FitError: a model that was not fine-tuned.
            SplitError: it was made with some of these people.
            LabelError: nobody here has a label, or one the task does not know.
            ArgumentError: no Cohort, a level or a seed that cannot be.
            ModalityError: no set of sensors, or one with a sensor the task was not taught with.
        """
        task = self._task()
        level = number_between("level", level, 0.0, 1.0, "0.9 is usual.")
        return assess_cohort(self._for_trust(), task, cohort, labels, subsets, level, seed, trained)

    def _task(self) -> Task:
        if self.task is None:
            raise FitError(
                "predictions are of a task, and this model was taught none. Teach it one with "
                "fit.finetune(cohort, labels)."
            )
        return self.task

    def _with_spans(self, record: Record, unit: Unit) -> tuple[PreparedRecord, Spans]:
        prepared, clock = self.prepared(record), self.model.spec.state_rate_hz
        return prepared, spans_of(record, prepared, unit, self.window_s, clock)

    def answer(
        self,
        record: Record,
        question: str,
        choices: Sequence[str] | None = None,
        *,
        prior: Prior = "training",
        given: Sequence[str] | None = None,
    ) -> xr.DataArray:
        """The probability of each answer to a question about the report the record would have.

        Warning:
            It is what reports of the training kind say of such signals, their authors' habits
            and errors included. It is not a diagnosis, and not for decisions on a person's care.
            On LUDB, with a hundred people to learn from, it tells the rhythm of unseen people
            with accuracy 0.82 (the commonest answer 0.73) and macro-F1 0.46 (0.21), and the
            electric axis with 0.66 (0.39) from 12 leads and 0.50 from three; few people there have
            the rarer ones (`benchmarks/reports.py`). Score it on your own people first.

        Args:
            record: what is asked about.
            question: "rhythm" or "electric axis" (`latentphys.recordings.findings.QUESTIONS`).
            choices: some of the question's answers; all that training reports name when left out.
            prior: "training": answers are as common as in training; "uniform": equally common,
                by the pointwise mutual information of answer and signals.
            given: modalities used; all signals, and no text, when left out.

        Returns:
            (choice,), summing to 1, with a temperature fitted on held-out training subjects.

        Raises:
            FitError: a model fitted without text.
            ArgumentError: a question, choices or prior that there is not.
            ModalityError: a modality the model was not fitted with.
        """
        answers, given = self._answers(), self._signals(given)
        return answer_record(
            self.model,
            answers,
            self.prepared(record),
            question,
            choices,
            prior,
            given,
            self.window_s,
        )

    def describe(
        self, record: Record, top: int = 5, *, given: Sequence[str] | None = None
    ) -> xr.DataArray:
        """The findings a report of the record would likeliest have, each with its probability.

        Candidates are findings that two training reports or more have, word for word; no text is
        made. A finding no training report has is never named.

        Warning:
            A ranking of sentences by how reports of the training kind go with such signals. It
            is not a diagnosis, and not for decisions on a person's care.

        Args:
            record: what is asked about.
            top: how many.
            given: modalities used; all signals, and no text, when left out.

        Returns:
            (finding,), the likeliest first, with coordinate `share`: how common each is in the
            training reports.

        Raises:
            FitError: a model fitted without text.
            ArgumentError: not a whole number of findings, one or more.
            ModalityError: a modality the model was not fitted with.
        """
        answers, given = self._answers(), self._signals(given)
        top = whole_number("top", top, 1, "5 is usual.")
        prepared = self.prepared(record)
        return describe_record(self.model, answers, prepared, top, given, self.window_s)

    def filtered(self, record: Record, modality: str) -> xr.DataArray:
        """A signal as the model sees it: filtered, artefacts NaN, in its own units.

        The truth to hold an imputation against.

        Args:
            record: that has the signal, or the images.
            modality: which.

        Returns:
            (channel, time), with the signal's own coordinates and attributes; of images
            ([slice,] time, y, x), on the model's grid.

        Raises:
            ModalityError: the record has no such signal.
        """
        if modality in record.images:
            return self._filtered_images(record, modality)
        if modality not in record.signals:
            raise ModalityError(
                f"record {record.record!r} has no modality {modality!r}; it has "
                f"{listed(record.modalities)}.{closest(modality, record.modalities)}"
            )
        signal = self.prepared(record.keep(modality)).signals[modality]
        return record.signals[modality].copy(data=signal.scale.to_units(signal.values))

    def _filtered_images(self, record: Record, modality: str) -> xr.DataArray:
        seen = self.prepared(record.keep(modality)).signals[modality]
        assert seen.grid is not None
        own, frames = record.images[modality], as_frames(seen.values, seen.grid)
        frames = frames * seen.scale.scale[0] + seen.scale.location[0]  # one for all slices
        coords = {"time": own["time"], **seen.grid.coords()}
        return xr.DataArray(
            frames.reshape(*own.shape[:-2], *seen.grid.shape), coords, own.dims, attrs=own.attrs
        )

    def prepared(self, record: Record) -> PreparedRecord:
        """A record as the model takes it: checked against its units and inputs, standardised.

        Signals in other units than in training are taken as what they are of training's, and
        answered in their own.

        Args:
            record: what is asked about.

        Raises:
            UnitError: a modality in units that training's cannot be converted to.
            InputError: inputs, none of which the model knows.
        """
        if not isinstance(record, Record):
            raise ArgumentError(
                f"a model is asked about a Record or a Cohort, got {type(record).__name__}. Read "
                "one with latentphys.read, or make one with Record.from_arrays."
            )
        for name, spec in self.model.spec.sensors.items():
            plan = self.preprocessing.plans.get(name)
            # Power in bands is in dB of whatever the signal is in: scaling takes off the offset.
            if name in record.signals and not (plan and plan.bands_hz):
                _check_units(record, name, spec.units)
        prepared = _in_units_of(self.model.spec, self.preprocessing).prepare(record)
        check_inputs(prepared, self.model.spec.inputs)
        if self.answers is not None:
            prepared = replace(prepared, tokens=self.answers.reader.read(record))
        return prepared

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write a folder of weights (safetensors) and JSON that `latentphys.load` reads.

        An interrupted save leaves a model that stood there before intact.

        Args:
            path: the folder, made if need be.
            half: round the weights to half precision (float16): half the size, and answers that
                differ in the third digit. They are single precision again once loaded.

        Raises:
            WriteError: no path, a file of that name, or a weight that half precision cannot hold.
            OSError: it cannot be written.
        """
        check_folder(named_folder(path))
        card = {
            "spec": self.model.spec.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
            "window_s": self.window_s,
            "history": self.history.to_dict(),
            "about": self.about,
        }
        if self.answers is not None:
            card["answers"] = self.answers.to_dict()
        if self.calibration is not None:
            card["calibration"] = self.calibration.to_dict()
        weights = self.model.state_dict()
        if self.task is not None:
            card["task"] = self.task.to_dict()
            head = self.task.head.state_dict()
            weights = {**weights, **{TASK + name: weight for name, weight in head.items()}}
        save_model(path, halved(weights) if half else weights, card)

    @classmethod
    def load(cls, path: str | Path, *, steps: Mapping[str, Step] | None = None) -> FittedModel:
        """The inverse of `save`; strict, and never runs code from the file.

        Args:
            path: the folder.
            steps: the preprocessing steps of one's own it was fitted with, if any, by name.

        Raises:
            ModelFileError: not a model of this release, weights that do not fit it, or other steps.
        """
        if not isinstance(path, str | Path):
            raise ModelFileError(
                f"a saved model is a folder, given by its path; got {type(path).__name__}. Write "
                "load('models/statespace'), say."
            )
        weights, card = load_model(path)
        try:
            model = StateSpaceModel(ModelSpec.from_dict(card["spec"]))
            window_s, about = float(card["window_s"]), dict(card["about"])
            history = History.from_dict(card["history"])
            preprocessing = Preprocessing.from_dict(card["preprocessing"], steps)
            repair = card.get("calibration")
            calibration = None if repair is None else Calibration.from_dict(repair)
            told = card.get("answers")
            answers = None if told is None else Answers.from_dict(told)
            taught = card.get("task")
            task = None if taught is None else Task.from_dict(taught)
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelFileError(
                f"{path} does not describe a model of this release: {error!r}. Load it with the "
                "release that wrote it, or save it again."
            ) from error
        heads = {} if task is None else task.head.state_dict()
        expected = {**model.state_dict(), **{TASK + name: w for name, w in heads.items()}}
        check_weights(expected, weights)
        if task is not None:
            task.head.load_state_dict({name: weights.pop(TASK + name) for name in heads})
        model.load_state_dict(weights)
        return cls(
            model.eval(), preprocessing, window_s, history, about, calibration, answers, task
        )

    def _answers(self) -> Answers:
        if self.answers is None:
            raise FitError(
                "questions about reports need a model that was fitted with them; this one reads "
                f"{listed(self.modalities)} alone. Fit with text='report'."
            )
        return self.answers

    def _question(
        self,
        target: str,
        given: Sequence[str] | None,
        draws: int,
        level: float,
        seed: int,
        scaling: Scaling,
        channels: Sequence[str] | None = None,
    ) -> Question:
        check_modalities(self.model, [target], "target")
        if isinstance(channels, str):
            raise ArgumentError(f"channels is a list of names, got {channels!r}. Write a list.")
        _warn_of_untaught(self.about)
        if given is None:
            known = (*self.modalities, *self.model.spec.texts)
            derived = self.model.spec.derived_from(target)
            given = [name for name in known if name != target and name not in derived]
        own = None if channels is None else tuple(channels)
        sources, window_s = self._given(given), self.window_s
        return Question(target, sources, draws, level, window_s, seed, scaling, own)

    def _signals(self, given: Sequence[str] | None) -> tuple[str, ...]:
        """Every sensor and no text unless it is asked for: a report tells the label."""
        return self._given(self.modalities if given is None else given)

    def _given(self, given: Sequence[str] | None) -> tuple[str, ...]:
        if given is None:
            return (*self.modalities, *self.model.spec.texts)
        check_list("given is a list of modalities", given, [*self.modalities], ModalityError)
        check_modalities(self.model, given, "given")
        return tuple(given)

    def __repr__(self) -> str:
        size = sum(weight.numel() for weight in self.model.parameters())
        told = "" if self.task is None else f"; {self.task}"
        return (
            f"FittedModel({', '.join(self.modalities)}; latent {self.model.spec.latent_dim} at "
            f"{self.model.spec.state_rate_hz:g} Hz, {size:,} weights{told})"
        )


def _warn_of_untaught(about: Mapping[str, Any]) -> None:
    """Say that an answer is an untrained network's."""
    weights = about.get("objective", {})
    if weights and not any(weights.get(term) for term in RECONSTRUCTING):
        warnings.warn(
            f"this model ({about.get('recipe', 'own objective')}) was taught a representation "
            "alone: no term of its objective tells what a sensor records, and what is imputed is "
            "an untrained network's. Use `embed` and `probe`, or fit with another recipe.",
            UserWarning,
            stacklevel=4,
        )


def _records(data: Cohort) -> Iterator[Record]:
    """The records of a cohort, one by one."""
    if not isinstance(data, Cohort):
        raise ArgumentError(
            f"a model is asked about a Record or a Cohort, got {type(data).__name__}. Put several "
            "records together as Cohort(records)."
        )
    return iter(data)


def _in_units_of(spec: ModelSpec, preprocessing: Preprocessing) -> Preprocessing:
    """The same steps; limits and fixed scalings without units are in those of training."""
    plans = dict(preprocessing.plans)
    for name, sensor in spec.sensors.items():
        plan, units = plans.get(name), normal_units(sensor.units)
        if plan is None or plan.units is not None or quantity_of(units) is None:
            continue
        if not plan.least == plan.most == plan.location is None:
            plans[name] = replace(plan, units=units)
    return replace(preprocessing, plans=plans)


def _check_units(record: Record, modality: str, trained: str) -> None:
    """Refuse units that are of another quantity than training's.

    Raises:
        UnitError: names both.
    """
    expected = quantity_of(normal_units(trained))
    for unit in dict.fromkeys(units_of_channels(record.signals[modality])):
        found = quantity_of(unit)
        known = unit not in UNCALIBRATED and trained not in UNCALIBRATED
        if known and unit != normal_units(trained) and (found is None or found != expected):
            raise UnitError(
                f"{modality!r} of record {record.record!r} is in {unit!r}, this model was fitted "
                f"on {modality!r} in {trained!r}, and one cannot be converted to the other. "
                "Convert the samples with Record.from_arrays, or drop them with "
                f"record.drop({modality!r})."
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
