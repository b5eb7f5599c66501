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
# # Imputation with honest intervals
#
# A model that fills in a sensor should also say how wrong it may be, and be right about that. This
# notebook asks three things of a fitted model. Is the 90 % interval a 90 % interval for people it
# has never seen? If not, can it be made one, and what exactly is then promised? And does the
# promise carry over to what is read off the imputed signal, such as how fast somebody breathes?
#
# Three groups of people are needed, and nobody may be in two of them:
#
# | group | what it is for |
# | --- | --- |
# | to fit | the model learns from them |
# | to calibrate | how wrong it is, is learned from them |
# | to test | whether the promise holds, is seen on them |
#
# Simulated people stand in for patients; `lp.read("folder")` takes recordings in their place.

# %%
import os
from dataclasses import replace

import numpy as np
import pandas as pd

import latentphys as lp
from latentphys.trust.decisions import risk_coverage

subjects = int(os.environ.get("LATENTPHYS_SUBJECTS", 40))
minutes = float(os.environ.get("LATENTPHYS_MINUTES", 4))
small = subjects < 12

everyone = lp.simulate(subjects=subjects, minutes=0.75 if small else 2, seed=0, absent=0.0)
everyone = everyone.keep("ecg", "ppg", "resp")
fitted_to, others = everyone.split(test=0.6, seed=0)
calibrated_on, tested_on = others.split(test=0.25, seed=0)
len(fitted_to.subjects), len(calibrated_on.subjects), len(tested_on.subjects)

# %%
fit = lp.fit(fitted_to, minutes=minutes, window_s=8, latent_dim=16, progress=False)
fit

# %% [markdown]
# ## A band, and a question
#
# The pulse of somebody the model does not know, from ECG and respiration. The band claims to hold
# nine samples in ten.

# %%
record = tested_on[0]
imputed = fit.impute(record, "ppg", given=["ecg", "resp"])
lp.plot_imputation(imputed, fit.filtered(record, "ppg"), start_s=20, stop_s=30)
# %% [markdown]
# Does it? One recording proves nothing either way.
#
# ## The repair
#
# The people set aside tell how far off the model is, in units of its own predicted spread, for each
# missing pattern by itself: each sensor absent, given each set of the others; gaps in an otherwise
# complete recording; sensors that are shown. The interval becomes mean $\mp\,q\,$sd with $q$ from
# them: every person weighs the same, however long the recording, because it is the next *person*
# the promise is made to.

# %%
draws = 8 if small else 16
honest = fit.calibrate(calibrated_on, draws=draws)
print(honest.calibration.table())

# %% [markdown]
# A calibrated normal distribution would have the factors 0.67, 1.28, 1.64 and 1.96. Larger ones say
# that the model was too sure of that pattern, smaller ones that it was too modest.
#
# ## Does the promise hold?
#
# The test people, whom neither the model nor its repair has seen. One evaluation scores every
# pattern beside baselines, and counts what the intervals cover before and after.

# %%
after = honest.evaluate(tested_on, gaps_s=(2.0,), draws=draws)
after

# %% [markdown]
# Above: what intervals at 50, 80, 90 and 95 % cover, by pattern (thin lines are people). On the
# diagonal they keep their promise, below it they claim too much. Solid lines are the model's own
# intervals, dashed ones the repaired. Underneath: where the truth falls among the model's
# predictions. Flat is calibrated, a valley is too narrow, a hill is too wide.

# %%
lp.plot_calibration(after)
# %%
table = after.to_dataframe().query("predictor == 'latentphys' and group == 'subset'")
covered = table[table.score.str.startswith(("coverage", "repaired"))]
covered.pivot_table(index=["label", "target"], columns="score", values="estimate").round(2)

# %% [markdown]
# With a handful of test people the figures wobble by several points around the promise, which is
# about the average over people; `benchmarks/coverage.py` splits the same people again and again to
# see that average. The same seconds of the same person, with the interval repaired:

