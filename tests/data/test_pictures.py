"""Picture files of every kind: what is read, what is refused with a sentence, and that a saved one comes back."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from perceptlib.attacks import round_to_8bit
from perceptlib.data import pictures, read_picture, resize_and_crop, save_picture

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def written(image, path, **options):
    image.save(path, **options)
    return path


def as_images(pixels):
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]


def repeated(grey):
    return as_images(np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "gif", "webp"])
def test_rgb_files_are_read_exactly(tmp_path, suffix):
    few_colours = (RGB // 128) * 255  # also a GIF can hold them
    path = written(Image.fromarray(few_colours), tmp_path / f"it.{suffix}", lossless=True)
    images = read_picture(path)
    assert (images.shape, images.dtype) == ((1, 3, 6, 9), torch.float32)
    assert torch.equal(images, as_images(few_colours))


def test_jpeg_is_read(tmp_path):
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    images = read_picture(written(Image.fromarray(smooth), tmp_path / "it.jpg", quality=95))
    assert (images - as_images(smooth)).abs().max() < 3 / 255


def test_name_does_not_decide_the_kind(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "it.jpg", format="PNG")
    assert torch.equal(read_picture(tmp_path / "it.jpg"), as_images(RGB))


def test_grey_is_repeated(tmp_path):
    assert torch.equal(read_picture(written(Image.fromarray(GREY), tmp_path / "grey.png")), repeated(GREY))


def test_black_and_white_is_read(tmp_path):
    bits = Image.fromarray(GREY).convert("1")
    expected = repeated(np.asarray(bits.convert("L")))
    assert torch.equal(read_picture(written(bits, tmp_path / "bits.png")), expected)


def test_palette_is_looked_up(tmp_path):
    palette = Image.fromarray(RGB).quantize(256)
    expected = as_images(np.asarray(palette.convert("RGB")))
    assert expected.unique().numel() > 20
    assert torch.equal(read_picture(written(palette, tmp_path / "palette.png")), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(tmp_path, mode):
    colour = RGB if mode == "RGBA" else GREY[..., None]
    alpha = np.random.default_rng(1).integers(0, 256, (6, 9, 1), dtype=np.uint8)
    image = Image.fromarray(np.concatenate([colour, alpha], axis=2), mode=mode)
    share = alpha / 255
    expected = np.broadcast_to(colour / 255 * share + 1 - share, (6, 9, 3))
    got = read_picture(written(image, tmp_path / "alpha.png"))[0].permute(1, 2, 0)
    np.testing.assert_allclose(got, expected, atol=1 / 255)  # Pillow lays over in 8 bits


def test_transparent_palette_entry_becomes_white(tmp_path):
    image = Image.new("P", (4, 3), 1)
    image.putpalette([10, 20, 30, 250, 0, 0])
    path = written(image, tmp_path / "it.gif", transparency=1)
    assert torch.equal(read_picture(path), torch.ones(1, 3, 3, 4))


def test_cmyk_is_converted(tmp_path):
    image = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    assert read_picture(written(image, tmp_path / "red.tiff"))[0, :, 0, 0].tolist() == [1, 0, 0]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_grey_of_16_bits_keeps_its_precision(tmp_path, suffix):
    grey = np.array([[0, 1, 257], [30000, 65534, 65535]], np.uint16)
    images = read_picture(written(Image.fromarray(grey), tmp_path / f"deep.{suffix}"))
    np.testing.assert_allclose(images[0], np.repeat(grey[None] / 65535, 3, axis=0), rtol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = written(Image.fromarray(RGB), tmp_path / "turned.png", exif=exif)
    assert torch.equal(read_picture(path), as_images(turns[orientation](RGB).copy()))


def test_single_pixel_is_read(tmp_path):
    path = written(Image.fromarray(RGB[:1, :1]), tmp_path / "one.png")
    assert read_picture(path).shape == (1, 3, 1, 1)
    grown = read_picture(path, size=8)
    torch.testing.assert_close(grown, as_images(RGB[:1, :1]).expand(1, 3, 8, 8))


def test_12_megapixel_photograph_is_read_and_resized(tmp_path):
    image = Image.new("RGB", (4000, 3000), (200, 100, 50))
    images = read_picture(written(image, tmp_path / "large.png", compress_level=1), size=224)
    expected = torch.tensor([200, 100, 50]).view(1, 3, 1, 1).expand(1, 3, 224, 224) / 255
    torch.testing.assert_close(images, expected)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_first_frame_of_an_animation_is_used_with_a_warning(tmp_path, suffix):
    first, second = (Image.new("RGB", (5, 4), colour) for colour in ("white", "black"))
    path = written(first, tmp_path / f"it.{suffix}", save_all=True, append_images=[second], lossless=True)
    with pytest.warns(UserWarning, match="holds 2 frames; the first is used"):
        assert torch.equal(read_picture(path), torch.ones(1, 3, 4, 5))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "gif"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_truncated_pictures_refused(tmp_path, suffix, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = written(Image.fromarray(noise), tmp_path / f"whole.{suffix}").read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ValueError, match=r"is truncated or damaged \(.*\); fetch or save it again|is not a pic"):
        read_picture(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_other_files_refused(tmp_path, content):
    (tmp_path / "it.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"it.png is not a picture that can be read; PNG, JPEG, .* is needed"):
        read_picture(tmp_path / "it.png")


def test_missing_pictures_and_folders_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.png does not exist; name a file: PNG, JPEG"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(FileNotFoundError, match="is a folder; name a file"):
        read_picture(tmp_path)


DEEP = np.random.default_rng(2).integers(0, 65536, (6, 9), dtype=np.uint16)
DEEP_RGB = np.random.default_rng(3).integers(0, 65536, (6, 9, 3), dtype=np.uint16)
CMYK = np.random.default_rng(4).integers(0, 256, (6, 9, 4), dtype=np.uint8)
COLOURS = np.random.default_rng(5).integers(0, 256, (3, 256), dtype=np.uint16) * 257
LARGEST = {"extratags": [(281, 3, 1, 4095, True)]}  # MaxSampleValue


@pytest.mark.parametrize(
    ("pixels", "options", "expected"),
    [
        (GREY, {"photometric": "miniswhite"}, 1 - GREY / 255),
        (GREY, {"photometric": "miniswhite", "compression": "zlib"}, 1 - GREY / 255),
        (GREY > 99, {"photometric": "minisblack"}, GREY > 99),
        (GREY > 99, {"photometric": "miniswhite"}, GREY <= 99),
        (DEEP, {"photometric": "minisblack"}, DEEP / 65535),
        (DEEP, {"photometric": "minisblack", "byteorder": ">"}, DEEP / 65535),
        (DEEP, {"photometric": "miniswhite"}, 1 - DEEP / 65535),
        (DEEP >> 4, {"photometric": "minisblack", **LARGEST}, (DEEP >> 4) / 4095),
        (DEEP >> 4, {"photometric": "miniswhite", **LARGEST}, 1 - (DEEP >> 4) / 4095),
        (GREY, {"photometric": "palette", "colormap": COLOURS}, COLOURS.T[GREY] / 65535),
        (RGB, {"photometric": "rgb"}, RGB / 255),
        (RGB.transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate"}, RGB / 255),
        (DEEP_RGB, {"photometric": "rgb"}, (DEEP_RGB >> 8) / 255),
        (CMYK, {"photometric": "separated"}, (1 - CMYK[..., :3] / 255) * (1 - CMYK[..., 3:] / 255)),
        (CMYK * np.uint16(257), {"photometric": "separated"}, (1 - CMYK[..., :3] / 255) * (1 - CMYK[..., 3:] / 255)),
        (np.zeros((6, 9), np.uint16), {"photometric": "minisblack"}, np.zeros((6, 9))),
    ],
)
def test_tiff_of_every_kind_and_depth_is_read(tmp_path, pixels, options, expected):
    tifffile.imwrite(tmp_path / "it.tif", pixels, **options)
    got = read_picture(tmp_path / "it.tif")[0].permute(1, 2, 0).numpy()
    expected = expected[..., None].repeat(3, 2) if expected.ndim == 2 else expected
    np.testing.assert_allclose(got, expected, atol=1e-6 if pixels is not CMYK and pixels.shape[-1] != 4 else 1 / 255)


@pytest.mark.parametrize(
    ("pixels", "options", "sentence"),
    [
        (
            DEEP >> 4,
            {},
            "16-bit numbers that end at 4095 or before, so that its white may be that; save it as 8-bit RGB",
        ),
        (DEEP_RGB >> 4, {"photometric": "rgb"}, "16-bit numbers that end at 4095 or before"),
        (
            DEEP_RGB >> 4,
            {"photometric": "rgb", "extratags": [(281, 3, 3, (4095,) * 3, True)]},
            "colours whose white is 4095",
        ),
        (
            DEEP_RGB.transpose(2, 0, 1),
            {"photometric": "rgb", "planarconfig": "separate"},
            "plane by plane, which Pillow",
        ),
        (DEEP.astype(np.int16), {}, "signed or real numbers"),
        (GREY.astype(np.int8), {}, "signed or real numbers"),
        (DEEP.astype(np.uint32), {}, "32-bit integers"),
        (GREY / np.float32(255), {}, "signed or real numbers"),
        (GREY / np.float64(255), {}, "is not a picture that can be read"),
        (RGB, {"photometric": "cielab"}, "mode LAB, whose conversion to RGB is not defined"),
        (RGB / np.float32(255), {"photometric": "rgb"}, "is not a picture that can be read"),
    ],
)
def test_tiff_whose_white_is_not_known_is_refused(tmp_path, pixels, options, sentence):
    tifffile.imwrite(tmp_path / "it.tif", pixels, **({"photometric": "minisblack"} | options))
    with pytest.raises(ValueError, match=sentence):
        read_picture(tmp_path / "it.tif")


def packed_tiff(rows, photometric):
    """Grey of 12 bits, two numbers in three bytes, as TIFF has them; Pillow and tifffile write none."""
    data = b"".join(
        bytes(((a >> 4), (a & 15) << 4 | b >> 8, b & 255))
        for row in rows.tolist()
        for a, b in zip(row[::2], row[1::2], strict=True)
    )
    height, width = rows.shape
    entries = [(256, width), (257, height), (258, 12), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    entries.append((279, len(data)))
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(entries)) + tags + bytes(4)


def test_tiff_of_12_bits_is_read_or_refused(tmp_path):
    grey = DEEP[:, :8] >> 4
    (tmp_path / "it.tif").write_bytes(packed_tiff(grey, 1))
    torch.testing.assert_close(
        read_picture(tmp_path / "it.tif"), torch.from_numpy(grey / 4095).float().expand(1, 3, 6, 8)
    )
    (tmp_path / "it.tif").write_bytes(packed_tiff(grey, 0))
    with pytest.raises(ValueError, match="is not a picture that can be read"):
        read_picture(tmp_path / "it.tif")


@pytest.mark.parametrize("white", [255, 1023, 4095, 65535])
def test_pnm_of_any_white_is_read(tmp_path, white):
    grey = (DEEP / 65535 * white).round().astype(np.uint16)
    pixels = grey.astype(">u2" if white > 255 else "u1").tobytes()
    (tmp_path / "it.pgm").write_bytes(f"P5 9 6 {white}\n".encode() + pixels)
    np.testing.assert_allclose(
        read_picture(tmp_path / "it.pgm")[0, 1], grey / white, atol=1e-5
    )  # Pillow rounds to 65535


def test_decompression_bombs_refused_before_they_unpack(tmp_path, monkeypatch):
    path = written(Image.new("1", (10_000, 10_000)), tmp_path / "large.png")
    with pytest.raises(ValueError, match=r"too large \(10000x10000 pixels\): at most 64000000 pixels are read"):
        read_picture(path)
    path = written(Image.new("1", (30_000, 10_000)), tmp_path / "bomb.png")
    with pytest.raises(ValueError, match=r"too large \(.*300000000 pixels.*\): at most 64000000 pixels are read"):
        read_picture(path)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 54)
    assert read_picture(written(Image.fromarray(RGB), tmp_path / "just.png")).shape == (1, 3, 6, 9)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([torch.float32, torch.float64]))
def test_saved_picture_reads_back_rounded(tmp_path_factory, seed, dtype):
    path = tmp_path_factory.mktemp("saved") / "it.png"
    images = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    save_picture(images, path)
    assert torch.equal(read_picture(path), round_to_8bit(images).float())
    save_picture(read_picture(path)[0].requires_grad_(), path)
    assert torch.equal(read_picture(path), round_to_8bit(images).float())


def test_picture_is_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "it.png"
    save_picture(torch.ones(1, 3, 4, 4), path)

    def fail(self, file, **options):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_picture(torch.zeros(1, 3, 4, 4), path)
    assert torch.equal(read_picture(path), torch.ones(1, 3, 4, 4))
    assert [file.name for file in tmp_path.iterdir()] == ["it.png"]


def test_pictures_that_cannot_be_saved_refused(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4, 4\); one RGB picture, \(1, 3, H, W\), is needed"):
        save_picture(torch.ones(2, 3, 4, 4), tmp_path / "it.png")
    with pytest.raises(ValueError, match=r"shape \(1, 1, 4, 4\); one RGB picture"):
        save_picture(torch.ones(1, 1, 4, 4), tmp_path / "it.png")
    with pytest.raises(ValueError, match=r"does not end in .png; only PNG keeps every pixel"):
        save_picture(torch.ones(1, 3, 4, 4), tmp_path / "it.jpg")
    with pytest.raises(TypeError, match="images have dtype uint8"):
        save_picture(torch.ones(1, 3, 4, 4).byte(), tmp_path / "it.png")
    with pytest.raises(ValueError, match="images hold values from 2 to 2"):
        save_picture(2 * torch.ones(1, 3, 4, 4), tmp_path / "it.png")


def test_crop_takes_the_middle():
    wide = torch.rand(2, 3, 4, 9)
    assert torch.equal(resize_and_crop(wide, 4), wide[..., 2:6])
    tall = torch.rand(2, 1, 10, 4)
    assert torch.equal(resize_and_crop(tall, 4), tall[:, :, 3:7])


@pytest.mark.parametrize("size", [17, 64, 150])
def test_resizing_is_pillows_bicubic_of_the_middle(size):
    square = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    expected = as_images(np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BICUBIC)))
    wide = torch.nn.functional.pad(as_images(square), (20, 20))
    for images in (wide, wide.double()):
        resized = resize_and_crop(torch.cat([images, images.flip(1)]), size)
        assert resized.dtype == images.dtype
        torch.testing.assert_close(resized[:1].float(), expected, rtol=0, atol=1e-7)
        assert torch.equal(resized[1], resized[0].flip(0))


def test_crop_refuses_bad_input():
    with pytest.raises(ValueError, match="size is 0; pass a whole number, 1 or more"):
        resize_and_crop(torch.ones(1, 3, 4, 4), 0)
    with pytest.raises(ValueError, match="an empty batch"):
        resize_and_crop(torch.ones(0, 3, 4, 4), 4)
