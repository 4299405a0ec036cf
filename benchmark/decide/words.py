"""Sentences that sum up a fit and a scoring."""

from __future__ import annotations

from collections.abc import Sequence

from osad_bench.benchmark.decide.conformal import long_run, needed, smallest
from osad_bench.benchmark.decide.model import Fitted
from osad_bench.benchmark.decide.score import Verdict
from osad_bench.core.text import printable


def counted(count: int, noun: str) -> str:
    """Write a number with its noun: ``1 normal`` or ``3 normals``; ``1 anomaly`` or ``3 anomalies``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"


def percent(share: float) -> str:
    """Write a share in [0, 1] as ``1 %`` or ``2.5 %``."""
    return f"{100 * share:.3g} %"


def usual_promise(held_out: int) -> str:
    """The value of ``--false-alarms`` to begin with: the first of 1 %, 5 %, 10 % … that so many normals can promise."""
    return next((f"{share:g}" for share in (0.01, 0.05, 0.1, 0.2, 0.5) if held_out >= needed(share)), "0")


def said_of_fit(model: Fitted) -> list[str]:
    """What a model was fitted to, and what it can promise."""
    to, held = model.about.fitted_to, len(model.calibration)
    kinds = ", ".join(f"{count} {kind}" for kind, count in to.anomalies.items() if kind)
    sentences = [
        f"{model.about.method_title} fitted to {counted(to.normals, 'normal')} and "
        f"{counted(sum(to.anomalies.values()), 'anomaly')}{f' ({kinds})' if kinds else ''}"
    ]
    if to.copies:
        sentences.append(f"left out: {counted(to.copies, 'further copy')} of images")
    if to.contradictory:
        sentences.append(
            f"left out: {counted(to.contradictory, 'image')} labelled both normal and anomaly; correct the labels "
            "(osad-bench datasets verify names them)"
        )
    if not held:
        sentences.append("no normals were held out: the model gives scores, but no p-values or decisions")
        return sentences
    can = f"the smallest share of false alarms that it can promise is {percent(smallest(held))}"
    usual = "" if held >= needed(0.01) else f"; for 1 % it needs {needed(0.01)} held-out normals"
    sentences.append(f"{counted(held, 'other normal')} held out for the threshold: {can}{usual}")
    return sentences


def said_of_scores(model: Fitted, verdicts: Sequence[Verdict], false_alarms: float | None) -> list[str]:
    """How many photographs got each decision, and what was promised; no promise where `false_alarms` is None."""
    counts = {name: sum(one.decision == name for one in verdicts) for name in ("anomaly", "normal", "broken")}
    sentences = []
    if others := [one for one in verdicts if one.problem and one.decision != "broken"]:
        sentences.append(
            f"{counted(len(others), 'photograph')} of another shape than the normals fitted to, first {printable(others[0].file)}: "
            f"nothing is promised for {'it' if len(others) == 1 else 'them'}"
        )
    if false_alarms is None:
        sentences.append(f"{counted(len(verdicts) - counts['broken'], 'photograph')} scored, {counts['broken']} broken")
        return sentences
    held = len(model.calibration)
    sentences.append(
        f"{counted(len(verdicts), 'photograph')}: {counted(counts['anomaly'], 'anomaly')}, {counts['normal']} normal, "
        f"{counts['broken']} broken"
    )
    sentences.append(
        f"promised: a normal like those that the model was made from is called an anomaly with a probability of at most "
        f"{percent(false_alarms)} ({counted(held, 'held-out normal')}); the share of this one model in the long run "
        f"is below {percent(long_run(false_alarms, held))} with 95 % confidence"
    )
    return sentences
