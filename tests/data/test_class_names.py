"""Files of class names in every form that is handed around, and the sentence for each that is none."""

from __future__ import annotations

import json

import pytest

from perceptlib.data.class_names import read_class_names

NAMES = ("tench, Tinca tinca", "goldfish", "great white shark")


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(NAMES),
        "\r\n".join(NAMES) + "\r\n\n",
        "\ufeff" + "\n".join(NAMES),
        "n01440764 tench, Tinca tinca\nn01443537 goldfish\nn01484850 great white shark\n",
        "n01484850 great white shark\nn01440764 tench, Tinca tinca\nn01443537 goldfish\n",
        "0: tench, Tinca tinca\n1: goldfish\n2: great white shark",
        "1 tench, Tinca tinca\n2\tgoldfish\n3. great white shark",
        "2,great white shark\n0,tench, Tinca tinca\n1,goldfish",
        "tench, Tinca tinca 0\ngoldfish 1\ngreat white shark 2",
        "  tench, Tinca tinca \n\tgoldfish\ngreat white shark  ",
        "- tench, Tinca tinca\n- goldfish\n- 'great white shark'",
        '0,"tench, Tinca tinca"\n1,goldfish\n2,great white shark',
        '"tench, Tinca tinca",\n"goldfish",\n"great white shark"',
        "n01440764 1 tench, Tinca tinca\nn01443537 2 goldfish\nn01484850 3 great white shark",
        "2 n01484850 great white shark\n0 n01440764 tench, Tinca tinca\n1 n01443537 goldfish",
        json.dumps([[2, NAMES[2]], [0, NAMES[0]], [1, NAMES[1]]]),
        json.dumps(NAMES),
        json.dumps(dict(enumerate(NAMES)), indent=2),
        json.dumps({index: [f"n{index:08d}", name] for index, name in enumerate(NAMES)}),
        json.dumps([["n01440764", NAMES[0]], ["n01443537", NAMES[1]], ["n01484850", NAMES[2]]]),
        json.dumps({name: index for index, name in reversed(list(enumerate(NAMES)))}),
        json.dumps({"n01484850": NAMES[2], "n01440764": NAMES[0], "n01443537": NAMES[1]}),
        json.dumps({"architectures": ["ViT"], "id2label": dict(enumerate(NAMES))}),
        "{0: 'tench, Tinca tinca',\n 1: 'goldfish',\n 2: 'great white shark'}",
        str(list(NAMES)),
    ],
)
def test_class_names_in_every_form(tmp_path, text):
    (tmp_path / "names").write_text(text, encoding="utf-8", newline="")
    assert read_class_names(tmp_path / "names", 3) == NAMES


@pytest.mark.parametrize(
    "names", [["0", "1", "2"], ["class 0", "class 1", "class 2"], ["2 cv", "4 l", "911 s"], ["a", "", "b"]]
)
def test_numbers_that_are_part_of_the_names_are_kept(tmp_path, names):
    (tmp_path / "names").write_text("\n".join(names))
    assert read_class_names(tmp_path / "names", 3) == tuple(names)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cat\ndog\n", "holds 2 class names; 3 are needed, one per line or class index"),
        ("", "holds 0 class names; 3 are needed"),
        (
            "[",
            r"is neither JSON nor a Python literal \(SyntaxError\); a list of names, or a dictionary of names by class",
        ),
        ("{" * 3000, "is neither JSON nor a Python literal"),
        ("[__import__('os').getcwd()]", r"neither JSON nor a Python literal \(ValueError\)"),
        ("[1, 2, 3]", "holds no names by class index; a list of names"),
        ("{}", "holds no names by class index"),
        ('{"0": "a", "1": "b", "3": "c"}', "holds no names by class index"),
        ('{"0": "a", "00": "b", "2": "c"}', "holds no names by class index"),
        ('{"cat": "a", "dog": "b", "elk": "c"}', "holds no names by class index"),
        ('{"0": ["a", 1], "1": "b", "2": "c"}', "holds no names by class index"),
        ('[["a", null], "b", "c"]', "holds no names by class index"),
        ("n01440764 3 a\nn01443537 2 b\nn01484850 1 c", "numbers its classes in another order than"),
    ],
)
def test_files_without_class_names_refused(tmp_path, text, sentence):
    (tmp_path / "names").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_class_names(tmp_path / "names", 3)


def test_numbers_are_told_from_names_that_occur_twice(tmp_path):
    (tmp_path / "names").write_text("0: crane\n1: crane\n2: dog")
    assert read_class_names(tmp_path / "names", 3) == ("crane", "crane", "dog")


def test_missing_files_and_other_bytes_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file of class names"):
        read_class_names(tmp_path / "none", 3)
    (tmp_path / "names").write_bytes("café".encode("latin-1"))
    with pytest.raises(ValueError, match=r"is no text in UTF-8 \(.*\); save it as such, one class name per line"):
        read_class_names(tmp_path / "names", 1)
