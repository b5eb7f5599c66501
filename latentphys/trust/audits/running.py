"""The audits by name, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latentphys.inference.doors import check_cohort
from latentphys.recordings.arguments import seed_number, whole_number
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import CohortError, listed
from latentphys.recordings.record import Record
from latentphys.trust.audits.audit import Audit, check_names
from latentphys.trust.audits.case import Case
from latentphys.trust.audits.collapse import collapse
from latentphys.trust.audits.dominance import dominance
from latentphys.trust.audits.doses import dose
from latentphys.trust.audits.finding import Finding
from latentphys.trust.audits.identity import identity
from latentphys.trust.audits.lag import lag
from latentphys.trust.audits.leakage import leakage
from latentphys.trust.audits.pairing import pairing
from latentphys.trust.audits.pathology import pathology
from latentphys.trust.audits.responsive import responsive
from latentphys.trust.audits.shuffling import shuffling
from latentphys.trust.held_out import Fitted

# In the order they run: what spoils all others first.
AUDITS: Mapping[str, Callable[[Case], list[Finding]]] = {
    "leakage": leakage,
    "collapse": collapse,
    "dominance": dominance,
    "lag": lag,
    "dose": dose,
    "responsive": responsive,
    "identity": identity,
    "pathology": pathology,
    "pairing": pairing,
    "shuffled": shuffling,
}
Labels = Mapping[str, Callable[[Record], Any]]


@dataclass(frozen=True)
class Request:
    """The arguments of `FittedModel.audit` beside the cohort."""

    only: Sequence[str] | None = None
    training: Cohort | None = None
    labels: Labels | None = None
    draws: int = 8
    seed: int = 0


def audit_cohort(fitted: Fitted, cohort: Cohort, request: Request) -> Audit:
    """Run the audits; see `FittedModel.audit`."""
    check_cohort(cohort, "an audit is of")
    if request.training is not None:
        check_cohort(request.training, "training, what the model was fitted on, is")
    chosen = check_names("only", tuple(AUDITS) if request.only is None else request.only, [*AUDITS])
    draws = whole_number("draws", request.draws, 1, "8 is usual.")
    seed = seed_number(request.seed)
    case = Case(fitted, cohort, request.training, dict(request.labels or {}), draws, seed)
    if not case.records:
        raise CohortError(
            f"an audit needs records with a sensor of the model, {listed(case.names)}; these "
            f"have {listed(cohort.modalities)}. Look at cohort.table()."
        )
    findings = [finding for name in AUDITS if name in chosen for finding in AUDITS[name](case)]
    about = {
        "sensors": listed(case.names),
        **({"not looked at": listed(case.images)} if case.images else {}),
        "people": len(case.subjects),
        "records": len(case.records),
        "draws": draws,
        "seed": seed,
    }
    return Audit(tuple(findings), about)
