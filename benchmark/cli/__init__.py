"""The command line: `osad-bench VERB`.

Each verb lives in the file of its name. Nothing heavy is imported before a verb runs, so that ``--help`` is instant.
Human text goes to stderr, data to stdout. Exit codes: 0 success, 1 a cell or a check failed, 2 wrong usage or input, 130
interrupted.
"""

from __future__ import annotations

import errno
import inspect
import os
import re
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
from osad_bench.core.memory import keep_freed
from osad_bench.core.text import forgive, open_closed, printable

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


def _joined(text: str | None) -> str | None:
    """A text with each paragraph on one line."""
    return text and re.sub(r"(?<!\n)\n(?!\n)\s*", " ", text.strip())


def _let_the_terminal_wrap(group: typer.Typer) -> None:
    """Join the lines of each paragraph of the help texts, as rich would keep the source's line breaks."""
    for command in group.registered_commands:
        command.help = _joined(command.help or inspect.getdoc(command.callback))
        command.epilog = _joined(command.epilog)
    for below in group.registered_groups:
        if below.typer_instance is not None:
            _let_the_terminal_wrap(below.typer_instance)


_let_the_terminal_wrap(app)


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
"""Exit code of a program whose output is closed by its reader, as a shell reports it (128 + SIGPIPE)."""


def main() -> None:
    """Run the command line and exit with its code."""
    keep_freed()  # before threads have heaps of their own
    open_closed()
    forgive()
    try:
        with ended_by_signals():
            code = app(prog_name="osad-bench", standalone_mode=False)
            sys.stdout.flush()
    except BrokenPipeError:  # as in `osad-bench report DIR | head`; all files are written by then
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except SystemExit as end:  # of a plug-in; typer's own ends come as a code, but for the shell's completion
        if "_OSAD_BENCH_COMPLETE" in os.environ:
            raise
        if isinstance(end.__context__, BrokenPipeError):  # rich's way to say so
            code = BROKEN_PIPE
        else:
            print(
                f"error: the code of a plug-in ended the command (SystemExit: {printable(end.code)})", file=sys.stderr
            )
            code = 1
    except Exception as error:
        code = _explain(error)
        if code is None:
            raise
    if code == INTERRUPTED:
        said_interrupted()
    leave(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> int | None:
    """Print an error that the user can mend as one line and return the exit code; None for a bug."""
    # Since 0.26 typer contains its own copy of click, so the class is taken from typer's hierarchy.
    usage_error: type[Any] = typer.BadParameter.__mro__[2]  # BadParameter, UsageError, ClickException
    if isinstance(error, usage_error):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "osad-bench"
        if type(error).__name__ != "NoArgsIsHelpError":  # for this one the help is printed already
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
            f"error: {printable(error.filename)} cannot be used: {error.strerror}. Give a path that exists and that you may "
            "read and write.",
            file=sys.stderr,
        )
        return 2
    print(f"error: the system says: {error.strerror}. Finished records are safe.", file=sys.stderr)
    return 1
