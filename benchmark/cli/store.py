"""`osad-bench store`: operations on a whole folder of records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osad_bench.benchmark.cli import options as o

app = typer.Typer(no_args_is_help=True, help="Folders of records as a whole.")

COMPACT_EPILOG = """[bold]Examples[/bold]

  osad-bench store compact osad-results

  duckdb -c "select method, avg(auroc) from 'osad-results/index.parquet' where status = 'ok' group by method"

The record files stay the source: a row of the index is used only while its record's file is unchanged, and everything else
is read from the files. So the index may be deleted, copied or sent to somebody at any time. Settings, curves and
provenance are in it as JSON text. Test scores are not in it."""


@app.command("compact", epilog=COMPACT_EPILOG)
def compact(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `osad-bench run --out` wrote.")],
) -> int:
    """Write one table of all records, DIR/index.parquet: one row per record, for DuckDB, pandas or an upload.

    Loading many records takes a fifth of the time with it. report and run also write it when they read 2,000 records or
    more that it lacks. Needs pyarrow: pip install 'osad-bench\\[parquet]'.

    Exit code: 0 written, 2 no records, a damaged record, or no pyarrow.
    """
    from rich.console import Console

    from osad_bench.benchmark.cli.bars import Steps
    from osad_bench.results.store import Store

    with Steps(Console(stderr=True)).step("reading records") as tell:
        path, count = Store(directory).compact(tell)
    o.tell(f"wrote {path}: {count} records, {path.stat().st_size / 2**20:.1f} MiB")
    return 0
