"""Pictures to attack: embedded shapes, scikit-learn's digits, scikit-image's photographs, and a user's own folders."""

from perceptlib.data.bundled import Digits, Photographs, digits, photographs
from perceptlib.data.folders import ImageFolder, image_folder, imagenet_assets
from perceptlib.data.pictures import read_picture, resize_and_crop, save_picture
from perceptlib.data.scenes import shapes

__all__ = [
    "Digits",
    "ImageFolder",
    "Photographs",
    "digits",
    "image_folder",
    "imagenet_assets",
    "photographs",
    "read_picture",
    "resize_and_crop",
    "save_picture",
    "shapes",
]
