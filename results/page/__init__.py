"""One self-contained HTML file of a store: tables, figures, every cell's scores and worst mistakes, provenance."""

from osad_bench.results.page.mistakes import worst_mistakes
from osad_bench.results.page.render import render_page

__all__ = ["render_page", "worst_mistakes"]
