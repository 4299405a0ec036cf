"""How well a fitted method's heat maps mark the defective pixels of the test images (`osad-bench run --pixels`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from osad_bench.datasets.reading.tiles import put_back
from osad_bench.results.pixels import pixel_metrics

if TYPE_CHECKING:
    from osad_bench.benchmark.cell.execute import Fitting


def pixels_of(fitting: Fitting) -> tuple[dict[str, float], dict[str, Any]]:
    """Pixel metrics of the test part, and which images they were computed on.

    Returns
    -------
    metrics
        ``pixel_auroc`` and ``aupro``, in [0, 1]; empty if the method has no maps or no test anomaly has a mask.
    about
        Number of ``images`` measured, number ``without_mask``, which are left out, and the reason if there are no
        metrics (``missing``).

    Raises
    ------
    DatasetError
        A mask cannot be read.
    ValueError
        A map is not finite.
    """
    parts, dataset = fitting.planned.division, fitting.dataset
    samples = [dataset.by_id[name] for name in (*parts.test_normal, *parts.test_anomaly)]
    masks = {place: mask for place, sample in enumerate(samples) if (mask := dataset.mask(sample)) is not None}
    about: dict[str, Any] = {"images": len(masks), "without_mask": len(samples) - len(masks)}
    if not any(mask.any() for mask in masks.values()):
        return {}, about | {"missing": "no test anomaly has a mask"}
    maps = fitting.train.maps(fitting.method)
    if maps is None:
        return {}, about | {"missing": "the method has no heat maps"}
    tiles = fitting.planned.preset.tiles
    auroc, aupro = pixel_metrics(
        [put_back(maps[place], mask.shape[0], mask.shape[1], tiles) for place, mask in masks.items()], masks.values()
    )
    return {"pixel_auroc": auroc, "aupro": aupro}, about
