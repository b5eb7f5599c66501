"""Channel names to modalities, units to one spelling."""

import pytest

from latentphys.recordings.modalities import modality_of, normal_units, own_name


@pytest.mark.parametrize(
    ("channel", "units", "modality"),
    [
        *((lead, "mV", "ecg") for lead in ("I", "ii", "AVR", "aVL", "V", "V6", "MLII", "MCL1")),
        ("ECG", "mV", "ecg"),
        ("ECG ECG", "uV", "ecg"),
        ("PLETH", "NU", "ppg"),
        ("RESP", "pm", "resp"),
        ("RESP", "bpm", "resp_rate"),
        ("RR", "1/min", "resp_rate"),
        ("Resp oro-nasal", "", "resp"),
        ("ABP", "mmHg", "abp"),
        ("ART", "mmHg", "abp"),
        ("CVP", "NU", "cvp"),
        ("HR", "bpm", "hr"),
        ("PULSE", "bpm", "pulse"),
        ("SpO2", "%", "spo2"),
        ("EEG Fpz-Cz", "uV", "eeg"),
        ("C3-M2", "uV", "eeg"),
        ("E1-M2", "uV", "eog"),
        ("EOG(R)", "mV", "eog"),
        ("EMG submental", "uV", "emg"),
        ("EEG Pz-Oz", "uV", "eeg"),
        ("EMG chin", "uV", "emg"),
        ("THOR", "NU", "effort"),
        ("ABDO RES", "", "effort"),
        ("AIRFLOW", "NU", "airflow"),
        ("NEW AIR", "", "airflow"),
        ("PCG", "NU", "pcg"),
        ("Heart Sound", "", "pcg"),
        ("VENTILATOR", "", None),
        ("ECGX", "", None),
    ],
)
def test_modality_of(channel: str, units: str, modality: str | None) -> None:
    assert modality_of(channel, units) == modality


def test_units_in_one_spelling() -> None:
    assert [normal_units(u) for u in ("bpm", "mv", "µV", " % ", "nu", None, "furlong")] == [
        *("1/min", "mV", "uV", "%", "NU", "", "furlong")
    ]


def test_own_name_is_never_empty() -> None:
    assert own_name("  ABP Mean ") == "abp_mean"
    assert own_name("??") == "unnamed"
