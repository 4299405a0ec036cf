"""One self-contained HTML file about a store: tables, figures, the cells' scores and worst mistakes, provenance."""

from osad_bench.results.page.mistakes import worst_mistakes
from osad_bench.results.page.render import render_page

__all__ = ["render_page", "worst_mistakes"]
