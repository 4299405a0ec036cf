"""The command line: `osad-bench VERB`.

Each verb lives in the file of its name. Nothing heavy is imported before a verb runs, so that ``--help`` is instant.
Human text goes to stderr, data to stdout. Exit codes: 0 success, 1 a cell or a check failed, 2 wrong usage or input, 130
interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer

from osad_bench.benchmark.cli import (
    advise,
    cache,
    data,
    doctor,
    fit,
    gate,
    merge,
    methods,
    power,
    published,
    report,
    run,
    score,
    splits,
    store,
    study,
    submit,
)
from osad_bench.benchmark.cli.ending import INTERRUPTED, ended_by_signals, leave, said_interrupted
from osad_bench.core.text import forgive, printable

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
app.command("published", epilog=published.EPILOG)(published.published)
app.command("power", epilog=power.EPILOG)(power.power)
app.command("splits", epilog=splits.EPILOG)(splits.splits)
app.command("advise", epilog=advise.EPILOG)(advise.advise)
app.command("fit", epilog=fit.EPILOG)(fit.fit)
app.command("score", epilog=score.EPILOG)(score.score)
app.command("submit", epilog=submit.SUBMIT_EPILOG)(submit.submit)
app.command("verify", epilog=submit.VERIFY_EPILOG)(submit.verify)
app.command("board", epilog=submit.BOARD_EPILOG)(submit.board)
app.add_typer(data.app, name="datasets")
app.add_typer(methods.app, name="methods")
app.add_typer(store.app, name="store")
app.command("cache", epilog=cache.EPILOG)(cache.cache)
app.command("doctor")(doctor.doctor)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"osad-bench {version('osad-bench')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def _user_errors() -> tuple[type[BaseException], ...]:
    """Errors that say all a user needs; anything else is a bug and keeps its traceback."""
    from osad_bench.core.errors import InputError
    from osad_bench.core.registry import UnknownNameError
    from osad_bench.datasets.base import DatasetError
    from osad_bench.results.store import StoreError

    return (InputError, UnknownNameError, DatasetError, StoreError)


BROKEN_PIPE = 141
"""What a shell gives a program that the reader of its output has left."""


def main() -> None:
    """Run the command line and exit with its code."""
    forgive()
    try:
        with ended_by_signals():
            code = app(prog_name="osad-bench", standalone_mode=False)
            sys.stdout.flush()
    except BrokenPipeError:  # as `osad-bench report DIR | head` does; files were written before
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except SystemExit as end:  # of a plug-in; typer's own ends come as a code, but for the shell's completion
        if "_OSAD_BENCH_COMPLETE" in os.environ:
            raise
        print(f"error: the code of a plug-in ended the command (SystemExit: {printable(end.code)})", file=sys.stderr)
        code = 1
    except Exception as error:
        code = _explain(error)
        if code is None:
            raise
    if code == INTERRUPTED:
        said_interrupted()
    leave(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> int | None:
    """Say in one line what a user can mend, and give the exit code; None for what is a bug."""
    # typer has brought a click of its own since 0.26, so that the class has to be had from it.
    usage_error: type[Any] = typer.BadParameter.__mro__[2]  # BadParameter, UsageError, ClickException
    if isinstance(error, usage_error):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "osad-bench"
        if type(error).__name__ != "NoArgsIsHelpError":  # which has printed the help already
            print(f"error: {printable(error.format_message().rstrip('.'))}; see {command} --help", file=sys.stderr)
        return 2
    if isinstance(error, _user_errors()):
        print(f"error: {printable(error)}", file=sys.stderr)
        return 2
    cluster = sys.modules.get("osad_bench.benchmark.grid.cluster")
    if cluster is not None and isinstance(error, cluster.ClusterError):
        print(f"error: {printable(error)}", file=sys.stderr)
        return 1
    if not isinstance(error, OSError) or error.errno is None:
        return None
    where = f" ({printable(error.filename)})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        print(
            f"error: no space left on the disk{where}. Finished records are safe: free some space and run the same "
            "command again.",
            file=sys.stderr,
        )
        return 1
    if error.filename:
        print(
            f"error: {printable(error.filename)} cannot be used: {error.strerror}. Give a place that exists and may be read and "
            "written.",
            file=sys.stderr,
        )
        return 2
    print(f"error: the system says: {error.strerror}. Finished records are safe.", file=sys.stderr)
    return 1
