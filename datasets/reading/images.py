"""From the bytes of an image file to uint8 RGB, whatever mode the file has."""

from __future__ import annotations

import importlib.util
import stat
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from osad_bench.datasets.base import DatasetError

SUFFIXES = frozenset({".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Endings of file names that are taken for images, compared without regard to case."""

HEIC = frozenset({".heic", ".heif", ".hif"})
"""Endings of HEIC photographs, which are read where the package ``pillow-heif`` is installed."""

MAX_PIXELS = 2**26
"""Largest image that is decoded (67 megapixels, 200 MB as RGB): far above any data set here, far below a decompression bomb."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels; right and bottom are exclusive."""

# Pillow warns of damaged metadata, which is not used, and of sizes above MAX_PIXELS, which are an error here.
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_ORIENTATION = 0x0112
_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How an image is made upright, by the value of its EXIF orientation (EXIF 2.3, tag 0x0112)."""


@cache
def heic_installed() -> bool:
    """Whether ``pillow-heif`` is installed; it is not imported."""
    return importlib.util.find_spec("pillow_heif") is not None


def suffixes_read() -> frozenset[str]:
    """Endings of the files that can be read here: `SUFFIXES`, and `HEIC` where ``pillow-heif`` is installed."""
    return SUFFIXES | HEIC if heic_installed() else SUFFIXES


@cache
def _read_heic() -> None:
    from pillow_heif import register_heif_opener

    register_heif_opener()


def _is_heic(path: Path) -> bool:
    """Whether a file begins as ISO/IEC 23008-12 says; iPhones also write such files with the ending .jpg."""
    with path.open("rb") as file:
        start = file.read(12)
    return start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


def open_image(path: Path) -> Image.Image:
    """Open an image file and read its header, not its pixels.

    Raises
    ------
    DatasetError
        The file is missing, empty, no regular file, no image, damaged, or larger than `MAX_PIXELS`; the message names it.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading from a pipe or device might never end
            raise DatasetError(f"image {path} is no regular file (a pipe, device, socket or folder): remove it")
        if path.suffix.lower() in HEIC and heic_installed():
            _read_heic()
        try:
            image = Image.open(path)
        except UnidentifiedImageError:
            if not (heic_installed() and _is_heic(path)):
                raise
            _read_heic()
            image = Image.open(path)
    except FileNotFoundError:
        raise DatasetError(f"image {path} is missing: restore it from its original") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DatasetError(f"image {path} is refused as a decompression bomb: {error}") from None
    except UnidentifiedImageError:
        if _is_heic(path):
            raise DatasetError(f"image {path} is HEIC; to read it: pip install 'osad-bench[heic]'") from None
        what = "is empty (0 bytes)" if path.stat().st_size == 0 else "is not an image in a known format"
        raise DatasetError(f"image {path} {what}: restore it from its original, or remove it") from None
    except DatasetError:
        raise
    except Exception as error:
        raise _broken(path, error) from error
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        image.close()
        raise DatasetError(
            f"image {path} is refused as a decompression bomb: its header says {size} pixels, the limit is {MAX_PIXELS}"
        )
    return image


def _broken(path: Path, error: Exception) -> DatasetError:
    """Error for whatever a decoder raised: Pillow's raise OSError, SyntaxError, ValueError, struct.error and others."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:  # the system's, not a decoder's
        return DatasetError(f"image {path} cannot be read: {error.strerror}")
    said = str(error) or type(error).__name__
    return DatasetError(f"image {path} is broken ({said}): restore it from its original, or remove it")


def read_rgb(path: Path, box: Box | None = None, *, upright: bool = False) -> npt.NDArray[np.uint8]:
    """Decode an image, or a box of it, to RGB; see `decode_rgb`.

    Returns
    -------
    array of shape (H, W, 3), uint8
    """
    return np.array(decode_rgb(path, box, upright=upright))


def decode_rgb(path: Path, box: Box | None = None, *, upright: bool = False) -> Image.Image:
    """Decode an image, or a box of it, to Pillow's RGB.

    Palettes, CMYK and grey become RGB; transparency is dropped, as every published loader does; 16-bit grey keeps its
    full range, 0 to 65535 becoming 0 to 255 (Pillow's own conversion would clip it at 255).

    Parameters
    ----------
    path
        The file.
    box
        Part of the image to return; None for all of it.
    upright
        Turn the image as its EXIF orientation says; else pixels are returned as stored (Pillow turns TIFF in any case).

    Raises
    ------
    DatasetError
        The file is missing, broken or too large, or the box does not lie within it; the message names it.
    """
    with open_image(path) as image:
        try:
            image.load()
        except Exception as error:
            raise _broken(path, error) from error
        turn = _transposition(image) if upright else None
        part: Image.Image = image if turn is None else image.transpose(turn)
        if box is not None:
            left, top, right, bottom = box
            if not (0 <= left < right <= part.width and 0 <= top < bottom <= part.height):
                raise DatasetError(
                    f"image {path} is {part.width} x {part.height}: the box {box} does not lie within it"
                )
            part = part.crop(box)
        if part.mode == "F":
            raise DatasetError(
                f"image {path} holds floating-point values, whose range is not known: save it with 8 or 16 bits"
            )
        try:
            return _as_rgb(part)
        except Exception as error:
            raise _broken(path, error) from error


def _transposition(image: Image.Image) -> Image.Transpose | None:
    """How an image is made upright; None where it is, or where its EXIF data cannot be read."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # viewers show such an image as it is stored
        return None
    return _TRANSPOSED.get(orientation) if isinstance(orientation, int) else None


def is_turned(image: Image.Image) -> bool:
    """Whether the EXIF orientation says that an image is not stored upright."""
    return _transposition(image) is not None


def _as_rgb(image: Image.Image) -> Image.Image:
    """Convert a decoded image of any mode but F; the result stays when the file is closed."""
    if image.mode.startswith("I"):  # I;16 and its byte orders, and I, as which Pillow opens some 16-bit files
        wide = np.asarray(image).astype(np.int64)
        grey = np.clip((wide * 255 + 32767) // 65535, 0, 255).astype(np.uint8)
        image = Image.fromarray(grey)
    return image.convert("RGB")


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Decode a mask: True wherever any channel's raw value is not 0 (a palette's index counts, not its colour).

    Returns
    -------
    array of shape (H, W), bool

    Raises
    ------
    DatasetError
        The file is missing, broken or too large; the message names it.
    """
    with open_image(path) as image:
        try:
            raw = np.asarray(image if image.mode not in {"RGBA", "LA", "PA", "CMYK"} else image.convert("RGB"))
        except Exception as error:
            raise _broken(path, error) from error
    return np.asarray(raw.any(axis=2) if raw.ndim == 3 else raw != 0)


def read_bands(path: Path) -> npt.NDArray[np.uint8]:
    """Read the first three bands of a NumPy array file as RGB; values 0 to 255 lose their fraction, others are clipped.

    Returns
    -------
    array of shape (H, W, 3), uint8

    Raises
    ------
    DatasetError
        The file is missing, broken, too large, holds Python objects, or is not of shape (H, W, 3 or more).
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DatasetError(f"image {path} is no regular file (a pipe, device, socket or folder): remove it")
        # Mapped, so that a header that promises terabytes costs nothing; pickled objects would run a stranger's code.
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DatasetError(f"image {path} is missing: restore it from its original") from None
    except DatasetError:
        raise
    except Exception as error:  # NumPy raises ValueError, EOFError, OSError, SyntaxError and others
        what = "is empty (0 bytes)" if path.stat().st_size == 0 else f"is broken ({error})"
        raise DatasetError(f"image {path} {what}: restore it from its original, or remove it") from error
    shape: tuple[int, ...] = getattr(stored, "shape", ())
    if len(shape) != 3 or shape[2] < 3 or not np.issubdtype(stored.dtype, np.number) or 0 in shape:
        raise DatasetError(
            f"image {path} holds {getattr(stored, 'dtype', 'no array')} {shape}; expected (H, W, 3 or more)"
        )
    if shape[0] * shape[1] > MAX_PIXELS:
        raise DatasetError(
            f"image {path} is refused as a decompression bomb: {shape[1]} x {shape[0]} pixels, the limit is {MAX_PIXELS}"
        )
    bands = np.asarray(stored[:, :, :3])
    if np.iscomplexobj(bands) or not np.isfinite(bands).all():
        raise DatasetError(f"image {path} holds values that are no finite numbers: restore it from its original")
    return np.ascontiguousarray(np.clip(bands, 0, 255).astype(np.uint8))
