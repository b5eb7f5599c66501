# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Text and waveforms
#
# A report is a modality too: what is written about a recording, tied to its signals by the state
# behind both. We fit signals and reports together and ask what a report would say of signals that
# came without one.
#
# It is not a diagnosis. The answers are those that reports of the training kind go with, their
# authors' habits and errors included; they are not for decisions on anyone's care. Reports that a
# machine wrote from the same signals teach the machine, not the body: they are marked, and are
# left out unless asked for.
#
# Simulated subjects stand in for patients here, and a rule for the cardiologist. With LUDB, whose
# headers hold cardiologists' findings, the first cell is
# `cohort = with_reports(lp.read("ludb/data"))`.

# %%
import os
from dataclasses import replace

import numpy as np

import latentphys as lp
from latentphys.preparation.tokens import TextReader
from latentphys.recordings.findings import answer_in
from latentphys.recordings.reports import machine_texts, mark_machine

subjects = int(os.environ.get("LATENTPHYS_SUBJECTS", 24))
minutes = float(os.environ.get("LATENTPHYS_MINUTES", 4))

bare = lp.simulate(subjects=subjects, minutes=1, seed=0, absent=0.0).keep("ecg", "ppg", "resp")
rates = [float(record.truth["heart_rate"].mean()) for record in bare]
slow = np.median(rates)


def report(rate: float) -> str:
    rhythm = "sinus bradycardia" if rate < slow else "sinus rhythm"
    return f"Rhythm: {rhythm}.\nElectric axis of the heart: normal."


told = [
    replace(record, texts={"report": report(rate)})
    for record, rate in zip(bare, rates, strict=True)
]
cohort = lp.Cohort(told)
cohort[0].texts["report"]

# %% [markdown]
# These reports are a rule's, so they are marked, and reading them has to be asked for. With
# reports by people, `lp.fit(train, text="report")` is enough; marked ones then count as absent.

# %%
cohort = lp.Cohort([mark_machine(record) for record in cohort])
train, test = cohort.split(test=0.25, seed=0)
fit = lp.fit(train, minutes=minutes, text=TextReader(machine=True), progress=False)
machine_texts(test[0]), fit

# %%
lp.plot_training(fit)
# %% [markdown]
# ## A question, and the choices of its answer
#
# From the signals alone. `prior="uniform"` asks which answer the signals speak for, however rare.

# %%
record = test[0]
fit.answer(record, "rhythm").to_series(), answer_in(record.texts["report"], "rhythm")

# %%
fit.answer(record, "rhythm", prior="uniform").to_series()

# %% [markdown]
# One sensor is enough to ask.

# %%
{name: fit.answer(record, "rhythm", given=[name]).to_series() for name in fit.modalities}

# %% [markdown]
# ## Candidate findings
#
# Sentences of training reports, ranked, each beside how common it was. No text is made.

# %%
fit.describe(record).to_dataframe()

# %% [markdown]
# ## The other way round
#
# A report says something of a sensor that is not there, and a record without a report is answered
# as if there had never been any, bit for bit.

# %%
pulse = fit.impute(record, "ppg", given=["ecg", "report"])
lp.plot_imputation(pulse, fit.filtered(record, "ppg"), start_s=20, stop_s=30)
# %%
signals = fit.posterior(record, given=["ecg", "ppg", "resp"])["posterior"]
unread = fit.posterior(record.drop("report"))["posterior"]
assert np.array_equal(signals["z_mean"], unread["z_mean"])
