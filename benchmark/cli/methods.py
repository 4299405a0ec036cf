"""`osad-bench methods list|show`: what can be run, and what each method is."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(
    help="List the methods, or show one with its settings, citation and departures.", no_args_is_help=True
)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print the registered methods, one per line. Imports none of them."""
    from osad_bench.core.registry import methods

    rows = [{"name": name, "from": methods.origin(name), "summary": methods.summary(name)} for name in methods.names()]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    from osad_bench.benchmark.cli.bars import shown

    table = Table("name", "from", "what it is", box=None)
    for row in rows:
        table.add_row(*map(shown, row.values()))
    Console().print(table)


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="A registered method.")]) -> None:
    """Print a method's description, equations, departures, citation, schedule and settings with their sources."""
    import inspect

    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    from osad_bench.benchmark.cli.bars import shown
    from osad_bench.benchmark.grid.usable import method_named
    from osad_bench.core.text import lines

    method = method_named(name)
    console = Console()
    console.print(
        f"[bold]{shown(method.title)}[/bold]  ({shown(name)}, version {method.version}, {shown(method.kind)})",
        highlight=False,
    )
    if method.citation:
        console.print(shown(method.citation), highlight=False)
    module = inspect.getmodule(method)
    for text in (inspect.getdoc(module) if module else "", inspect.cleandoc(method.__doc__ or "")):
        if text:
            console.print()
            console.print(Markdown(lines(text)))
    if method.schedule is not None:
        schedule = ", ".join(f"{key} {value}" for key, value in method.schedule.model_dump().items())
        console.print(f"\n[bold]published schedule[/bold]: {shown(schedule)}", highlight=False)
    if method.pseudo_anomalies:
        console.print(f"[bold]pseudo-anomalies[/bold]: {shown(', '.join(method.pseudo_anomalies))}", highlight=False)
    fields = method.Config.model_fields
    if fields:
        table = Table(
            "setting", "default", "meaning and source", title=f"--set {shown(name)}.SETTING=VALUE", title_justify="left"
        )
        for key, field in fields.items():
            table.add_row(shown(key), shown(field.default), shown(field.description or ""))
        console.print(table)
    if method.departures:
        console.print(f"Departures, with what they do to AUC: {shown(method.departures)}", highlight=False)
