import numpy as np
from osad_bench_leaves import Leaves
from PIL import Image

from osad_bench.datasets.checks import check_dataset


def test_leaves_meets_the_contract(tmp_path):
    generator = np.random.default_rng(0)
    for name in ("healthy", "rust", "mildew"):
        (tmp_path / name).mkdir()
        for index in range(4):
            pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    check_dataset(lambda: Leaves(tmp_path))
    assert Leaves(tmp_path).kinds == ("mildew", "rust")
