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
# # Fine-tuning for sensors that will be missing
#
# A fitted model knows signals, not what you want to know of them. Here we teach it a label, the
# breathing rate, and then take sensors away. At the bedside they come off all the time: a belt
# slips, a clip falls from a finger. A network taught with every sensor on has never seen that.
#
# Simulated subjects stand in for patients, so that the true rate is known. With BIDMC, whose
# breaths two people marked, the first cell is `cohort = lp.read("bidmc").keep("ecg", "ppg",
# "resp")`, and everything below it stays as it is: `"breathing_rate"` is then read from the marks.

# %%
import os
import warnings

import latentphys as lp

subjects = int(os.environ.get("LATENTPHYS_SUBJECTS", 24))
minutes = float(os.environ.get("LATENTPHYS_MINUTES", 4))
steps = max(5, round(100 * minutes))

cohort = lp.simulate(subjects=subjects, minutes=1.5, seed=0, absent=0.0)
cohort = cohort.keep("ecg", "ppg", "resp")
cohort[0].truth["breathing_rate"]

# %% [markdown]
# ## A model of the signals
#
# Fitted without a single label. People are split once, and whom we test at the end takes no part
# in anything before it.

# %%
train, test = cohort.split(test=1 / 3, seed=0)
fit = lp.fit(train, minutes=minutes, progress=False)
fit

# %% [markdown]
# ## A label, taught twice
#
# The plain way shows the head every sensor, always. The resilient way looks at each window again
# with random sensors taken away: it is encoded once, and what a sensor said is simply not added.
# The same head then has to answer from the posterior that is left, which is wider.
#
#     loss = l(y, all) + mean over subsets S of l(y, S) + 0.1 |features(S) - features(all)|^2
#
# Some of the people to learn from are held out: they say when to stop, and how wide the intervals
# must be for each set of sensors. A label that is not known (NaN) is left out, and the warning
# says how many were.

# %%
warnings.simplefilter("ignore", UserWarning)
taught = {
    way: fit.finetune(
        train,
        "breathing_rate",
        adapt="head",
        resilient=way == "resilient",
        steps=steps,
        progress=False,
    )
    for way in ("resilient", "plain")
}
taught["resilient"]

# %% [markdown]
# ## People it has never seen, by what they wear
#
# `assess` refuses anybody who took part in training. Its last row, the baseline, is what one would
# say without any sensor: the training people's mean.

# %%
scores = {way: model.assess(test) for way, model in taught.items()}
scores["resilient"]

# %%
lp.plot_assessment(scores, "mae")
# %% [markdown]
# Look at where the two part. Where nothing is missing there is little between them, and that is as
# it should be. Few people were tested: read the bars before the dots, and do not be surprised if
# on your own recordings the difference is small. `benchmarks/finetuning.py` has the figures on
# BIDMC, beside what the two annotators differ by.
#
# ## One person, without the belt
#
# Each window has a mean, a spread and an interval; `sensors` says what the answer is from. Take the
# belt away and the interval should widen. The attribute `calibration` says what is promised.

# %%
record = test[0]
everything = taught["resilient"].predict(record)
without = taught["resilient"].predict(record, given=["ecg", "ppg"])
print(without.attrs["calibration"])
without.to_dataframe()[["start_s", "sensors", "mean", "lower", "upper"]]

# %%
float((everything.upper - everything.lower).mean()), float((without.upper - without.lower).mean())

# %% [markdown]
# ## Other labels
#
# Whatever says a label will do: a name, a dict by subject or record, a table, a function of a
# record. Text becomes classes with probabilities, ordered categories become ordinal, and pairs
# (time, whether it happened) become a risk.

# %%
fast = {r.subject: "fast" if r.truth["heart_rate"].mean() > 75 else "slow" for r in cohort}
if len({fast[name] for name in train.subjects}) > 1:
    classes = fit.finetune(train, fast, unit="record", adapt="frozen", steps=steps, progress=False)
    print(classes.predict(test, given=["ppg"]).probability.to_pandas())

# %% [markdown]
# ## It is still the same model
#
# Nothing of it moved under a head, so it imputes what it imputed before. It is saved with its task,
# and loaded strictly: a weight too few or too many is an error.

# %%
model = taught["resilient"]
model.save("breathing")
again = lp.load("breathing")
assert again.predict(record).identical(everything)
lp.plot_imputation(
    again.impute(record, "ppg"), again.filtered(record, "ppg"), start_s=30, stop_s=40
)
