from __future__ import annotations

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.reading.images import MAX_PIXELS, read_bands, read_mask, read_rgb

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
    with pytest.raises(DatasetError, match=f"x.png {message}.*restore it from its original"):
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


ARROW = np.zeros((6, 8, 3), dtype=np.uint8)
ARROW[1, :5] = (255, 0, 0)
ARROW[4:, 6] = (0, 255, 0)

STORED = {
    1: ARROW,
    2: ARROW[:, ::-1],
    3: ARROW[::-1, ::-1],
    4: ARROW[::-1],
    5: ARROW.transpose(1, 0, 2),
    6: np.rot90(ARROW),
    7: ARROW[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(ARROW, -1),
}
"""How a camera stores the arrow under each EXIF orientation."""


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_photographs_are_made_upright_where_that_is_asked_for(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    path = saved(tmp_path, picture, f"arrow.{kind.lower()}", exif=exif, **options)
    assert (read_rgb(path, upright=True) == ARROW).all()
    if kind != "TIFF":  # which Pillow turns in any case
        assert (read_rgb(path) == STORED[orientation]).all()


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0"]
)
def test_a_photograph_whose_exif_data_is_damaged_is_read_as_stored(tmp_path, exif):
    path = saved(tmp_path, Image.fromarray(STORED[6].copy()), "x.png", exif=exif)
    assert (read_rgb(path, upright=True) == STORED[6]).all()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert (read_rgb(saved(tmp_path, Image.fromarray(ARROW), "x.png", exif=exif), upright=True) == ARROW).all()


def text_bomb(path):
    """PNG with a compressed text of two megabytes, which is above Pillow's limit."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * (2 << 20)))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + text + chunk(b"IDAT", zlib.compress(b"\0" * 20)) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("read", [read_rgb, read_mask])
def test_a_png_text_bomb_is_one_sentence_with_the_file(tmp_path, read):
    with pytest.raises(DatasetError, match=r"bomb\.png is broken \(.*\): restore it"):
        read(text_bomb(tmp_path / "bomb.png"))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM"]),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
    end=st.floats(0, 1),
)
def test_whatever_is_done_to_a_file_it_is_read_or_refused_in_one_line_with_its_name(tmp_path, kind, cuts, end):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(stream, kind)
    data = bytearray(stream.getvalue())
    for place, piece in cuts:
        start = int(place * (len(data) - 1))
        data[start : start + len(piece)] = piece
    if end < 0.5:
        del data[int(end * 2 * len(data)) :]
    path = tmp_path / "damaged.img"
    path.write_bytes(data)
    for read in (read_rgb, read_mask, lambda path: read_rgb(path, upright=True)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = "damaged.img"
            try:
                read(path)
            except DatasetError as error:
                said = str(error)
            assert "damaged.img" in said
            assert len(said.splitlines()) == 1


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()])
@pytest.mark.parametrize("read", [read_rgb, read_mask, read_bands])
def test_what_is_no_regular_file_is_refused_not_waited_for(tmp_path, make, read):
    make(tmp_path / "x.png")
    with pytest.raises(DatasetError, match=r"x\.png is no regular file"):
        read(tmp_path / "x.png")


def heic(path, **options):
    pillow_heif = pytest.importorskip("pillow_heif", reason="pip install 'osad-bench[heic]'")
    pillow_heif.from_pillow(Image.fromarray(np.kron(ARROW, np.ones((16, 16, 1), np.uint8)))).save(
        path, quality=90, **options
    )
    return path


@pytest.mark.parametrize("name", ["x.heic", "X.HEIF", "x.jpg"])
def test_heic_photographs_are_read_whatever_their_ending(tmp_path, name):
    image = read_rgb(heic(tmp_path / name, format="HEIF"))
    assert image.shape == (96, 128, 3)
    assert np.abs(image[24, 40].astype(int) - (255, 0, 0)).max() < 40


def test_without_the_package_a_heic_photograph_is_refused_with_the_remedy(tmp_path, monkeypatch):
    path = heic(tmp_path / "x.jpg", format="HEIF")
    monkeypatch.setattr("osad_bench.datasets.reading.images.heic_installed", lambda: False)
    monkeypatch.setitem(Image.OPEN, "HEIF", (lambda *_: None, lambda _: False))
    with pytest.raises(DatasetError, match=r"x\.jpg is HEIC; to read it: pip install 'osad-bench\[heic\]'"):
        read_rgb(path)
