"""A sheet of scored photographs, most anomalous first: each beside its heat map, with score, p-value and decision.

All heat maps of a sheet share one scale, so that they can be compared: it starts at the upper quartile of all maps' values
and ends at the highest. Red is most anomalous; values below the start are not coloured.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from osad_bench.benchmark.decide.model import Fitted
from osad_bench.benchmark.decide.score import Rows, Verdict, read_image
from osad_bench.benchmark.decide.words import said_of_scores
from osad_bench.benchmark.features.cache import BATCH
from osad_bench.core.errors import InputError
from osad_bench.core.files import check_file_writable, write_named
from osad_bench.core.text import printable
from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.reading.tiles import put_back, squared
from osad_bench.datasets.reading.unusual import is_long

ENDINGS = (".html", ".png", ".jpg", ".jpeg")
SIDE = 220
"""Longest side of a photograph on the sheet, in pixels; twice that for a long photograph."""
STRONGEST = 0.7
"""Opacity of the highest values."""
START = 0.75
"""Share of the maps' values that are not coloured."""

Maps = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tile:
    """One photograph of the sheet, and the same with its heat map (None for a method without maps)."""

    verdict: Verdict
    photograph: Image.Image
    heat: Image.Image | None


def check_sheet(path: Path) -> None:
    """Check that the name of a sheet has the ending of a known format.

    Raises
    ------
    InputError
        The ending is none of `ENDINGS`.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"--sheet {path}: expected a name that ends in {', '.join(ENDINGS)}")
    check_file_writable(path, "--sheet")


def write_sheet(
    path: Path, model: Fitted, verdicts: Sequence[Verdict], false_alarms: float | None, most: int = 60
) -> None:
    """Write the sheet of the most anomalous photographs.

    Parameters
    ----------
    path
        Its ending says the format: one self-contained HTML file, or a picture.
    verdicts
        All verdicts, in any order; broken files are only listed, in HTML.
    false_alarms
        The promise that the decisions were made with, or None.
    most
        Largest number of photographs on the sheet.

    Raises
    ------
    InputError
        See `check_sheet`; or a JPEG cannot hold so many photographs.
    OSError
        The file cannot be written.
    """
    check_sheet(path)
    shown = sorted((one for one in verdicts if one.score is not None), key=lambda one: -(one.score or 0.0))[:most]
    tiles = draw_tiles(model, shown)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".html":
        write_named(path, _page(model, verdicts, tiles, false_alarms))
    else:
        write_named(path, encoded(picture(tiles), path))


def draw_tiles(model: Fitted, verdicts: Sequence[Verdict]) -> list[Tile]:
    """Read and score photographs again; return them with their heat maps, all on one scale."""
    size, tiles = model.about.preset.image_size, model.about.preset.tiles
    kept: list[Verdict] = []
    photographs: list[Image.Image] = []
    maps: list[Maps] = []
    for start in range(0, len(verdicts), BATCH):
        images = []
        for verdict in verdicts[start : start + BATCH]:
            with suppress(DatasetError):  # gone, or overwritten, since it was scored
                images.append(read_image(verdict.path, model.about.fitted_to.upright))
                kept.append(verdict)
        if not images:
            continue
        rows: Rows = model.rows(np.stack([squared(image, size, tiles) for image in images]))
        found = model.maps(rows)
        if found is not None:
            maps += [put_back(heat, image.height, image.width, tiles) for heat, image in zip(found, images)]
        for image in images:
            side = 2 * SIDE if is_long(*image.size) else SIDE
            image.thumbnail((side, side))
            photographs.append(image)
    heats = [overlay(one, heat) for one, heat in zip(photographs, on_one_scale(maps))] if maps else []
    return [
        Tile(verdict, photograph, heats[index] if heats else None)
        for index, (verdict, photograph) in enumerate(zip(kept, photographs))
    ]


def on_one_scale(maps: Sequence[Maps]) -> list[Maps]:
    """Scale maps (H, W) to [0, 1]: 0 up to the quantile `START` of all values, 1 for the highest."""
    values = np.concatenate([one.ravel() for one in maps])
    low, high = float(np.quantile(values, START)), float(values.max())
    width = max(high - low, 1e-12)
    return [np.clip((one - low) / width, 0, 1) for one in maps]


def overlay(photograph: Image.Image, heat: Maps) -> Image.Image:
    """Return a photograph in grey under its map (H, W), in [0, 1]: from yellow to red, more opaque where higher."""
    smooth = Image.fromarray((255 * heat).astype(np.uint8)).resize(photograph.size, Image.Resampling.BICUBIC)
    level = np.asarray(smooth, dtype=np.float64)[:, :, None] / 255
    grey = np.asarray(photograph.convert("L"), dtype=np.float64)[:, :, None].repeat(3, axis=2)
    colour = np.concatenate([np.full_like(level, 255), 220 * (1 - level), np.zeros_like(level)], axis=2)
    opacity = STRONGEST * level**0.75
    return Image.fromarray((grey * (1 - opacity) + colour * opacity).round().astype(np.uint8))


GAP, LINE = 8, 15
NARROWEST, WIDEST = 220, 1808
"""Smallest width of a column, so that captions fit, and largest width of the sheet, in pixels."""
RED, BLACK = (190, 0, 0), (30, 30, 30)


def caption(verdict: Verdict, width: int = 60) -> list[str]:
    """Two lines: the file name (its end, if longer than `width`), and the decision with score and p-value.

    The second also says of a photograph that it has another shape than the normals fitted to.
    """
    name = printable(verdict.file)
    name = name if len(name) <= width else "…" + name[1 - width :]
    p_value = "" if verdict.p_value is None else f", p = {verdict.p_value:.3g}"
    decision = f"{verdict.decision}, " if verdict.decision else ""
    shape = ", another shape" if verdict.problem else ""
    return [name, f"{decision}score {verdict.score:.4g}{p_value}{shape}"]


def picture(tiles: Sequence[Tile]) -> Image.Image:
    """The sheet as one picture, as many photographs per row as `WIDEST` holds, each beside its heat map."""
    font = ImageFont.load_default(size=12)
    each = max((tile.photograph.width for tile in tiles), default=SIDE)
    pair = 2 * each + 2 if any(tile.heat for tile in tiles) else each
    width = max(pair, NARROWEST) + GAP
    height = max((tile.photograph.height for tile in tiles), default=0) + 2 * LINE + 2 * GAP
    columns = min(max(1, WIDEST // width), max(1, len(tiles)))
    sheet = Image.new("RGB", (columns * width + GAP, math.ceil(len(tiles) / columns) * height + GAP), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for index, tile in enumerate(tiles):
        left, top = GAP + index % columns * width, GAP + index // columns * height
        for step, line in enumerate(caption(tile.verdict)):
            colour = RED if step and tile.verdict.decision == "anomaly" else BLACK
            draw.text((left, top + step * LINE), line, fill=colour, font=font)
        sheet.paste(tile.photograph, (left, top + 2 * LINE + 2))
        if tile.heat is not None:
            sheet.paste(tile.heat, (left + tile.photograph.width + 2, top + 2 * LINE + 2))
    return sheet


MOST_JPEG = 65_500
"""Longest side of a JPEG that Pillow writes, in pixels."""


def encoded(sheet: Image.Image, path: Path) -> bytes:
    """A sheet as the bytes of a PNG or JPEG file, as the ending of `path` says."""
    png = path.suffix.lower() == ".png"
    if not png and max(sheet.size) > MOST_JPEG:
        raise InputError(
            f"--sheet {path}: the sheet is {max(sheet.size)} pixels long, and a JPEG holds {MOST_JPEG}: show fewer "
            "photographs (--most), or name a file that ends in .html or .png"
        )
    stream = io.BytesIO()
    sheet.save(stream, "PNG" if png else "JPEG")
    return stream.getvalue()


def _address(image: Image.Image) -> str:
    """Return a picture as a ``data:`` URL."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _page(model: Fitted, verdicts: Sequence[Verdict], tiles: Sequence[Tile], false_alarms: float | None) -> str:
    """Return the sheet as HTML that needs no network."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files(__package__) / "sheet.html.jinja").read_text("utf-8"))
    about = model.about
    return template.render(
        title=f"{about.method_title}, fitted to {printable(about.fitted_to.dataset)}",
        sentences=said_of_scores(model, verdicts, false_alarms if len(model.calibration) else None),
        total=len(verdicts),
        heat=any(tile.heat for tile in tiles),
        tiles=[
            {
                "name": printable(tile.verdict.file),
                "decision": tile.verdict.decision,
                "line": caption(tile.verdict)[1],
                "photograph": _address(tile.photograph),
                "heat": _address(tile.heat) if tile.heat is not None else "",
            }
            for tile in tiles
        ],
        broken=[
            {"name": printable(one.file), "problem": printable(one.problem)}
            for one in verdicts
            if one.decision == "broken"
        ],
    )
