"""The verbs: read, simulate, fit, load."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from latentphys.fitted import FittedModel, software, summary_of
from latentphys.inference.answers import learn_answers
from latentphys.learning.objective import BLOCKS_S, RECONSTRUCTING, Objective
from latentphys.learning.resuming import Checkpoint, Kept, content_of
from latentphys.learning.specification import sensors_of, text_spec
from latentphys.learning.text_fitting import STEPS, STEPS_AN_UPDATE, fit_text_emission
from latentphys.learning.training import TrainingPlan, train
from latentphys.model.statespace import ModelSpec, SensorSpec, StateSpaceModel
from latentphys.preparation.augmentation import Augmentation
from latentphys.preparation.batch import Batch
from latentphys.preparation.delays import pulse_delays
from latentphys.preparation.inputs import names_of_inputs
from latentphys.preparation.loading import WindowLoader, unpadded
from latentphys.preparation.mapped import prepared
from latentphys.preparation.prefetching import Batches
from latentphys.preparation.preprocessing import (
    PreparedRecord,
    Preprocessing,
    Step,
)
from latentphys.preparation.tokens import ReadingPreparation, TextReader
from latentphys.recipes.catalogue import RECIPES, Recipe
from latentphys.recipes.catalogue import recipe as named_recipe
from latentphys.recordings.arguments import number_between, seed_number, whole_number
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import CohortError, FitError, SplitError, closest, listed
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record
from latentphys.recordings.simulation import simulate

__all__ = ["fit", "load", "read", "simulate"]

HELD_OUT_WINDOWS = 48
SLOW = 10.0  # state steps a sample of the fastest sensor from which a clock is too fast for all
# A report tells of rates and amplitudes: windows that go with one are not varied in them.
VARIED_BESIDE_TEXT = {"tempo": 0.0, "gain": 0.0}

_whole = partial(whole_number, error=FitError)
_number = partial(number_between, error=FitError)


def fit(
    cohort: Cohort | Record | Sequence[Record],
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    recipe: str | Recipe = "statespace",
    window_s: float | None = None,
    latent_dim: int | None = None,
    held_out: float | Cohort = 0.1,
    progress: bool = True,
    preprocessing: Preprocessing | None = None,
    checkpoint: str | Path | Checkpoint | None = None,
    text: str | TextReader | None = None,
) -> FittedModel:
    """Fit a deep state-space model to every modality of a cohort.

    Some of the cohort's subjects, or those of `held_out`, choose the best state of training. With
    `steps`, one seed gives the same weights every time on one machine; with `minutes` the
    number of steps depends on its speed.

    A cohort of any size trains: prepared signals beyond a quarter of the memory (or
    LATENTPHYS_MEMORY_GB) are mapped from temporary files, in the folder TMPDIR names.

    With `checkpoint`, a fit that was interrupted goes on when the same call is made again; with
    `steps`, to the same weights, bit for bit, as if it had not been. One that was finished is
    given back. `minutes` counts the time of all its parts.

    Args:
        cohort: the training subjects; a record, or a sequence of them, is made a cohort.
        minutes: wall-clock budget; 5 when neither budget is given.
        steps: number of updates instead.
        seed: of weights, batches and draws.
        recipe: a published system by name (`latentphys.recipe` says which), or a `Recipe` of
            one's own: model, objective, preparation and clock.
        window_s: length of the training windows, seconds; the recipe's when left out.
        latent_dim: size of the latent state; the recipe's when left out.
        held_out: share of the subjects held out, from 0 (none) up to, but not, 1; or a cohort of
            others, as a published split has them.
        progress: whether to draw a bar.
        preprocessing: plans and steps of one's own; the recipe's when left out.
        checkpoint: a folder, written every five minutes and at the end; a `Checkpoint` says how
            often.
        text: a text of the records to learn beside the signals, by name or by a `TextReader`;
            one marked as a machine's counts as absent unless the reader says `machine=True`.
            Windows then keep their tempo and gain, which a report tells of; and once the signals
            are learned the text's emission is fitted by itself, up to where it is best on the
            held-out subjects (`latentphys.learning.text_fitting`).

    Returns:
        The fitted model.

    Raises:
        CohortError: the cohort is empty, or no cohort, or its records' names are those held out.
        SplitError: a subject is both in the cohort and held out.
        UnitError: one modality comes in different units.
        FitError: nothing observed, an argument that cannot be, no finite loss, or a checkpoint of
            other recordings or arguments.
        ModelFileError: a checkpoint that is damaged.
        WriteError: a checkpoint that cannot be written.

    Warns:
        UserWarning: records without a sample of any modality and sensors without one in any
            record, which are left out; or a clock far ahead of every signal.
    """
    chosen = _recipe_of(recipe, window_s, latent_dim)
    steps, seed = _whole_numbers(steps, seed)
    minutes, held_out = _numbers(minutes, held_out)
    cohort = _cohort_of(cohort)
    plan = TrainingPlan(
        minutes=5.0 if minutes is None and steps is None else minutes,
        steps=steps,
        seed=seed,
        **chosen.training,
    )
    training, checking = _held_out(cohort, held_out, seed)
    everyone = cohort + held_out if isinstance(held_out, Cohort) else cohort
    about = {**summary_of(cohort), "software": software(), "plan": plan.to_dict()}
    about["subjects"], about["records"] = list(everyone.subjects), list(everyone.names)
    about["units"] = everyone.units
    preprocessing = _preprocessing(preprocessing, chosen)
    reader = _reader(text, training)
    preparation = ReadingPreparation(preprocessing, reader) if reader else preprocessing
    about["objective"], about["recipe"] = chosen.objective.to_dict(), chosen.name
    about["held_out"] = [entry.subject for entry in checking]
    own = {"window_s": chosen.window_s, "batch_size": chosen.batch_size, "sizes": chosen.model}
    kept = _kept(checkpoint, {**about, **own, "preprocessing": preprocessing.to_dict()})
    # What does not fit in memory is mapped from temporary files while this lasts.
    with (
        prepared(training, preparation) as records,
        prepared(checking, preparation) as reserve,
    ):
        spec = _model_spec(chain(records, reserve), records, chosen, preprocessing)
        spec = replace(spec, text=text_spec(reader)) if reader else spec
        torch.manual_seed(seed)
        model = StateSpaceModel(spec)
        if kept is not None:
            kept.agree({"model": spec.to_dict(), "content": content_of(records, reserve)})
        stream = _stream(records, spec, chosen, seed)
        _warn_of_silent(stream.silent, tuple(spec.sensors))
        with Batches(stream) as batches:
            checks = _checks(reserve, spec, chosen)
            history = train(model, batches, checks, chosen.objective, plan, progress, kept)
        if reader:
            least = min(STEPS, STEPS_AN_UPDATE * round(history.rows[-1]["step"]))
            fit_text_emission(model, records, reserve, chosen.window_s, seed, least)
        told = learn_answers(model, reader, records, reserve, chosen.window_s) if reader else None
    return FittedModel(model, preprocessing, chosen.window_s, history, about, answers=told)


def load(path: str | Path, *, steps: Mapping[str, Step] | None = None) -> FittedModel:
    """A model that `FittedModel.save` wrote.

    Args:
        path: the folder.
        steps: the preprocessing steps of one's own it was fitted with, if any, by name; code is
            never taken from a file.

    Raises:
        ModelFileError: not a model of this release, weights that do not fit it, or other steps.
    """
    return FittedModel.load(path, steps=steps)


def _recipe_of(given: str | Recipe, window_s: float | None, latent_dim: int | None) -> Recipe:
    """The recipe with the sizes that were given in place of its own."""
    if not isinstance(given, str | Recipe):
        raise FitError(
            f"a recipe is a name ({listed(RECIPES)}) or a Recipe; got {type(given).__name__}. "
            "Change one with latentphys.recipe(name, ...)."
        )
    chosen = named_recipe(given) if isinstance(given, str) else given
    if window_s is not None:
        window_s = _number("window_s", window_s, 0.0, math.inf, "It is in seconds; 16 is usual.")
        chosen = replace(chosen, window_s=window_s)
    if latent_dim is not None:
        latent_dim = _whole("latent_dim", latent_dim, 1, "32 is usual.")
        chosen = replace(chosen, model={**chosen.model, "latent_dim": latent_dim})
    _check_window(chosen)
    return chosen


def _check_window(recipe: Recipe) -> None:
    """Refuse windows shorter than the blocks whose means are scored.

    Raises:
        FitError: says how long they are at least.
    """
    clock = recipe.state_rate_hz
    steps = max(1, round(max(BLOCKS_S) * clock)) if recipe.objective.block > 0 else 1
    if recipe.window_steps < steps:
        raise FitError(
            f"a training window holds {steps} steps of the state or more, {steps / clock:g} s at "
            f"{clock:g} Hz, as long as a block whose mean recipe {recipe.name!r} scores; got "
            f"window_s={recipe.window_s!r}. Take a longer one, or objective={{'block': 0}}."
        )


def _preprocessing(given: Preprocessing | None, recipe: Recipe) -> Preprocessing:
    """What was given, else the recipe's."""
    if given is None:
        return recipe.preprocessing
    if not isinstance(given, Preprocessing):
        raise FitError(
            f"preprocessing is a Preprocessing, got {type(given).__name__}. Write "
            "Preprocessing(plans), or leave it out for the recipe's own."
        )
    return given


