from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.reading.images import MAX_PIXELS, read_mask, read_rgb

RAMP = np.linspace(0, 255, 64, dtype=np.uint8).reshape(8, 8)


def saved(tmp_path, picture, name, **options):
    path = tmp_path / name
    picture.save(path, **options)
    return path


@pytest.mark.parametrize(("dtype", "name"), [(np.uint16, "deep.png"), (np.uint16, "deep.tif"), (np.int32, "deep.tif")])
def test_16_bit_grey_keeps_its_full_range(tmp_path, dtype, name):
    deep = RAMP.astype(dtype) * 257
    image = read_rgb(saved(tmp_path, Image.fromarray(deep), name))
    assert (image == RAMP[:, :, None]).all()


def test_cmyk_becomes_rgb(tmp_path):
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    image = read_rgb(saved(tmp_path, red, "red.jpg", quality=100, subsampling=0))
    assert np.abs(image.astype(int) - (255, 0, 0)).max() <= 3


def test_transparency_is_dropped_and_palettes_are_looked_up(tmp_path):
    colours = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=2)
    faded = Image.fromarray(np.dstack([colours, np.full((8, 8), 7, np.uint8)]), "RGBA")
    assert (read_rgb(saved(tmp_path, faded, "faded.png")) == colours).all()
    two = Image.new("P", (8, 8), 1)
    two.putpalette([0, 0, 0, 10, 20, 30])
    assert (read_rgb(saved(tmp_path, two, "two.png")) == (10, 20, 30)).all()


def test_contents_decide_not_the_ending(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP), "really.jpg", format="PNG")
    assert (read_rgb(path)[:, :, 0] == RAMP).all()


def test_floating_point_values_are_refused_as_their_range_is_unknown(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP.astype(np.float32)), "float.tif")
    with pytest.raises(DatasetError, match="range is not known"):
        read_rgb(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", r"is empty \(0 bytes\)"), (b"no image at all", "is not an image"), (None, "is missing")],
)
def test_a_file_that_is_no_image_is_named_with_the_remedy(tmp_path, content, message):
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=f"x.png {message}.*restore it from the original download"):
        read_rgb(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_a_truncated_image_is_refused_not_padded_with_grey(tmp_path, kind):
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, kind)
    path = tmp_path / "cut.img"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(DatasetError, match="cut.img"):
        read_rgb(path)


def bomb(path, side):
    """PNG whose header promises side x side pixels of zeros, in a few kilobytes."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("side", [int(MAX_PIXELS**0.5) + 1, 11000, 60000])
@pytest.mark.parametrize("read", [read_rgb, read_mask])
def test_decompression_bombs_are_refused_from_their_header(tmp_path, side, read):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DatasetError, match="refused as a decompression bomb"):
            read(bomb(tmp_path / "bomb.png", side))


def test_a_box_outside_the_image_is_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP), "small.png")
    with pytest.raises(DatasetError, match="8 x 8: the box"):
        read_rgb(path, (0, 0, 9, 8))
    assert (read_rgb(path, (2, 1, 8, 8))[:, :, 0] == RAMP[1:, 2:]).all()


def test_a_palette_masks_index_counts_not_its_colour(tmp_path):
    mask = Image.new("P", (8, 8), 0)
    mask.putpalette([255, 255, 255, 0, 0, 0, 0, 0, 0])  # index 0 is white, 1 and 2 are black
    mask.putpixel((3, 2), 2)
    marks = read_mask(saved(tmp_path, mask, "mask.bmp"))
    assert np.argwhere(marks).tolist() == [[2, 3]]
