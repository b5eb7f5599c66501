"""Units: what can be converted, and those a field writes voltages in (ECG in mV, EEG in uV)."""

from latentphys.recordings.errors import UnitError

# Unit -> (quantity, how many of the quantity's own unit it is).
_KINDS: dict[str, tuple[str, float]] = {
    "%": ("share", 1.0),
    "1": ("share", 100.0),
    "1/min": ("rate", 1.0),
    "Hz": ("rate", 60.0),
    "1/s": ("rate", 60.0),
    # NIST Special Publication 811, appendix B: conventional mmHg and cmH2O in Pa.
    "mmHg": ("pressure", 133.3224),
    "cmH2O": ("pressure", 98.06650),
    "Pa": ("pressure", 1.0),
    "hPa": ("pressure", 100.0),
    "kPa": ("pressure", 1000.0),
}
# Powers of ten of a volt.
_VOLTS = {"V": 0, "mV": -3, "uV": -6, "nV": -9}
# MNE, EDF and CSV files give one and the same lead in V, mV or uV; a cohort needs one.
USUAL = {"ecg": "mV", "fetal_ecg": "mV", "eeg": "uV", "eog": "uV", "emg": "uV"}
# They say nothing of scale.
UNCALIBRATED = ("", "NU")


def usual_units(modality: str, units: str) -> tuple[str, float]:
    """(units a modality is held in, factor that takes samples in `units` there).

    Units that are no voltage, and modalities that are none, stay as they are (factor 1).

    Example:
        >>> usual_units("eeg", "V"), usual_units("ppg", "mV")
        (('uV', 1000000.0), ('mV', 1.0))
    """
    usual = USUAL.get(modality)
    if usual is None or units not in _VOLTS:
        return units, 1.0
    return usual, conversion(units, usual)


def conversion(units: str, wanted: str) -> float:
    """Factor that takes samples from `units` to `wanted`.

    Raises:
        UnitError: they differ and are not of one quantity.

    Example:
        >>> conversion("uV", "mV"), conversion("degC", "degC"), conversion("1", "%")
        (0.001, 1.0, 100.0)
        >>> conversion("Hz", "1/min"), round(conversion("kPa", "mmHg"), 4)
        (60.0, 7.5006)
    """
    if units == wanted:
        return 1.0
    if units in _VOLTS and wanted in _VOLTS:
        return float(f"1e{_VOLTS[units] - _VOLTS[wanted]}")  # exact where a power of ten is
    here, there = _KINDS.get(units), _KINDS.get(wanted)
    if here is None or there is None or here[0] != there[0]:
        raise UnitError(
            f"units can be converted between {', '.join(_VOLTS)}, and within "
            f"{_groups()}; got {units!r} to {wanted!r}. "
            "Scale the samples yourself and give them their new units with Record.from_arrays."
        )
    return here[1] / there[1]


def quantity_of(units: str) -> str | None:
    """What known units measure; None of units that are not known, or are none.

    Example:
        >>> quantity_of("uV"), quantity_of("%"), quantity_of("NU")
        ('voltage', 'share', None)
    """
    if units in _VOLTS:
        return "voltage"
    return _KINDS[units][0] if units in _KINDS else None


def is_voltage(units: str) -> bool:
    """Whether the units are a voltage that can be converted.

    Example:
        >>> is_voltage("uV"), is_voltage("NU")
        (True, False)
    """
    return units in _VOLTS


def _groups() -> str:
    """The other quantities' units, in words."""
    kinds: dict[str, list[str]] = {}
    for unit, (kind, _) in _KINDS.items():
        kinds.setdefault(kind, []).append(unit)
    return "; ".join(f"{kind} ({', '.join(own)})" for kind, own in kinds.items())