def _whole_numbers(steps: Any, seed: Any) -> tuple[int | None, int]:
    """The arguments that are whole numbers, as such."""
    if steps is not None:
        steps = _whole("steps", steps, 1, "Ask for 1000, say, or for minutes=5.")
    return steps, seed_number(seed, FitError)


def _numbers(
    minutes: float | None, held_out: float | Cohort
) -> tuple[float | None, float | Cohort]:
    """The arguments that are numbers, as such."""
    if minutes is not None:
        minutes = _number("minutes", minutes, 0.0, math.inf, "Ask for 5, say, or for steps=1000.")
    if isinstance(held_out, Cohort):
        return minutes, held_out
    words = "A tenth is usual, 0 for none; or give a Cohort."
    return minutes, _number("held_out", held_out, 0.0, 1.0, words, inclusive=True)


def _model_spec(
    everyone: Iterable[PreparedRecord],
    records: Sequence[PreparedRecord],
    recipe: Recipe,
    preprocessing: Preprocessing,
) -> ModelSpec:
    """The model that fits the training records, with the inputs that anyone has."""
    sensors = sensors_of(records, recipe.state_rate_hz, preprocessing.plans)
    _check_sensors(sensors, records, recipe)
    own = recipe.objective
    others = (getattr(own, name) for name in (*RECONSTRUCTING, "codes"))
    if len(sensors) < 2 and not any(others):
        raise FitError(
            f"recipe {recipe.name!r} brings sensors together and does nothing else, so it takes "
            f"two or more; got {listed(sensors)} alone. Give it others, or take another recipe."
        )
    inputs, sizes = names_of_inputs(everyone), _roomy(recipe, len(sensors))
    return ModelSpec(sensors, recipe.state_rate_hz, inputs=inputs, **sizes)


