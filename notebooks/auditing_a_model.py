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
# # Auditing a model
#
# A model may score well and still follow the wrong thing: the amplifier in place of the heart, one
# sensor out of three, people it has met before. An audit asks it, one hypothesis at a time, on
# people it has never seen, and puts a control beside every figure.
#
# Here we fit a model, audit it, then break it on purpose and see whether the audit notices. Last,
# we open it up and look at what each number of its state does. Simulated people stand in for
# patients, so that the truth is known; with recordings of your own the second cell is
# `cohort = lp.read("folder")`.

# %%
import os
from dataclasses import replace
from statistics import median

import latentphys as lp

people = int(os.environ.get("LATENTPHYS_SUBJECTS", 24))
minutes = float(os.environ.get("LATENTPHYS_MINUTES", 4))

cohort = lp.simulate(people, minutes=1, seed=0, absent=0.0).keep("ecg", "ppg", "resp")
train, test = cohort.split(test=0.35, seed=0)
fit = lp.fit(train, minutes=minutes, window_s=8, latent_dim=16, progress=False)
fit

# %% [markdown]
# ## The audit
#
# Every finding has a hypothesis, a figure with a 95 % interval over people, a control, and a
# verdict in words. The verdict goes by the whole interval: *fine* where all of it is, *worry* where
# none of it is, *unsure* where it lies across the edge: then audit more people. What these
# recordings cannot test says so, and is not fine by default.

# %%
audit = fit.audit(test, training=train, draws=2)
audit

# %%
lp.plot_audit(audit)

# %% [markdown]
# A finding is plain numbers. `lag` delays the pulse by 20 to 80 ms behind the ECG, infers the state
# anew, reads both sensors off it and times them: what fusion has kept of the delay is the slope.

# %%
lag = audit["lag"]
print(lag.words)
lag.detail.get("curves", {})

# %% [markdown]
# ## Broken on purpose
#
# An audit that never worries is worth nothing. Here is the same network behind a careless
# preparation: signals in fixed units in place of each recording's own. Now an amplifier's gain
# reaches the state, and with it a way to know people that has nothing to do with their bodies.

# %%
plans = dict(fit.preprocessing.plans)
for name, sensor in fit.model.spec.sensors.items():
    location, scale = median(sensor.location), median(sensor.scale)
    plans[name] = replace(plans[name], location=location, scale=scale)
careless = replace(fit, preprocessing=replace(fit.preprocessing, plans=plans))

careless.audit(test, only=["identity"], draws=2)

# %% [markdown]
# And here is a split that leaks: the model is asked about people it was fitted on. One shared
# person is enough, under whatever name: with `training=` samples are compared too.

# %%
fit.audit(train, only=["leakage"])

# %% [markdown]
# ## What each number of the state does
#
# `inspect` looks inside. Whose rhythm does a number keep? How long does it remember? What does a
# sensor look like when that number alone is moved by one standard deviation? And where does the
# transition rest, and how fast does it turn there: an eigenvalue outside the unit circle is a beat
# that keeps itself going.

# %%
inspection = fit.inspect(test)
inspection

# %%
lp.plot_inspection(inspection)

# %% [markdown]
# A word of care: a number that goes with the heart rate in eight people goes with much else in
# eight people. `loading_by_chance` is how large the largest correlation gets when every label is
# another person's; the table names a label only beyond it.

# %%
chance = inspection["latent"].get("loading_by_chance")
chance.to_series() if chance is not None else "nothing was known of these recordings"

# %% [markdown]
# ## A gate
#
# `save` writes a page to read and JSON to compute with. On the command line the same audit fails a
# build, where a named audit worries or cannot tell:
#
#     latentphys audit MODEL DATA --fail-on dominance,leakage --out report

# %%
report = audit.save("audit_report")
report.name, [finding.name for finding in audit if finding.verdict == "worry"]