# %%
repaired = honest.impute(record, "ppg", given=["ecg", "resp"])
lp.plot_imputation(repaired, fit.filtered(record, "ppg"), start_s=20, stop_s=30)
# %%
print(repaired.attrs["calibration"])

# %% [markdown]
# ## What is promised, and to whom
#
# Three repairs make three promises. `finite_sample` covers a new person with at least the level's
# probability, whatever the signals are like, and pays with width: 95 % takes nineteen people before
# the interval ends at all. `leave_one_out`, the default, aims at the level itself: people left out
# of the calibration one at a time are covered at it. `asymptotic` corrects nothing. Half the width
# of a 90 % interval in predicted standard deviations, by how many people it was calibrated on:

# %%
conformal, _ = honest.calibration.conformal(["ecg", "resp"], "ppg")
people = list(conformal.curves)
factors = {
    guarantee: {
        count: float(
            replace(
                conformal,
                curves={name: conformal.curves[name] for name in people[:count]},
                guarantee=guarantee,
            ).quantile(0.9)
        )
        for count in range(2, len(people) + 1)
    }
    for guarantee in ("asymptotic", "leave_one_out", "finite_sample")
}
pd.DataFrame(factors).rename_axis("people").round(2)

# %% [markdown]
# All three hold on average over people, and none for each of them. How much people differ can be
# read from the calibration people themselves, each covered by the interval made from the others:

# %%
pd.Series(conformal.left_out_coverage(0.9), name="left out, at 90 %").sort_values().round(2)

# %% [markdown]
# And all rest on one assumption: that the next person comes from where these came from. A ward with
# other sensors or other diseases is not covered by it. Calibrate there.
#
# ## What is read off the signal
#
# A rate is counted in every draw of the imputed respiration. Draws of one stretch share much of
# their rhythm, so they agree more with one another than with the truth, and their own interval is
# too narrow. Breaths were marked in the calibration people, so it is repaired by the same rule.

# %%
rows = []
for one in tested_on:
    marked = one.truth["breathing_rate"]
    for name, model in (("draws", fit), ("repaired", honest)):
        rates = model.breathing_rate(one, given=["ecg", "ppg"], draws=draws)
        true = [
            float(marked.sel(time=slice(a, b)).mean())
            for a, b in zip(rates.start_s.values, rates.stop_s.values, strict=True)
        ]
        inside = (rates.lower <= true) & (true <= rates.upper)
        width = float((rates.upper - rates.lower).mean())
        rows.append((name, one.subject, float(inside.mean()), width))
rates = pd.DataFrame(rows, columns=["interval", "subject", "covers", "width [1/min]"])
rates.groupby("interval")[["covers", "width [1/min]"]].mean().round(2)

# %% [markdown]
# ## Knowing when not to answer
#
# An honest model is also one whose doubt is worth something: where it says that it is unsure, it
# should be wrong more often. Take the seconds of the test people in the order of the model's own
# predicted spread and look at the error of the surest ones.

# %%
sure, wrong = [], []
for one in tested_on:
    told = fit.impute(one, "ppg", given=["ecg", "resp"], draws=draws)
    scale = float(fit.filtered(one, "ppg").std())
    error = ((told["mean"] - fit.filtered(one, "ppg")) / scale) ** 2
    second = told.time.astype(int).rename("second")
    sure.append(-(told.sd / scale).mean("channel").groupby(second).mean().values)
    wrong.append(error.mean("channel").groupby(second).mean().values)
sure, wrong = np.concatenate(sure), np.concatenate(wrong)
known = np.isfinite(wrong)
curve = risk_coverage(sure[known], wrong[known])
pd.Series({share: curve.at(share) for share in (0.1, 0.25, 0.5, 0.75, 1.0)}, name="squared error")

# %% [markdown]
# The model and its repair travel together: `honest.save("runs/honest")`, and whoever loads it knows
# whom it was calibrated on, what its intervals promise, and under which assumption.