def _roomy(recipe: Recipe, sensors: int) -> dict[str, Any]:
    """A recipe's sizes, with a z of which half is shared however many sensors there are.

    A published size of z is for the sensors of its paper; one that a user chose is as it is.
    """
    sizes = dict(recipe.model)
    private = 2 * sizes.get("private_dim", 0) * sensors
    published = named_recipe(recipe.name).model if recipe.name in RECIPES else {}
    if "latent_dim" in published and sizes["latent_dim"] == published["latent_dim"]:
        sizes["latent_dim"] = max(sizes["latent_dim"], private)
    return sizes


def _check_sensors(
    sensors: Mapping[str, SensorSpec], records: Sequence[PreparedRecord], recipe: Recipe
) -> None:
    """Hold a recipe to the sensors there are.

    Raises:
        FitError: its objective names one that there is not.

    Warns:
        UserWarning: sensors of which nothing was observed, or a clock far ahead of all.
    """
    lost = sorted({name for record in records for name in record.signals} - set(sensors))
    if lost:
        warnings.warn(
            "a sensor is learned from its samples; without any in the training records once they "
            f"are prepared (NaN, constant, or beyond its limits), and left out: {listed(lost)}. "
            "Look at it with lp.plot_record.",
            UserWarning,
            stacklevel=4,
        )
    # A published recipe names sensors of its paper, which these people need not have.
    published = named_recipe(recipe.name).objective if recipe.name in RECIPES else Objective()
    for field in ("weights", "own_gaps"):
        given, theirs = (getattr(own, field) for own in (recipe.objective, published))
        known = {"", *sensors, *(theirs if isinstance(theirs, Mapping) else ())}
        for name in given if isinstance(given, Mapping) else ():
            if name not in known:
                raise FitError(
                    f"{field} of the objective are of the training records' sensors, "
                    f"{listed(sensors)}; got {name!r}.{closest(name, sensors)} Leave it out."
                )
    _warn_of_slow(sensors, recipe)


