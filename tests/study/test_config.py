"""Configurations of studies: what a file may say, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perceptlib import judges
from perceptlib.study.config import JUDGES, STUDIES, StudyConfig, config_from, read_config


@pytest.mark.parametrize("name", STUDIES)
def test_studies_survive_json(name: str) -> None:
    config = STUDIES[name]
    assert config.preset == name
    assert config_from(json.loads(json.dumps(config.as_dict()))) == config


def test_judges_of_a_study_are_all_that_there_are() -> None:
    assert tuple(judges.JUDGES) == JUDGES


def test_read_config_fills_in_the_study_of_its_preset(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('preset = "imagenet"\nbudgets = [1e-5, 1]\n'.replace("1]", "0.5]") + "[limits]\ndeepfool = 3\n")
    config = read_config(path)
    assert config.budgets == (1e-5, 0.5)
    assert config.limits == {"deepfool": 3}
    assert config.batch_size == STUDIES["imagenet"].batch_size
    same = tmp_path / "own.json"
    same.write_text(json.dumps(config.as_dict()))
    assert read_config(same) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attacks": ("pgd",)}, r"attacks\[0\] is 'pgd'; fgsm, linf, .* are allowed"),
        ({"searches": ("alma",)}, r"searches\[0\] is 'alma'"),
        ({"maps": ("saliency",)}, r"maps\[0\] is 'saliency'"),
        ({"cams": ("camm",)}, r"cams\[0\] is 'camm'"),
        ({"regions": ("left",)}, r"regions\[0\] is 'left'"),
        ({"preset": "cifar"}, "preset is 'cifar'; shapes, digits, photos, imagenet are allowed"),
        ({"num_images": 0}, "num_images is 0; 1 to 1000000000"),
        ({"batch_size": -1}, "batch_size is -1; 0 to 1000000000"),
        ({"seed": -1}, "seed is -1; 0 to 1000000000"),
        ({"budgets": (0.1, 1.0)}, r"budgets\[1\] is 1.0; an SSIM distance between 0 and 1, such as 0.001, is allowed"),
        ({"budgets": (float("nan"),)}, r"budgets\[0\] is nan"),
        ({"map_budget": 0.0}, "map_budget is 0.0; an SSIM distance between 0 and 1"),
        ({"region_share": 1.0}, "region_share is 1.0"),
        ({"cascade": (-2,)}, r"cascade\[0\] is -2; -1 to 1000000000 is allowed"),
        ({"attacks": ("ssim", "l2", "ssim")}, "attacks name 'ssim' 2 times; name each once"),
        ({"budgets": (0.01, 0.01, 1e-2)}, "budgets name 0.01 3 times; name each once"),
        ({"cascade": (0, 1, 1)}, "cascade name 1 2 times; name each once"),
        ({"judges": ("lpips",)}, r"judges\[0\] is 'lpips'; ciede2000, .* are allowed"),
        ({"judge_losses": (0.1, 0.0)}, r"judge_losses\[1\] is 0.0; a number above 0 is allowed"),
        ({"curves": ("another",)}, r"curves\[0\] is 'another'; linf, .*, cam, noise_map are allowed"),
        ({"curve_steps": 0}, "curve_steps is 0; 1 to 1000000000 is allowed"),
        ({"limits": {"pgd": 3}}, "limits name 'pgd'"),
        ({"limits": {"deepfool": -1}}, "limits.deepfool is -1; 0 to 1000000000"),
    ],
)
def test_config_refuses(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StudyConfig(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = 'a'", "seed is 'a'; a whole number is needed"),
        ("seed = true", "seed is True; a whole number is needed"),
        ("map_budget = 'x'", "map_budget is 'x'; a number is needed"),
        ("weights = 3", "weights is 3; a text is needed"),
        ("budgets = 0.1", "budgets is 0.1; a list is needed"),
        ("budgets = ['a']", r"budgets\[0\] is 'a'; a number is needed"),
        ("limits = 3", "limits is 3; a table of whole numbers is needed"),
        ("limits = {deepfool = 1.5}", "limits.deepfool is 1.5; a whole number is needed"),
        ("colour = 3", "there is no field 'colour'; attacks, batch_size"),
        ("architecture = 'resnet50'", 'no field \'architecture\' any more; write network = "resnet50"'),
        ("network = 1", 'network is 1; networks have names: write network = "shapes-1"'),
        ("preset = 'mnist'", "preset is 'mnist'; shapes, digits, photos, imagenet"),
        ("steps = 0", "own.toml: steps is 0; 1 to 1000000000"),
        ("steps = ", "own.toml is no toml file"),
        ("map_budget = 0x" + "f" * 5000, "own.toml: map_budget is a number of thousands of digits; a number is needed"),
        (f"{'a.' * 10_000}b = 1", r"own\.toml has 20005 bytes; a configuration of at most 16384 is read"),
    ],
)
def test_read_config_refuses(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(path)


def test_read_config_refuses_what_is_no_table_and_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("[1]")
    with pytest.raises(ValueError, match="holds a list; a table of fields is needed"):
        read_config(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is no json file"):
        read_config(path)
    with pytest.raises(FileNotFoundError, match=r"there is no configuration .*none\.toml"):
        read_config(tmp_path / "none.toml")
