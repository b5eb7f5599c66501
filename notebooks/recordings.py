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
# # Recordings
#
# Reading, looking, selecting and splitting, before any model. If `LATENTPHYS_DATA` names a folder
# that holds BIDMC (ECG, PPG and respiration of patients in intensive care), it is read from there;
# simulated subjects stand in for them otherwise. Every cell works on both.

# %%
import os
from pathlib import Path

import numpy as np

import latentphys as lp
from latentphys.recordings.errors import SplitError
from latentphys.recordings.leaks import check_disjoint

folder = Path(os.environ.get("LATENTPHYS_DATA", "data")) / "bidmc"
real = folder.is_dir()
cohort = lp.read(folder) if real else lp.simulate(subjects=12, minutes=4, seed=0, absent=0.2)
cohort

# %% [markdown]
# Only headers have been read so far: a cohort is a list of what there is, and its samples are read
# when a record is taken out of it, by position or by name.

# %%
record = cohort[0]
record

# %% [markdown]
# ## One record
#
# A signal is an xarray `DataArray` (channel, time) at its own rate, in its own units. NaN means not
# observed; nothing has been resampled or filled.

# %%
record.signals["ppg"] if "ppg" in record.modalities else record.signals[record.modalities[0]]

# %%
{name: (record.rate_hz(name), record.signals[name].attrs["units"]) for name in record.modalities}

# %%
lp.plot_record(record, start_s=20, stop_s=30)
# %% [markdown]
# What else is known of it, and the events that were marked in it (breaths or beats), with their
# times in seconds:

# %%
{key: value for key, value in record.attrs.items() if key != "comments"}

# %%
record.annotations

# %% [markdown]
# Parts of a record are records: some of its time, some of its sensors, one of its channels.

# %%
record.crop(60, 90).keep("ecg") if "ecg" in record.modalities else record.crop(60, 90)

# %% [markdown]
# Anything held in arrays becomes a record too, each sensor with its own rate.

# %%
own = lp.Record.from_arrays(
    {"ecg": (np.sin(np.arange(5000) / 40), 250.0), "spo2": (np.full(20, 97.0), 1.0)},
    subject="me",
    units={"ecg": "mV", "spo2": "%"},
)
own

# %% [markdown]
# ## Selecting
#
# Records that have all of these sensors and last long enough; each keeps its other ones.

# %%
both = cohort.select(modality=["ecg", "ppg"], min_minutes=3)
both

# %%
both.keep("ecg", "ppg").units

# %% [markdown]
# ## Splitting
#
# By subject: a person is on one side, whole, however many recordings there are of that person.

# %%
train, test = both.split(test=0.25, seed=0)
len(train), len(test), set(train.subjects) & set(test.subjects)

# %% [markdown]
# Sides that share a subject, a record or the same samples are refused, and the error names them.

# %%
try:
    check_disjoint(both[:4], both[3:])
except SplitError as error:
    print(error)

# %% [markdown]
# ## Public datasets
#
# Each has a card. `lp.datasets.bidmc()` downloads what is not here yet and checks every file
# against the checksum its archive publishes; `records=` takes a few, `mirror=` names another place
# to take them from, `path=` a copy that is here already. Those behind an agreement say how to get
# them.

# %%
lp.datasets.cards()[["access", "subjects", "records", "signals", "size"]]

# %%
print(lp.datasets.bidmc.card)

# %%
lp.datasets.bidmc(records=["bidmc01", "bidmc02"], path=folder) if real else None

# %%
try:
    lp.datasets.mesa()
except OSError as error:
    print(error)
