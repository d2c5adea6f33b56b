"""What a result rests on: where numbers come from, checksums of what ships, files that appear whole or not at all, and
the checks that refuse what a caller hands in. Knows no picture, network or attack."""

from perceptlib.records.checks import check_classes, check_images, check_labels, whole_number
from perceptlib.records.files import FolderInUse, claimed, plain, read_json, replacing, write_json, writing_to
from perceptlib.records.manifest import read_verified
from perceptlib.records.messages import printable, short
from perceptlib.records.package import data_dir
from perceptlib.records.provenance import commit

__all__ = [
    "FolderInUse",
    "check_classes",
    "check_images",
    "check_labels",
    "claimed",
    "commit",
    "data_dir",
    "plain",
    "printable",
    "read_json",
    "read_verified",
    "replacing",
    "short",
    "whole_number",
    "write_json",
    "writing_to",
]
