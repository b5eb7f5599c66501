"""Which modality a channel belongs to, told from its name and units."""

import re
from collections.abc import Iterable

from latentphys.recordings.errors import UnitError
from latentphys.recordings.units import UNCALIBRATED

_LEADS = "I II III AVR AVL AVF V V1 V2 V3 V4 V5 V6 MCL MCL1 MLI MLII MLIII VX VY VZ ECG EKG".split()

# Names as monitors and archives write them, compared without case.
NAMES: dict[str, str] = {
    **dict.fromkeys(_LEADS, "ecg"),
    **dict.fromkeys(["PLETH", "PPG", "PLETHYSMOGRAM"], "ppg"),
    **dict.fromkeys(["RESP", "RSP", "RESPIRATION", "IMPEDANCE"], "resp"),
    **dict.fromkeys(["ABP", "ART", "BP", "IBP"], "abp"),
    **dict.fromkeys(["CHEST", "THORAX", "THOR", "ABD", "ABDOMEN"], "effort"),
    **dict.fromkeys(["THOR RES", "ABDO RES", "EFFORT"], "effort"),
    **dict.fromkeys(["AIRFLOW", "FLOW", "NASAL", "NEW AIR"], "airflow"),
    **dict.fromkeys(["SPO2", "SAO2", "SO2", "%SPO2"], "spo2"),
    **dict.fromkeys(["EDA", "GSR"], "eda"),
    **dict.fromkeys(["PCG", "PHONO", "HEART SOUND", "HEART SOUNDS"], "pcg"),
    **dict.fromkeys(["CHIN", "CHIN1-CHIN2", "CHIN EMG"], "emg"),
    **dict.fromkeys(["EOG", "HEOG", "VEOG", "LOC", "ROC"], "eog"),
    **dict.fromkeys(["RR", "RESP RATE", "RESPRATE"], "resp_rate"),
    **dict.fromkeys(["TRIGGER", "PHOTOSENSOR", "STATUS"], "trigger"),
    "CVP": "cvp",
    "PAP": "pap",
    "ICP": "icp",
    "CO2": "co2",
    "HR": "hr",
    "PULSE": "pulse",
    "TEMP": "temperature",
    "FECG": "fetal_ecg",
    "UC": "uterine",
}

# "EEG Fpz-Cz", "EOG(R)", "ECG 1": the kind of signal, then where it was taken.
_PREFIXED = re.compile(
    r"^(ecg|ekg|eeg|eog|emg|resp|ppg|pleth|temp|eda|pcg|airflow)(?=[\s\d(_:.-]|$)", re.IGNORECASE
)
_SCALP = re.compile(r"^(Fp|AF|F|FC|FT|C|T|TP|CP|P|PO|O)(z|\d{1,2})(-[AM]\d)?$", re.IGNORECASE)
_EYE = re.compile(r"^E[12]-[AM]\d$", re.IGNORECASE)

_UNITS: dict[str, str] = {
    "mv": "mV",
    "uv": "uV",
    "µv": "uV",
    "μv": "uV",
    "v": "V",
    "nu": "NU",
    "bpm": "1/min",
    "/min": "1/min",
    "1/min": "1/min",
    "hz": "Hz",
    "/s": "1/s",
    "1/s": "1/s",
    "fraction": "1",
    "min-1": "1/min",
    "percent": "%",
    "pct": "%",
    "%": "%",
    "mmhg": "mmHg",
    "cmh2o": "cmH2O",
    "degc": "degC",
}
_PER_MINUTE = "1/min"


def normal_units(units: str | None) -> str:
    """Units in one spelling: "bpm" is "1/min", "mv" is "mV"; unknown ones stay as written.

    Example:
        >>> normal_units("bpm"), normal_units("NU"), normal_units("mmHg")
        ('1/min', 'NU', 'mmHg')
    """
    text = (units or "").strip()
    return _UNITS.get(text.lower(), text)


def modality_of(channel: str, units: str = "") -> str | None:
    """Modality of a channel; None when the name is not known.

    A respiration in 1/min is a rate, not a waveform: `RESP` in bpm is `resp_rate`.

    Args:
        channel: name as the file gives it.
        units: its units, in any spelling.

    Example:
        >>> modality_of("AVR"), modality_of("RESP", "bpm"), modality_of("EEG Fpz-Cz")
        ('ecg', 'resp_rate', 'eeg')
        >>> modality_of("PLETH,")
        'ppg'
    """
    name = channel.strip().rstrip(" ,")  # BIDMC as published: "PLETH,"
    found = NAMES.get(name.upper())
    if found is None and (match := _PREFIXED.match(name)):
        kind = match.group(1).upper()
        found = NAMES.get(kind, kind.lower())
    if found is None and _EYE.match(name):
        found = "eog"
    if found is None and _SCALP.match(name):
        found = "eeg"
    if found == "resp" and normal_units(units) == _PER_MINUTE:
        return "resp_rate"
    return found


def own_name(channel: str) -> str:
    """Modality name made of an unknown channel's own name: lower case, no spaces.

    Example:
        >>> own_name("ABP Mean")
        'abp_mean'
    """
    return re.sub(r"\W+", "_", channel.strip().lower()).strip("_") or "unnamed"


def check_units(units: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """The units of each modality, which must be the same in all records.

    Uncalibrated channels ("NU", or no units at all) say nothing about scale and are let through.

    Args:
        units: (modality, units, record) of every signal.

    Returns:
        modality -> units; "NU" or "" where no record is calibrated.

    Raises:
        UnitError: one modality has two units.

    Example:
        >>> check_units([("ecg", "mV", "a"), ("ecg", "NU", "b"), ("spo2", "%", "a")])
        {'ecg': 'mV', 'spo2': '%'}
    """
    found: dict[str, tuple[str, str]] = {}
    for modality, unit, record in units:
        before = found.get(modality)
        if before is None or before[0] in UNCALIBRATED:
            found[modality] = (unit, record)
        elif unit not in UNCALIBRATED and unit != before[0]:
            raise UnitError(
                f"a modality has the same units in all records; {modality} is {before[0]} in "
                f"{before[1]!r} and {unit} in {record!r}. Convert one of them, for instance with "
                "dataclasses.replace(record, signals=...), before fitting."
            )
    return {modality: unit for modality, (unit, _) in found.items()}
