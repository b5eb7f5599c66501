"""What a recipe is, and how one is found by name."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from latentphys.learning.objective import Objective
from latentphys.learning.training import TrainingPlan
from latentphys.learning.views import Masking
from latentphys.model.statespace import ModelSpec
from latentphys.preparation.augmentation import Augmentation
from latentphys.preparation.preprocessing import DEFAULT_PLANS, Preprocessing, SignalPlan
from latentphys.recordings.arguments import number_between, whole_number
from latentphys.recordings.errors import FitError, closest, listed

RECIPES = (
    "statespace",
    "csfm",
    "dmm",
    "dropfuse",
    "multimodal_mae",
    "physioomni",
    "sleepfm",
    "stethoscope",
)
MAPPINGS = ("model", "plans", "augmentation", "training")  # fields that are
# Fields that the recordings or the caller decide.
_NOT_OURS = {
    ModelSpec: ("sensors", "state_rate_hz", "inputs", "text"),
    TrainingPlan: ("minutes", "steps", "seed"),
    Augmentation: ("delay_s",),
}


@dataclass(frozen=True)
class Recipe:
    """A published system as a choice of model, objective and preparation.

    Attributes:
        name: of the recipe.
        source: the paper or book.
        objective: the terms' weights.
        state_rate_hz: the model's clock.
        window_s: length of the training windows, seconds.
        batch_size: windows a step.
        model: fields of `ModelSpec`, such as latent_dim or guide.
        plans: modality -> SignalPlan, in place of the default one.
        augmentation: fields of `Augmentation`.
        training: fields of `TrainingPlan`, such as learning_rate.

    Raises:
        FitError: a field that there is not, that is not a recipe's to choose, or a value that
            cannot be.

    Example:
        >>> recipe("sleepfm", window_s=300.0).objective.align
        1.0
    """

    name: str
    source: str = ""
    objective: Objective = field(default_factory=Objective)
    state_rate_hz: float = 12.5
    window_s: float = 16.0
    batch_size: int = 8
    model: Mapping[str, Any] = field(default_factory=dict)
    plans: Mapping[str, SignalPlan] = field(default_factory=dict)
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse fields that there are not, and values that cannot be, before any work."""
        if not isinstance(self.objective, Objective):
            raise FitError(
                f"objective is an Objective, got {type(self.objective).__name__}. Write "
                f"Objective(elbo=1.0), say, or change a recipe's own: recipe({RECIPES[0]!r}, "
                "objective={...})."
            )
        for name in MAPPINGS:
            _check_mapping(name, getattr(self, name))
        _numbers(self)
        chosen = ((self.model, ModelSpec), (self.training, TrainingPlan))
        for given, kind in (*chosen, (self.augmentation, Augmentation)):
            allowed = [f.name for f in fields(kind) if f.name not in _NOT_OURS[kind]]
            for name in given:
                if name not in allowed:
                    raise FitError(
                        f"a recipe chooses {listed(allowed)} of {kind.__name__}; got {name!r}."
                        f"{closest(name, allowed)}"
                    )

    @property
    def window_steps(self) -> int:
        """State steps of a training window."""
        return max(1, round(self.window_s * self.state_rate_hz))

    @property
    def preprocessing(self) -> Preprocessing:
        """The default plans with the recipe's own."""
        return Preprocessing({**DEFAULT_PLANS, **self.plans})


def _check_mapping(name: str, value: Any) -> None:
    """Refuse what cannot be laid over a recipe's own."""
    if not isinstance(value, Mapping):
        raise FitError(
            f"{name} of a recipe is a mapping of names to values, got {value!r}. Leave it out for "
            "the recipe's own."
        )


def _numbers(made: Recipe) -> None:
    """Refuse numbers of a recipe that cannot be."""
    for name in ("state_rate_hz", "window_s"):
        words = f"{getattr(Recipe, name):g} is usual."
        number_between(name, getattr(made, name), 0.0, math.inf, words, error=FitError)
    whole_number("batch_size", made.batch_size, 1, "8 is usual.", FitError)
    if "dropout" in made.model:
        words = "0.3 is usual, 0 for none."
        dropout = made.model["dropout"]
        number_between("dropout", dropout, 0.0, 1.0, words, inclusive=True, error=FitError)
    if "latent_dim" in made.model:
        whole_number("latent_dim", made.model["latent_dim"], 1, "32 is usual.", FitError)


def recipe(name: str, **changes: Any) -> Recipe:
    """A recipe by name, with some of it changed.

    Args:
        name: one of `RECIPES`.
        changes: fields of `Recipe`; `model`, `plans`, `augmentation`, `training` and a mapping
            given for `objective` are laid over the recipe's own, as is one for its `masking`.

    Raises:
        FitError: no such recipe or field.

    Example:
        >>> recipe("statespace", model={"latent_dim": 16}).model["latent_dim"]
        16
    """
    if name not in RECIPES:
        raise FitError(
            f"the recipes are {listed(RECIPES)}; got {name!r}.{closest(str(name), RECIPES)} Or "
            "pass a Recipe of your own."
        )
    found: Recipe = importlib.import_module(f"latentphys.recipes.{name}").RECIPE
    allowed = [f.name for f in fields(Recipe)]
    for changed, value in changes.items():
        if changed not in allowed:
            raise FitError(
                f"a recipe has {listed(allowed)}; got {changed!r}.{closest(changed, allowed)}"
            )
        own = getattr(found, changed)
        if changed == "objective" and isinstance(value, Mapping):
            value = _objective(own, value)
        elif changed in MAPPINGS:
            _check_mapping(changed, value)
            value = {**own, **value}
        found = replace(found, **{changed: value})
    return found


def _objective(own: Objective, changes: Mapping[str, Any]) -> Objective:
    """An objective with some of it changed, its masking too where that is a mapping."""
    for kind, given in ((Objective, changes), (Masking, changes.get("masking"))):
        allowed = [f.name for f in fields(kind)]
        for name in given if isinstance(given, Mapping) else ():
            if name not in allowed:
                raise FitError(
                    f"{kind.__name__} has {listed(allowed)}; got {name!r}.{closest(name, allowed)}"
                )
    masking = changes.get("masking", own.masking)
    if not isinstance(masking, Mapping | Masking):
        raise FitError(
            f"masking is a Masking, or a mapping of what differs in it; got {masking!r}. Write "
            "objective={'masking': {'ratio': 0.5}}, say."
        )
    if isinstance(masking, Mapping):
        changes = {**changes, "masking": replace(own.masking, **masking)}
    return replace(own, **changes)
