"""`osad-bench fit`: fit a model to your images, and hold out normals for its threshold."""

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

The method is fitted to all anomalies and most normals. The other normals, drawn at random, are held out: from them
[bold]osad-bench score[/bold] gets the threshold that bounds false alarms. A bound of 1 % needs 99 of them, 5 % needs 19.

Exit code: 0 the model is written, 1 the method failed on these images, 2 wrong usage or input, 130 interrupted."""


def fit(
    method: Annotated[str, typer.Argument(help="A method's name (osad-bench methods list), or a Python file of one.")],
    data: Annotated[str, typer.Argument(help="A data set's name, folder:PATH or csv:FILE.")],
    out: Annotated[Path, typer.Option(help="Folder to write the model to: a new or an empty one.")],
    calibrate: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of normals to hold out; 0 for none. Default: a quarter, or 99 (for a bound of 1 %) if that is more, but at most half.",
        ),
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option(help="Also write the model as an ONNX file (DevNet and methods in closed form).")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a model that is there already.")] = False,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Decides which normals are held out, and seeds the fit.")
    ] = 0,
    preset: o.Preset = None,
    changes: o.Changes = None,
    device: o.Device = "auto",
    weights: o.Weights = None,
    data_root: o.DataRoot = None,
    cache: o.Cache = None,
) -> int:
    """Fit a method to all anomalies and most normals of a data set, and write it as a model.

    A model is a folder with tensors (safetensors) and one JSON file. It holds no pickle and no image; paths of this machine
    are in it only as part of the command that made it.
    """
    from rich.console import Console

    from osad_bench.benchmark.cli.bars import shown
    from osad_bench.benchmark.cli.screen import ProgressReporter
    from osad_bench.benchmark.decide.export import check_export, export
    from osad_bench.benchmark.decide.fit import FitError, fit
    from osad_bench.benchmark.decide.model import check_place
    from osad_bench.benchmark.decide.words import said_of_fit, usual_promise
    from osad_bench.core.files import check_file_writable

    check_place(out, replace)
    if onnx is not None:
        check_export(method)
        check_file_writable(onnx, "--onnx")
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
