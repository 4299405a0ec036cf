"""The command line: `osad-bench VERB`.

Each verb lives in the file of its name. Nothing heavy is imported before a verb runs, so that ``--help`` is instant.
Human text goes to stderr, data to stdout. Exit codes: 0 success, 1 a cell or a check failed, 2 wrong usage or input.
"""

from __future__ import annotations

import sys

import click
import typer

from osad_bench.benchmark.cli import data, doctor, gate, merge, methods, report, run, splits, study

app = typer.Typer(
    name="osad-bench",
    help="Benchmark of open-set supervised anomaly detection: same splits, same backbone, same schedule, honest tables.",
    epilog="Start with:  osad-bench run --methods dpdl,dra      Then:  osad-bench report osad-results",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run", epilog=run.EPILOG)(run.run)
app.command("report", epilog=report.EPILOG)(report.report)
app.command("merge", epilog=merge.EPILOG)(merge.merge)
app.command("ablate", epilog=study.ABLATE_EPILOG)(study.ablate)
app.command("sweep", epilog=study.SWEEP_EPILOG)(study.sweep)
app.command("baseline", epilog=gate.BASELINE_EPILOG)(gate.baseline)
app.command("check", epilog=gate.CHECK_EPILOG)(gate.check)
app.command("splits")(splits.splits)
app.add_typer(data.app, name="datasets")
app.add_typer(methods.app, name="methods")
app.command("doctor")(doctor.doctor)


def _user_errors() -> tuple[type[BaseException], ...]:
    """Errors that say all a user needs; anything else is a bug and keeps its traceback."""
    from osad_bench.benchmark.errors import InputError
    from osad_bench.benchmark.registry import UnknownNameError
    from osad_bench.datasets.base import DatasetError
    from osad_bench.results.store import StoreError

    return (InputError, UnknownNameError, DatasetError, StoreError)


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        code = app(standalone_mode=False)
    except click.exceptions.Abort:
        print("interrupted; what was computed is kept, the same command goes on from there", file=sys.stderr)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        if isinstance(error, _user_errors()):
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        if isinstance(error, OSError) and error.errno in {28, 122}:  # ENOSPC, EDQUOT
            print(
                f"error: no space left on the disk ({error.filename}). Finished records are safe: free some space and run the same command again.",
                file=sys.stderr,
            )
            sys.exit(1)
        raise
    sys.exit(code if isinstance(code, int) else 0)
