"""Voltages in the units a field writes them in: ECG in mV; EEG, EOG and EMG in uV."""

from latentphys.recordings.errors import UnitError

# Powers of ten of a volt.
_VOLTS = {"V": 0, "mV": -3, "uV": -6, "nV": -9}
# MNE, EDF and CSV files give one and the same lead in V, mV or uV; a cohort needs one.
USUAL = {"ecg": "mV", "fetal_ecg": "mV", "eeg": "uV", "eog": "uV", "emg": "uV"}


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
        UnitError: they differ and are not both voltages.

    Example:
        >>> conversion("uV", "mV"), conversion("mmHg", "mmHg")
        (0.001, 1.0)
    """
    if units == wanted:
        return 1.0
    if units not in _VOLTS or wanted not in _VOLTS:
        raise UnitError(
            f"units can be converted between {', '.join(_VOLTS)}; got {units!r} to {wanted!r}. "
            "Scale the samples yourself and give them their new units with Record.from_arrays."
        )
    return float(f"1e{_VOLTS[units] - _VOLTS[wanted]}")  # exact where a power of ten is


def is_voltage(units: str) -> bool:
    """Whether the units are a voltage that can be converted.

    Example:
        >>> is_voltage("uV"), is_voltage("NU")
        (True, False)
    """
    return units in _VOLTS
