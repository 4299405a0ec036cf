"""The statistics in words: what differs, what is noise, and what cannot be said."""

from __future__ import annotations

from typing import Any

import pandas as pd

from osad_bench.results.ranking import ROPE, average_ranks, compare_methods, critical_difference, friedman


def in_words(pairs: pd.DataFrame, matrices: dict[tuple[str, str, int], pd.DataFrame]) -> list[str]:
    """Paragraphs on `paired.differences` and `ranking.dataset_means`."""
    paragraphs = []
    for row, part in pairs.groupby(["board", "dataset", "setting", "shots"]):
        paragraphs.append(_row_in_words(row, part))
    for (board, setting, shots), matrix in matrices.items():
        paragraphs.append(_matrix_in_words(f"{setting} setting, M = {shots}, preset {board}", matrix))
    if not paragraphs:
        return ["One method alone: there is nothing to compare."]
    return paragraphs


def _row_in_words(row: Any, part: pd.DataFrame) -> str:
    board, dataset, setting, shots = row
    sure, noise = part[part["differs"]], part[~part["differs"]]
    seeds = int(part["seeds"].min())
    text = f"{dataset}, {setting} setting, M = {shots}, preset {board}: "
    if len(part) == 1:
        text += "the two methods differ by more than noise." if len(sure) else "the difference is noise."
    elif sure.empty:
        text += f"all {len(part)} differences are noise: no method is shown to be better than another."
    elif noise.empty:
        text += f"all {len(part)} differences exceed noise."
    else:
        text += f"{len(sure)} of {len(part)} differences exceed noise, {len(noise)} do not."
    for line in sure.to_dict("records"):
        first, second, sign = line["first"], line["second"], 1 if line["difference"] > 0 else -1
        better, worse = (first, second) if sign > 0 else (second, first)
        low, high = sorted((sign * line["low"], sign * line["high"]))
        text += f" {better} is better than {worse} by {sign * line['difference']:.3f} [{low:.3f}, {high:.3f}]."
    for line in noise.to_dict("records"):
        text += (
            f" {line['first']} and {line['second']} cannot be told apart"
            f" ({line['difference']:+.3f} [{line['low']:+.3f}, {line['high']:+.3f}])."
        )
    half = float(((part["high"] - part["low"]) / 2).median())
    if seeds == 1:
        text += " There is one seed only, so nothing is known of the spread between trainings: run five."
    else:
        text += f" With {seeds} seeds, a difference below about {half:.3f} cannot be seen here."
    return text


def _matrix_in_words(name: str, matrix: pd.DataFrame) -> str:
    n, k = matrix.shape
    if k < 2 or n < 2:
        return f"{name}, over data sets: {n} complete for {k} methods; tests over data sets need two of each."
    ranks = average_ranks(matrix)
    text = f"{name}, over {n} data sets: average ranks " + ", ".join(f"{m} {r:.2f}" for m, r in ranks.items()) + "."
    if k > 2:
        test = friedman(matrix)
        verdict = "the methods differ" if test.f_p < 0.05 else "no difference between the methods is shown"
        text += (
            f" Friedman (Iman-Davenport): F = {test.f:.2f}, p = {test.f_p:.3g}: {verdict}. Nemenyi's critical difference"
            f" at 0.05 is {critical_difference(k, n):.2f} ranks."
        )
    pairs = compare_methods(matrix)
    sure = pairs[pairs["wilcoxon_p"] < 0.05]
    text += f" Wilcoxon with Holm's correction: {len(sure)} of {len(pairs)} pairs differ."
    if n < 6:
        text += f" With {n} data sets it cannot show any difference (the smallest p possible is {2 / 2**n:.3g})."
    for line in pairs.to_dict("records"):
        probabilities = {
            f"{line['first']} better": line["p_first_better"],
            f"equal within {ROPE}": line["p_equal"],
            f"{line['second']} better": line["p_second_better"],
        }
        likely = max(probabilities, key=lambda key: probabilities[key])
        if probabilities[likely] > 0.95:
            text += f" {line['first']} and {line['second']}: {likely} with probability {probabilities[likely]:.2f}."
    return text


def differences_for_print(pairs: pd.DataFrame) -> pd.DataFrame:
    """`paired.differences` with numbers as a paper prints them."""
    lines = [
        {
            "preset": line["board"],
            "data set": line["dataset"],
            "setting": line["setting"],
            "M": line["shots"],
            "first": line["first"],
            "second": line["second"],
            "difference": f"{line['difference']:+.3f}",
            "95 % interval": f"[{line['low']:+.3f}, {line['high']:+.3f}]",
            "seeds": line["seeds"],
            "p (Holm)": f"{line['p']:.3g}",
            "DeLong p": "" if pd.isna(line["delong_p"]) else f"{line['delong_p']:.3g}",
            "verdict": "differs" if line["differs"] else "noise",
        }
        for line in pairs.to_dict("records")
    ]
    result: pd.DataFrame = pd.DataFrame(lines)
    return result
