"""A closed set of questions about reports, and which phrases of LUDB's reports answer each."""

from collections.abc import Mapping
from dataclasses import dataclass

from latentphys.recordings.errors import ArgumentError, closest, listed
from latentphys.recordings.reports import findings_in


@dataclass(frozen=True)
class Question:
    """What a report may be asked.

    Attributes:
        prompt: how a finding that answers it begins.
        choices: choice -> the phrases that follow the prompt and mean it.
        rest: the choice that any other phrase after the prompt means; "" for none.
    """

    prompt: str
    choices: Mapping[str, tuple[str, ...]]
    rest: str = ""


QUESTIONS: Mapping[str, Question] = {
    "rhythm": Question(
        "rhythm:",
        {
            "sinus": ("sinus rhythm",),
            "bradycardia": ("sinus bradycardia",),
            "fibrillation": ("atrial fibrillation",),
            "other": (
                "sinus tachycardia",
                "sinus arrhythmia",
                "irregular sinus rhythm",
                "atrial flutter, typical",
            ),
        },
        rest="other",
    ),
    "electric axis": Question(
        "electric axis of the heart:",
        {
            "normal": ("normal",),
            "left": ("left axis deviation",),
            "right": ("right axis deviation",),
            "vertical": ("vertical",),
            "horizontal": ("horizontal",),
        },
    ),
}


def question_named(name: str) -> Question:
    """One of QUESTIONS.

    Raises:
        ArgumentError: there is no such question.
    """
    if name not in QUESTIONS:
        raise ArgumentError(
            f"a report is asked one of {listed(QUESTIONS)}; got {name!r}."
            f"{closest(str(name), QUESTIONS)} Choose one of them."
        )
    return QUESTIONS[name]


def answer_in(report: str, question: str) -> str | None:
    """What a report says to a question; None where it says nothing.

    Args:
        report: a whole report.
        question: one of QUESTIONS.

    Raises:
        ArgumentError: there is no such question.

    Example:
        >>> answer_in("Rhythm: Sinus bradycardia.", "rhythm")
        'bradycardia'
        >>> answer_in("Rhythm: Atrial flutter, atypical.", "rhythm")
        'other'
    """
    asked = question_named(question)
    means = {phrase: choice for choice, phrases in asked.choices.items() for phrase in phrases}
    for finding in findings_in(report):
        if finding.startswith(asked.prompt):
            phrase = finding.removeprefix(asked.prompt).strip()
            return means.get(phrase, asked.rest or None)
    return None
