"""The shared checks of images and labels: what passes, and the sentence for each thing that does not."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from perceptlib.records import check_images, check_labels

IMAGES = torch.rand(2, 3, 5, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_in_the_closed_unit_interval_pass(dtype):
    images = IMAGES.to(dtype)
    images[0, 0, 0, 0], images[0, 0, 0, 1] = 0, 1
    check_images(images)
    check_images(images.requires_grad_())


@pytest.mark.parametrize(
    ("images", "error", "sentence"),
    [
        (IMAGES.numpy(), TypeError, r"images are a ndarray; .* write torch.as_tensor\(images\)"),
        (IMAGES.numpy().astype("longdouble"), TypeError, r"not of float128; write images.astype\('float32'\)$"),
        (list(IMAGES), TypeError, r"images are a list; .* write torch.stack\(images\)$"),
        (Image.new("RGB", (4, 5)), TypeError, r"images are a Image; .* write .*to_tensor\(images\)\[None\]$"),
        (None, TypeError, r"images are a NoneType; a torch tensor of shape \(N, C, H, W\) is needed$"),
        ((IMAGES * 255).byte(), TypeError, r"uint8; float32 or float64 .* torch.as_tensor\(images\).float\(\) / 255"),
        (IMAGES.half(), TypeError, r"dtype float16; .* write torch.as_tensor\(images\).float\(\)$"),
        (IMAGES[0], ValueError, r"shape \(3, 5, 4\); four axes .* write images\[None\]"),
        (IMAGES[None], ValueError, r"shape \(1, 2, 3, 5, 4\); four axes \(N, C, H, W\) are needed$"),
        (IMAGES[:0], ValueError, r"shape \(0, 3, 5, 4\), an empty batch; pass at least one"),
        (IMAGES[..., :0], ValueError, r"shape \(2, 3, 5, 0\), an empty batch"),
        (IMAGES * 255, ValueError, r"values from .* \[0, 1\] is allowed; write images / 255"),
        (IMAGES + 0.5, ValueError, r"\[0, 1\] is allowed; write images.clip\(0, 1\)"),
        (IMAGES * 65535, ValueError, r"write images / 65535"),
        (IMAGES - IMAGES.amin() - 1e-6, ValueError, r"values from -.* \[0, 1\] is allowed; write images.clip\(0, 1\)"),
        (2 * IMAGES - 1, ValueError, r"write \(images \+ 1\) / 2 for pictures of -1 to 1"),
        ((IMAGES - 0.45) / 0.22, ValueError, r"write images \* std \+ mean where they were normalised"),
        (IMAGES.to_sparse(), TypeError, r"images are a torch.sparse_coo; .* write images.to_dense\(\)$"),
        ((IMAGES * 65535).to(torch.uint16), TypeError, r"write torch.as_tensor\(images\).float\(\) / 65535"),
        (IMAGES / 0, ValueError, r"to inf; \[0, 1\] is allowed"),
    ],
)
def test_images_refused_with_a_sentence(images, error, sentence):
    with pytest.raises(error, match=sentence):
        check_images(images)


def test_images_with_nan_are_counted():
    images = IMAGES.clone()
    images[1, 2, 3, 3] = torch.nan
    with pytest.raises(ValueError, match="NaN in 1 of 2 pictures"):
        check_images(images)


def test_labels_in_range_pass():
    check_labels(torch.tensor([0, 7]), 2, 8)


@pytest.mark.parametrize(
    ("labels", "error", "sentence"),
    [
        ([0, 1], TypeError, r"labels are a list; .* write torch.as_tensor\(labels\)"),
        (3, TypeError, r"labels are a int; .* write torch.full\(\(2,\), 3\)$"),
        (torch.tensor([0.0, 1.0]), TypeError, r"dtype float32; int64 is allowed; write torch.as_tensor\(labels\).long"),
        (torch.eye(8)[:2], ValueError, r"shape \(2, 8\); one per image, .* write labels.argmax\(1\)$"),
        (torch.tensor([0, 1], dtype=torch.int32), TypeError, "dtype int32; int64"),
        (torch.tensor([0, 1, 2]), ValueError, r"shape \(3,\); one per image, shape \(2,\)"),
        (torch.tensor([[0], [1]]), ValueError, r"shape \(2, 1\); one per image, .* write labels.reshape\(2\)$"),
        (torch.tensor([0, 8]), ValueError, "class 8; 0 to 7 are allowed"),
        (torch.tensor([-1, 0]), ValueError, "class -1; 0 to 7 are allowed"),
    ],
)
def test_labels_refused_with_a_sentence(labels, error, sentence):
    with pytest.raises(error, match=sentence):
        check_labels(labels, 2, 8)


def test_labels_named_as_the_caller_says():
    with pytest.raises(ValueError, match="targets hold class 9"):
        check_labels(torch.tensor([9]), 1, 8, name="targets")
