"""Picture files in and out: every mode that a user may bring becomes RGB in [0, 1], or a sentence says why not."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from perceptlib.records import check_images, replacing
from perceptlib.records.checks import whole_number

MAX_PIXELS = 64_000_000  # 0.8 GB as float32 RGB
_FORMATS = "PNG, JPEG, TIFF, WebP, GIF or BMP"
# Pillow knows many more kinds; for some it starts other programs (PostScript), for others it is little tried.
_READ = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM")
_ENDS = "apng bmp gif jfif jpe jpeg jpg mpo pbm pgm png pnm ppm tif tiff webp"
SUFFIXES = frozenset(f".{end}" for end in _ENDS.split())  # of files that may be one of these
_BITS, _PHOTOMETRIC, _LARGEST, _PLANES, _SAMPLES = 258, 262, 281, 284, 339  # tags of TIFF


def read_picture(path: str | Path, *, size: int | None = None) -> torch.Tensor:
    """Read a picture file as it is meant to be seen.

    Parameters
    ----------
    path
        PNG, JPEG, TIFF, WebP, GIF, BMP or PPM; of any size up to `MAX_PIXELS` pixels.
    size
        Side in pixels for `resize_and_crop`; None keeps the file's own size.

    Returns
    -------
    torch.Tensor
        (1, 3, H, W), float32, in [0, 1].

    Warns
    -----
    UserWarning
        The file holds several frames or pages, of which the first is used, or a part of it is damaged.

    Raises
    ------
    FileNotFoundError, ValueError
        No file; no picture, truncated or damaged, too many pixels, or pixels without a known range.

    Notes
    -----
    EXIF rotation is applied. Grey is repeated over the three channels, a palette is looked up, transparency is laid
    over white, CMYK is converted by Pillow's formula; colour profiles are not applied. Grey of 12 and 16 bits keeps its
    precision, colour of 16 bits is read with 8. White is the largest number of the file's bits, or what a TIFF names as
    the largest; grey of 16 bits that ends at 4095 without such a name may be of 12 bits, and is refused.
    """
    path = Path(path)
    if not path.is_file():
        got = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"picture {path} {got}; name a file: {_FORMATS}")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is judged here
            with Image.open(path, formats=_READ) as image:
                num_frames = getattr(image, "n_frames", 1)
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError(f"{image.width}x{image.height} pixels")
                pixels = _rgb(image)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not a picture that can be read; {_FORMATS} is needed") from error
    except Image.DecompressionBombError as error:
        advice = f"at most {MAX_PIXELS} pixels are read; make it smaller first"
        raise ValueError(f"{path} is too large ({error}): {advice}") from error
    except _UnknownRangeError as error:
        raise ValueError(f"{path} {error}; save it as 8-bit RGB") from error
    except Exception as error:  # a damaged file can end in any exception of its decoder
        raise ValueError(f"{path} is truncated or damaged ({error}); fetch or save it again") from error
    if told:
        reason = str(told[0].message).split("\n")[0]
        warnings.warn(f"{path} is damaged in part ({reason}); what could be read is used", UserWarning, stacklevel=2)
    elif num_frames > 1:
        warnings.warn(f"{path} holds {num_frames} frames; the first is used", UserWarning, stacklevel=2)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
    return images if size is None else resize_and_crop(images, size)


def save_picture(images: torch.Tensor, path: str | Path) -> None:
    """Write one picture as an 8-bit PNG, whole or not at all; read back it is `perceptlib.attacks.round_to_8bit` of it.

    Parameters
    ----------
    images
        (1, 3, H, W) or (3, H, W), float32 or float64, in [0, 1].
    path
        The file; another suffix than ``.png`` raises ValueError.
    """
    images = images[None] if isinstance(images, torch.Tensor) and images.ndim == 3 else images
    check_images(images)
    if images.shape[:2] != (1, 3):
        raise ValueError(f"images have shape {tuple(images.shape)}; one RGB picture, (1, 3, H, W), is needed")
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path} does not end in .png; only PNG keeps every pixel as it is")
    pixels = (images[0].detach().permute(1, 2, 0) * 255).round().byte().cpu().numpy()
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def resize_and_crop(images: torch.Tensor, size: int) -> torch.Tensor:
    """Cut the largest square out of the middle and bring it to `size` by Pillow's bicubic interpolation.

    Parameters
    ----------
    images
        (N, C, H, W) in [0, 1].
    size
        Side of the result in pixels, 1 or more.

    Returns
    -------
    torch.Tensor
        (N, C, size, size), on the images' device. Resized in 8 bits, as picture files are, so every value is a
        multiple of 1/255; only a square that has the size already comes back as it is.
    """
    check_images(images)
    size = whole_number("size", size, least=1)
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[..., top : top + side, left : left + side]
    if side == size:
        return square
    planes = (square.detach() * 255).round().byte().cpu().flatten(0, 1).numpy()
    # Pillow and not torch: on the 200 labelled photographs torch's interpolation names two fewer right.
    resized = [Image.fromarray(plane).resize((size, size), Image.Resampling.BICUBIC) for plane in planes]
    pixels = torch.from_numpy(np.stack([np.asarray(plane) for plane in resized]))
    return pixels.view(*images.shape[:2], size, size).to(images) / 255


class _UnknownRangeError(Exception):
    """Pixels whose white is not known."""


def _rgb(image: Image.Image) -> NDArray[np.floating]:
    """(H, W, 3), float32, in [0, 1]."""
    tags: Any = getattr(image, "tag_v2", {})
    if any(kind not in (1, 4) for kind in _numbers(tags, _SAMPLES)):
        raise _UnknownRangeError("holds signed or real numbers, whose black and white are not known")
    is_tiff, is_inverted = image.format == "TIFF", _numbers(tags, _PHOTOMETRIC) == [0]
    tiles = map(str, getattr(image, "tile", ()))
    is_deep = max(_numbers(tags, _BITS), default=0) > 8 or any(";16" in tile for tile in tiles)
    if is_deep and _numbers(tags, _PLANES) == [2]:
        raise _UnknownRangeError("holds 16-bit colours plane by plane, which Pillow reads wrongly")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("F", "LAB"):
        raise _UnknownRangeError(f"holds pixels of mode {image.mode}, whose conversion to RGB is not defined")
    values = np.asarray(image)
    largest = int(values.max())
    if (is_tiff and image.mode == "I") or largest > 65535:
        raise _UnknownRangeError("holds 32-bit integers, whose white is not known")
    named, bits = (max(_numbers(tags, tag), default=0) for tag in (_LARGEST, _BITS))
    white = named if 255 < named < 65535 else (1 << bits) - 1 if 8 < bits < 16 else 65535
    is_grey = image.mode.startswith("I")
    if (is_grey or is_deep) and white == 65535 and 0 < largest <= (4095 if is_grey else 15):
        raise _UnknownRangeError("holds 16-bit numbers that end at 4095 or before, so that its white may be that")
    if is_deep and not is_grey and white != 65535:
        raise _UnknownRangeError(f"holds colours whose white is {white}")
    if is_grey:
        levels = (values.astype(np.float32) / white).clip(0, 1)
        return np.repeat((1 - levels if is_inverted else levels)[..., None], 3, axis=2)
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, "white")
        background.alpha_composite(image.convert("RGBA"))
        image = background
    return np.asarray(image.convert("RGB")).astype(np.float32) / 255


def _numbers(tags: Any, tag: int) -> list[int]:
    """What a TIFF says under a tag; nothing for other files."""
    found = tags.get(tag, ())
    return list(found) if isinstance(found, tuple) else [found]
