"""One encoded image: the formats that are read, its size and mode made plain, and what is said of a bad one."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

# Those that data sets are made of. Pillow knows forty more, and for one, EPS, starts another program on the content.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF")
_FORMATS_HERE = tuple(name for name in FORMATS if name != "AVIF" or find_spec("PIL.AvifImagePlugin"))
_READABLE = f"Every row needs an image in one of the formats {', '.join(FORMATS)}."


def opened(content: bytes) -> Image.Image:
    """An image, upright as its EXIF says. Most need no turning, and are then not decoded yet.

    Raises:
        UnidentifiedImageError: if it is of none of `FORMATS`.
        DecompressionBombError: if it has more pixels than Pillow lets pass; nothing is decoded then.
    """
    image = Image.open(io.BytesIO(content), formats=_FORMATS_HERE)
    upright = 1
    if image.getexif().get(ExifTags.Base.Orientation, upright) == upright:
        return image
    return ImageOps.exif_transpose(image)


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes a `ValueError` that begins with `where`, such as the image's file."""
    try:
        yield
    except UnidentifiedImageError as error:  # its text has nothing but the address of the bytes
        raise ValueError(
            f"{where}: the image cannot be read: its bytes are damaged or of no known format. {_READABLE}"
        ) from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ValueError(
            f"{where}: the image has more than {most:,} pixels, which a small file may claim in order to fill the "
            "memory; it is not decoded. Make it smaller."
        ) from error
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, struct.error and others
        raise ValueError(f"{where}: the image cannot be read: {error}. {_READABLE}") from error


def content_of(cell: Mapping[str, Any] | None, where: str) -> tuple[bytes, str]:
    """The bytes of an image as `datasets` holds it undecoded, and `where` with the name of its file if it has one.

    Raises:
        ValueError: if there are no bytes.
    """
    path = cell["path"] if cell else None
    where += f" ({path})" if path else ""
    content: bytes | None = cell["bytes"] if cell else None
    if content is None and path and Path(path).is_file():
        content = Path(path).read_bytes()
    if content is None:
        raise ValueError(f"{where}: there is no image. {_READABLE}")
    return check_not_empty(content, where), where


def check_not_empty(content: bytes, where: str) -> bytes:
    """The content, of one byte or more.

    Raises:
        ValueError: if it has none.
    """
    if not content:
        raise ValueError(f"{where}: the image is empty (0 bytes). {_READABLE}")
    return content


def plain(image: Image.Image) -> Image.Image:
    """The image in mode L if it is grey, otherwise RGB; transparency is dropped.

    Raises:
        ValueError: if it has more than 8 bits a channel.
    """
    if image.mode in ("1", "L", "LA"):
        return image if image.mode == "L" else image.convert("L")
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"its pixels are of mode {image.mode}; the rule is 8 bits a channel, so convert it first")
    if "transparency" in image.info:  # Pillow warns where a palette with transparency goes straight to RGB
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")
