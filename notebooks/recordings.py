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
# Reading, looking, writing, selecting and splitting, before any model. If `LATENTPHYS_DATA` names a
# folder that holds BIDMC (ECG, PPG and respiration of patients in intensive care), it is read from
# there; simulated subjects stand in for them otherwise. Every cell works on both.

# %%
import os
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

import latentphys as lp
from latentphys.recordings.errors import SplitError
from latentphys.recordings.images import image_array
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
# ## Writing
#
# `record.write` takes the format from the suffix. NetCDF and Zarr hold all of a record and give it
# back to the last bit.

# %%
out = Path(tempfile.mkdtemp())
part = record.crop(0, 60)
for suffix in (".nc", ".zarr"):
    part.write(out / f"part{suffix}")
    again = lp.read(out / f"part{suffix}")[0]
    print(suffix, all(again.signals[name].identical(part.signals[name]) for name in part.signals))

# %% [markdown]
# EDF is what other programs read. It has 16 bits a sample and no place for some of what a record
# can hold; a warning says what was left out. Rates, holes, units and annotations stay.

# %%
with warnings.catch_warnings(record=True) as left_out:
    warnings.simplefilter("always")
    part.write(out / "part.edf")
edf = lp.read(out / "part.edf")[0]
for name in part.modalities:
    error = np.abs(edf.signals[name].values - part.signals[name].values)
    print(f"{name}: {edf.rate_hz(name):g} Hz, off by at most {np.nanmax(error):.1e}")
[str(warning.message) for warning in left_out]

# %% [markdown]
# Image sequences and texts are modalities too, and are kept in the same files.

# %%
frames = np.random.default_rng(0).random((25, 32, 32))
whole = replace(
    part,
    images={"echo": image_array(frames, 25.0, name="echo")},
    texts={"report": "Sinus rhythm, 72/min."},
)
whole.write(out / "whole.nc")
again = lp.read(out / "whole.nc")[0]
again.images["echo"].sizes, again.texts

# %% [markdown]
# A folder of such files is a cohort. `lp.prepare` (or `latentphys prepare SRC DST --workers 4`)
# makes a store of any folder of recordings: chunked, indexed, quick to open, half the room as
# int16.

# %%
for each in cohort[:4]:
    each.crop(0, 60).write(out / "few" / f"{each.record}.nc")
store = lp.prepare(out / "few", out / "store", dtype="int16", progress=False)
store

# %% [markdown]
# ## The index
#
# What there is, a row a modality of a record, told by headers alone. It is a pandas table.

# %%
index = cohort.table()
index.head(8)

# %%
index.groupby("modality")[["duration_s"]].agg(["count", "min", "max"])

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
# `lp.splits` makes three sides, folds, strata, or leaves a study out. A split is a small readable
# file; loaded again it must find the same people on the same sides. Its digest goes with every
# model fitted on a side.

# %%
split = lp.splits.train_valid_test(both, valid=0.2, test=0.2, seed=0)
split.save(out / "split.json")
print((out / "split.json").read_text()[:300])
split

# %%
loaded = lp.Split.load(out / "split.json", both)
(
    loaded.digest == split.digest == loaded.train.split_digest,
    loaded.test.subjects == split.test.subjects,
)

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