def _warn_of_slow(sensors: Mapping[str, SensorSpec], recipe: Recipe) -> None:
    """Say that every sensor is far slower than the model's clock."""
    fastest, clock = max(sensor.rate_hz for sensor in sensors.values()), recipe.state_rate_hz
    named = recipe.name if recipe.name in RECIPES else RECIPES[0]
    if fastest < clock / SLOW:
        warnings.warn(
            f"a state step is no shorter than the signals need; the fastest of {listed(sensors)} "
            f"has {fastest:.3g} samples a second, the model's clock {clock:g} Hz with windows of "
            f"{recipe.window_s:g} s. Take recipe=lp.recipe({named!r}, "
            f"state_rate_hz={fastest:.3g}, window_s={round(200 / fastest):d}), say.",
            UserWarning,
            stacklevel=5,
        )


def _stream(
    records: Sequence[PreparedRecord], spec: ModelSpec, recipe: Recipe, seed: int
) -> WindowLoader:
    """The training windows, varied."""
    varied = {**(VARIED_BESIDE_TEXT if spec.text else {}), **recipe.augmentation}
    return WindowLoader(
        records,
        (*spec.sensors, *spec.texts),
        recipe.window_steps,
        recipe.state_rate_hz,
        recipe.batch_size,
        seed,
        Augmentation(delay_s=pulse_delays(records), **varied),
        bucketed=True,
        inputs=spec.inputs,
    )


def _cohort_of(data: Cohort | Record | Sequence[Record]) -> Cohort:
    """A cohort of what is given.

    Raises:
        CohortError: no cohort and no records.
    """
    if isinstance(data, Record):
        return Cohort([data])
    if isinstance(data, list | tuple):
        return Cohort(data)
    if not isinstance(data, Cohort):
        raise CohortError(
            f"a fit takes a Cohort, a Record or a list of records, got {type(data).__name__}. Read "
            "one with latentphys.read(path)."
        )
    return data


def _reader(text: str | TextReader | None, training: Sequence[LazyRecord]) -> TextReader | None:
    """The reader of the text asked for, its words learned from the training subjects' texts."""
    if text is None:
        return None
    reader = TextReader(text) if isinstance(text, str) else text
    if not isinstance(reader, TextReader):
        raise FitError(
            f"text is a text's name or a TextReader, got {type(text).__name__}. Write "
            "text='report'."
        )
    return reader.trained(entry.load() for entry in training)


def _warn_of_silent(names: Sequence[str], modalities: Sequence[str]) -> None:
    if names:
        warnings.warn(
            f"a record trains with a sample of {listed(modalities)}; without any, and left out: "
            f"{listed(names)}. Look at them with lp.plot_record.",
            UserWarning,
            stacklevel=3,
        )


def _kept(checkpoint: str | Path | Checkpoint | None, identity: Mapping[str, Any]) -> Kept | None:
    """The checkpoint in use, refused before any work if it is of another training."""
    if checkpoint is None:
        return None
    own = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    return Kept(own, {name: value for name, value in identity.items() if name != "software"})


def _checks(reserve: Sequence[PreparedRecord], spec: ModelSpec, recipe: Recipe) -> list[Batch]:
    """Some windows of every held-out record, evenly spread; of a short one as long as it is."""
    if not reserve:
        return []
    total_s = sum(record.duration_s for record in reserve)
    hop_s = max(recipe.window_s, total_s / HELD_OUT_WINDOWS)
    size, names = 4 * recipe.batch_size, (*spec.sensors, *spec.texts)
    steps, clock = recipe.window_steps, spec.state_rate_hz
    return list(unpadded(reserve, steps, hop_s, clock, names, size, spec.inputs))


def _held_out(
    cohort: Cohort, held_out: float | Cohort, seed: int
) -> tuple[tuple[LazyRecord, ...], tuple[LazyRecord, ...]]:
    """Training records and the held-out ones; of a share, none from fewer than five subjects.

    Raises:
        SplitError: a subject is on both sides.
    """
    if isinstance(held_out, Cohort):
        both = sorted(set(cohort.subjects) & set(held_out.subjects))
        if both:
            raise SplitError(
                "who chooses the best state of training is nobody it learns from; on both sides "
                f"are {listed(both)}. Split by subject, as cohort.split(...) does."
            )
        return cohort.entries, held_out.entries
    if held_out <= 0 or len(cohort.subjects) < 5:
        return cohort.entries, ()
    training, checking = cohort.split(test=held_out, seed=seed)
    return training.entries, checking.entries
