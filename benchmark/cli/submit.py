"""`osad-bench submit`, `verify` and `board`: pack results into one file, check such files, show them on one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from osad_bench.benchmark.cli import options as o

SUBMIT_EPILOG = """[bold]Example[/bold]

  osad-bench submit DIR --title 'DPDL, 20 seeds' --out dpdl.osad.zip

The file holds records, scores and digests, and no images."""

VERIFY_EPILOG = """[bold]Examples[/bold]

  osad-bench verify dpdl.osad.zip     metrics, splits if the images are here, one cell of each method without training

  osad-bench verify dpdl.osad.zip --rerun dpdl     also one random cell of dpdl, which trains it

  osad-bench verify photos.osad.zip --datasets folder:photos

Exit code: 0 nothing is wrong, 1 something is, 2 wrong usage, or the file cannot be read."""

BOARD_EPILOG = """[bold]Example[/bold]

  osad-bench verify one.osad.zip && osad-bench board *.osad.zip --out board.html"""

File = Annotated[Path, typer.Argument(metavar="FILE", help="File that `osad-bench submit` wrote.")]


def submit(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `osad-bench run --out` wrote.")],
    title: Annotated[str, typer.Option(help="Name on a board; default: the file's name.")] = "",
    plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The plan that was frozen before (run --dry-run --freeze).")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: DIR.osad.zip.")] = None,
) -> None:
    """Write the records of DIR into one file that others can check.

    Exit code: 0 written, 2 wrong usage or input.
    """
    from importlib.metadata import version

    from osad_bench.core.errors import InputError
    from osad_bench.results.registered import read_plan
    from osad_bench.results.submission import submit as write

    if len(title) > 200:
        raise InputError(f"--title has {len(title)} characters; shorten it to at most 200")
    target = out or directory.with_name(f"{directory.resolve().name}.osad.zip")
    count = write(
        directory,
        target,
        title,
        None if plan is None else read_plan(plan),
        version("osad-bench"),
        o.tell,
    )
    o.tell(f"wrote {count} records to {target} ({target.stat().st_size / 2**20:.1f} MB)")


def verify(
    file: File,
    rerun: Annotated[
        str | None,
        typer.Option(
            help="Which cells to compute again: methods (one cell of each), keys of cells, all, or none; default: methods without training."
        ),
    ] = None,
    datasets: Annotated[
        str | None, typer.Option(help="Your own data sets that FILE may be about, such as folder:photos.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the checks as JSON lines.")] = False,
    device: o.Device = "auto",
    weights: o.Weights = None,
    data_root: o.DataRoot = None,
    cache: o.Cache = None,
) -> int:
    """Recompute what a submission says, and print what is right, what is wrong and what could not be checked here.

    Writes the findings to FILE.verified.json, which `board` reads.
    """
    from dataclasses import asdict
    from importlib.metadata import version

    from osad_bench.benchmark.grid.run import Options
    from osad_bench.benchmark.grid.verify import check_names, check_splits, run_again
    from osad_bench.core.files import write_whole
    from osad_bench.core.text import printable
    from osad_bench.datasets.catalogue import split_names
    from osad_bench.results.submission import (
        Verification,
        check_numbers,
        check_seeds,
        label_of,
        opened,
        verification_path,
    )

    own = split_names(datasets or "")
    machine = Options(device=device, weights=weights, data_root=data_root, cache=cache).machine()
    with opened(file) as submission:
        checks = check_numbers(submission.store) + check_seeds(submission.store) + check_names(submission.store)
        checks += check_splits(submission.store, own, machine)
        if rerun != "none":
            checks += run_again(submission.store, o.names(rerun) or [], own, machine)
        found = Verification(
            sha256=submission.digest, project_version=version("osad-bench"),
            checks=[(check.what, check.state, check.message, check.method, check.data) for check in checks],
        )  # fmt: skip
        about = {(label_of(one), one.cell.dataset, one.cell.fingerprint) for one in submission.store}
    write_whole(verification_path(file), found.model_dump_json(indent=1).encode())
    names = {"ok": "ok", "bad": "WRONG", "unchecked": "not checked"}
    for check in checks:
        print(json.dumps(asdict(check)) if json_ else f"{names[check.state]}: {check.what}: {check.message}")
    wrong = sum(check.state == "bad" for check in checks)
    sure = sorted({f"{label} on {printable(name)}" for label, name, data in about if found.of_method(label, data)[0]})
    o.tell(
        f"{wrong or 'nothing'} wrong; verified: {', '.join(sure) or 'no method'}. No check can show how settings were chosen, "
        "or that cells that were not run again came from the method named.",
    )
    return 1 if wrong else 0


def board(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files that `osad-bench submit` wrote.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("board.html"),
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "osad-bench leaderboard",
) -> None:
    """Make one static page of submissions, verified and unverified apart, and mark the differences that are noise.

    Exit code: 0 written, 2 wrong usage or input.
    """
    from importlib.metadata import version

    from osad_bench.core.errors import InputError
    from osad_bench.core.files import write_named
    from osad_bench.results.board import enter, render_board
    from osad_bench.results.submission import opened

    entered, seen = [], dict[str, Path]()
    for number, path in enumerate(files):
        with opened(path) as submission:
            if submission.digest in seen:
                raise InputError(f"{path} is the same submission as {seen[submission.digest]}; name it once")
            seen[submission.digest] = path
            entered.append(enter(submission, number))
    write_named(out, render_board(entered, title, version("osad-bench")))
    o.tell(f"wrote {len(entered)} submissions to {out}")
