"""`osad-bench fit`: a model of your images, with held-out normals for its threshold."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from osad_bench.benchmark.cli import options as o

EPILOG = """[bold]Examples[/bold]

  osad-bench fit evidence folder:photos --out model

  osad-bench fit devnet folder:photos --out model --calibrate 120

  osad-bench fit whitened csv:parts.csv --out model --onnx model.onnx

All anomalies and most normals are fitted to. The other normals are held out, drawn at random: they give the threshold
that [bold]osad-bench score[/bold] needs to keep its promise on false alarms. How many are needed: 99 for 1 %, 19 for 5 %.

Exit code: 0 the model is there, 1 the method failed on these images, 2 wrong usage or input, 130 interrupted."""


def fit(
    method: Annotated[str, typer.Argument(help="A method's name (osad-bench methods list), or a Python file of one.")],
    data: Annotated[str, typer.Argument(help="A data set's name, folder:PATH or csv:FILE.")],
    out: Annotated[Path, typer.Option(help="Folder of the model, made anew.")],
    calibrate: Annotated[
        int | None,
        typer.Option(
            min=0, help="Normals to hold out; default: a quarter, or as many as promise 1 % (at most half). 0 for none."
        ),
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option(help="Also write the model as an ONNX file (closed forms, DevNet).")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="A model that is there already gives way.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the held-out normals, and the random numbers.")] = 0,
    preset: o.Preset = None,
    changes: o.Changes = None,
    device: o.Device = "auto",
    weights: o.Weights = None,
    data_root: o.DataRoot = None,
    cache: o.Cache = None,
) -> int:
    """Fit a method to all anomalies and most normals of a data set, and keep it as a model.

    A model is a folder with tensors (safetensors) and one JSON file: no pickle, no image, no path of this machine but the
    command that made it.
    """
    from rich.console import Console

    from osad_bench.benchmark.cli.bars import shown
    from osad_bench.benchmark.cli.screen import ProgressReporter
    from osad_bench.benchmark.decide.export import check_export, export
    from osad_bench.benchmark.decide.fit import FitError, fit
    from osad_bench.benchmark.decide.model import check_place
    from osad_bench.benchmark.decide.words import said_of_fit, usual_promise
    from osad_bench.core.files import check_writable

    check_place(out, replace)
    if onnx is not None:
        check_export(method)
        check_writable(onnx, "--onnx")
    reporter = ProgressReporter(Console(stderr=True))
    request = o.request(changes=changes, preset=preset)
    try:
        fitted = fit(
            method, data, calibrate=calibrate, reporter=reporter, bars=lambda: reporter.bars, seed=seed, device=device,
            weights=weights, data_root=data_root, cache=cache, **request,
        )  # fmt: skip
    except FitError as error:
        reporter.say(str(error), "[red]failed[/red] ")
        return 1
    fitted.save(out, replace)
    for sentence in said_of_fit(fitted):
        reporter.say(sentence)
    if onnx is not None:
        export(fitted, onnx)
        reporter.say(f"ONNX: {onnx}")
    reporter.console.print(
        shown(
            f"next: osad-bench score {shlex.quote(str(out))} PHOTOS --false-alarms "
            f"{usual_promise(len(fitted.calibration))} --sheet sheet.html"
        ),
        highlight=False,
        soft_wrap=True,
    )
    return 0
