"""What the tables beside an archive's recordings tell of them."""

import ast
import csv
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latentphys.recordings.errors import DatasetError


def bidmc_details(folder: Path) -> dict[str, dict[str, Any]]:
    """Subject of each BIDMC record, from its header or the file of what is fixed about it."""
    found = {}
    for header in sorted(folder.glob("bidmc??.hea")):
        fixed = folder / "bidmc_csv" / f"bidmc_{header.stem[-2:]}_Fix.txt"
        texts = [f.read_text("utf-8", "replace") for f in (header, fixed) if f.is_file()]
        # The number of a MIMIC-II subject, by itself or in the address of the original.
        if told := re.search(r"(?<![a-zA-Z0-9])s\d{5}(?!\d)", "\n".join(texts)):
            found[header.stem] = {"subject": told.group()}
        else:
            warnings.warn(
                f"{header.stem} does not tell its subject and counts as one of its own; several "
                "records of BIDMC share one, so a split may have one person on both sides.",
                stacklevel=2,
            )
    return found


def ptbxl_details(folder: Path) -> dict[str, dict[str, Any]]:
    """Patient, age, sex, report and statements of each PTB-XL record, at both of its rates."""
    found = {}
    for row in _rows(folder / "ptbxl_database.csv"):
        age = float(row["age"] or "nan")
        told = {
            "subject": str(int(float(row["patient_id"]))),
            "age": "90+" if age > 89 else age,  # the archive writes 300 for the very old
            "sex": {"0": "M", "1": "F"}.get(row["sex"], ""),
            "report": row["report"],
            "scp_codes": _statements(row["scp_codes"]),
            "fold": int(row["strat_fold"]),
        }
        for column in ("filename_lr", "filename_hr"):
            found[row[column].rsplit("/", 1)[-1]] = told
    return found


def eegmat_details(folder: Path) -> dict[str, dict[str, Any]]:
    """Age, sex, task and quality of counting of each EEGMAT record."""
    found = {}
    for row in _rows(folder / "subject-info.csv"):
        told = {
            "age": float(row["Age"]),
            "sex": row["Gender"],
            "subtractions": float(row["Number of subtractions"]),
            "count_quality": int(row["Count quality"]),
        }
        for number, task in (("1", "rest"), ("2", "mental arithmetic")):
            found[f"{row['Subject']}_{number}"] = {**told, "task": task}
    return found


def cinc2016_details(folder: Path) -> dict[str, dict[str, Any]]:
    """Whether a heart sound is abnormal, from the table in each of the folders."""
    found = {}
    for table in sorted(folder.glob("training-?/REFERENCE.csv")):
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                if len(row) == 2:
                    found[row[0]] = {"abnormal": row[1].strip() == "1"}
    return found


def mitdb_details(folder: Path) -> dict[str, dict[str, Any]]:
    """The one person of two records, which the archive tells in its directory alone."""
    return {"202": {"subject": "201"}}


def _rows(table: Path) -> Iterator[dict[str, str]]:
    if not table.is_file():
        raise DatasetError(f"no {table.name} in {str(table.parent)!r}; it names the subjects.")
    with table.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _statements(text: str) -> dict[str, float]:
    """The statements and their likelihood in percent, from what the table writes as a dict."""
    value = ast.literal_eval(text)
    return {str(code): float(likelihood) for code, likelihood in dict(value).items()}
