"""latentphys: the physiological state behind the sensors, with honest uncertainty.

    import latentphys as lp

    cohort = lp.read("data/bidmc")
    train, test = cohort.split(test=0.2, seed=0)
    fit = lp.fit(train, minutes=5)
    fit.impute(test, "ppg", given=["ecg", "resp"])

Names are imported when first used, so `import latentphys` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentphys.api import fit, load
    from latentphys.fitted import FittedModel
    from latentphys.learning.objective import Objective
    from latentphys.learning.resuming import Checkpoint
    from latentphys.learning.views import Masking
    from latentphys.plotting.assessment import plot_assessment
    from latentphys.plotting.audit import plot_audit
    from latentphys.plotting.cine import plot_cine
    from latentphys.plotting.evaluation import plot_calibration, plot_evaluation
    from latentphys.plotting.imputation import plot_imputation
    from latentphys.plotting.inspection import plot_inspection
    from latentphys.plotting.posterior import plot_posterior
    from latentphys.plotting.record import plot_record
    from latentphys.plotting.training import plot_training
    from latentphys.preparation.gating import gate_images
    from latentphys.recipes.catalogue import Recipe, recipe
    from latentphys.recordings import checks, datasets, labels, splits
    from latentphys.recordings.cohort import Cohort
    from latentphys.recordings.leaks import check_disjoint
    from latentphys.recordings.night import simulate_night
    from latentphys.recordings.reading import read
    from latentphys.recordings.record import Record
    from latentphys.recordings.signal_quality import quality
    from latentphys.recordings.simulation import simulate
    from latentphys.recordings.splits import Split
    from latentphys.recordings.store import prepare

__version__ = "0.1.0"

__all__ = [
    "Checkpoint",
    "Cohort",
    "FittedModel",
    "Masking",
    "Objective",
    "Recipe",
    "Record",
    "Split",
    "__version__",
    "check_disjoint",
    "checks",
    "datasets",
    "fit",
    "gate_images",
    "labels",
    "load",
    "plot_assessment",
    "plot_audit",
    "plot_calibration",
    "plot_cine",
    "plot_evaluation",
    "plot_imputation",
    "plot_inspection",
    "plot_posterior",
    "plot_record",
    "plot_training",
    "prepare",
    "quality",
    "read",
    "recipe",
    "simulate",
    "simulate_night",
    "splits",
]

# The defining module of each name: reading and simulating then need no torch.
_HOMES = {
    "Checkpoint": "latentphys.learning.resuming",
    "Cohort": "latentphys.recordings.cohort",
    "FittedModel": "latentphys.fitted",
    "Masking": "latentphys.learning.views",
    "Objective": "latentphys.learning.objective",
    "Recipe": "latentphys.recipes.catalogue",
    "Record": "latentphys.recordings.record",
    "Split": "latentphys.recordings.splits",
    "check_disjoint": "latentphys.recordings.leaks",
    "checks": "latentphys.recordings.checks",
    "datasets": "latentphys.recordings.datasets",
    "fit": "latentphys.api",
    "gate_images": "latentphys.preparation.gating",
    "labels": "latentphys.recordings.labels",
    "load": "latentphys.api",
    "plot_assessment": "latentphys.plotting.assessment",
    "plot_audit": "latentphys.plotting.audit",
    "plot_calibration": "latentphys.plotting.evaluation",
    "plot_cine": "latentphys.plotting.cine",
    "plot_evaluation": "latentphys.plotting.evaluation",
    "plot_imputation": "latentphys.plotting.imputation",
    "plot_inspection": "latentphys.plotting.inspection",
    "plot_posterior": "latentphys.plotting.posterior",
    "plot_record": "latentphys.plotting.record",
    "plot_training": "latentphys.plotting.training",
    "prepare": "latentphys.recordings.store",
    "quality": "latentphys.recordings.signal_quality",
    "read": "latentphys.recordings.reading",
    "recipe": "latentphys.recipes.catalogue",
    "simulate": "latentphys.recordings.simulation",
    "simulate_night": "latentphys.recordings.night",
    "splits": "latentphys.recordings.splits",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'latentphys' has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    value = module if module.__name__.endswith(f".{name}") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
