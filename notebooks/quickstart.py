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
# # Quickstart
#
# Several sensors look at one body. We fit a model of the state behind them, ask for a sensor that
# is not there, and look at the state itself. Simulated subjects stand in for patients, so that the
# truth is known; `lp.read("folder")` takes WFDB recordings in their place.

# %%
import os

import latentphys as lp

subjects = int(os.environ.get("LATENTPHYS_SUBJECTS", 16))
minutes = float(os.environ.get("LATENTPHYS_MINUTES", 3))

cohort = lp.simulate(subjects=subjects, minutes=2, seed=0)
cohort

# %% [markdown]
# A record holds each sensor at its own rate; NaN means not observed.

# %%
lp.plot_record(cohort[0], start_s=20, stop_s=40)
# %% [markdown]
# Subjects are split, never recordings: a person is on one side only.

# %%
train, test = cohort.split(test=0.25, seed=0)
fit = lp.fit(train, minutes=minutes, progress=False)
fit

# %%
lp.plot_training(fit)
# %% [markdown]
# ## A sensor that is not there
#
# The pulse of a subject the model has never seen, from ECG and respiration alone. The band is a
# 90 % interval; the thin lines are draws.

# %%
record = next(r for r in test if {"ecg", "ppg", "resp"} <= set(r.modalities))
imputed = fit.impute(record, "ppg", given=["ecg", "resp"])
imputed

# %%
lp.plot_imputation(imputed, fit.filtered(record, "ppg"), start_s=30, stop_s=42)
# %% [markdown]
# ## The state behind the sensors

# %%
posterior = fit.posterior(record)
lp.plot_posterior(posterior, record, start_s=30, stop_s=60)
# %% [markdown]
# Averaged over windows it is a representation to use elsewhere; `unit` may also be a patch, a beat,
# a 30 s epoch, a record or a subject.

# %%
fit.embed(test, unit="window")
