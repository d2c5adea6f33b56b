"""The command line as a user meets it: odd pictures, mistakes, interruption, and the true program once each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image
from typer.testing import CliRunner

import perceptlib
from perceptlib.cli.main import app
from perceptlib.cli.picture import OUTPUTS
from perceptlib.records import claimed, data_dir
from perceptlib.training.robustness import Threat

PACKAGE_ROOT = os.path.dirname(os.path.dirname(perceptlib.__file__))
QUICK = ("--network", "shapes-0", "--budget", 0.01, "--steps", 1)
PARAMETERS = 'preset = "shapes"  # input\nbudget = 0.01  # SSIM distance\nballs = ["ssim"]  # compared\nout = "."'


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="perceptlib")


def program(*words, **options):
    """The true program, as a process that finds the package also where it is not installed."""
    environment = os.environ | {"PYTHONPATH": PACKAGE_ROOT, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "perceptlib", *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True, **options)


def draw(mode, size=(90, 70)):
    """A smooth drawing in any mode of PIL."""
    columns, rows = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    waves = np.stack([columns, rows, 0.5 + 0.5 * np.sin(9 * columns * rows)], axis=-1)
    if mode == "I;16":
        return Image.fromarray((65535 * waves[..., 2]).astype(np.uint16))
    picture = Image.fromarray((255 * waves).astype(np.uint8))
    if mode == "LA":
        picture.putalpha(Image.fromarray((255 * columns).astype(np.uint8)))
    return picture.convert(mode)


def write_notebook(path, *cells):
    codes = [new_code_cell(source) for source in cells]
    codes[0].metadata["tags"] = ["parameters"]
    nbformat.write(new_notebook(cells=codes), path)
    return path


@pytest.mark.parametrize("words", [["--help"], ["attack", "--help"], ["run", "-h"], ["train", "--help"], []])
def test_help_is_a_manual_with_examples(words):
    done = invoke(*words)
    assert done.exit_code == (0 if words else 2)
    assert "Examples:\n    perceptlib " in done.output
    assert max(map(len, done.output.splitlines())) <= 100


def test_version_and_help_load_nothing_heavy():
    code = (
        "import sys; sys.argv = ['perceptlib', '--help']\n"
        "try:\n    from perceptlib.cli.main import main; main()\n"
        "except SystemExit:\n    heavy = {'torch', 'matplotlib', 'papermill', 'nbformat', 'numpy'} & set(sys.modules)\n"
        "    sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE_ROOT, stdout=subprocess.DEVNULL, stderr=-1, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert invoke("--version").output == f"perceptlib {perceptlib.__version__}\n"


@pytest.mark.parametrize(
    ("name", "mode", "size"),
    [
        ("grey-alpha.png", "LA", (90, 70)),
        ("deep.png", "I;16", (90, 70)),
        ("print.jpg", "CMYK", (90, 70)),
        ("strip.png", "RGB", (300, 3)),
        ("large.jpg", "RGB", (2000, 1500)),
    ],
)
def test_attack_takes_pictures_of_any_mode_and_size(tmp_path, name, mode, size):
    draw(mode, size).save(tmp_path / name)
    out = tmp_path / "out"
    done = invoke("attack", tmp_path / name, *QUICK, "--out", out)
    assert (done.exit_code, done.stderr) == (0, "")
    assert sorted(path.name for path in out.glob("[!.]*")) == sorted(OUTPUTS)
    assert Image.open(out / "adversarial.png").size == (64, 64)
    record = json.loads((out / "result.json").read_text())
    assert record["image"] == name
    assert record["network"] == record["provenance"]["weights"]["name"] == "shapes-0"
    assert done.stdout.startswith("network: shapes-0, weights mobilenet_v2_shapes_seed0.safetensors (perceptlib train")
    assert f"SSIM distance {record['saved_8bit']['distance']:.3g}" in done.stdout


def test_attack_honours_exif_rotation(tmp_path):
    picture = draw("RGB", (128, 64))
    turned = picture.transpose(Image.Transpose.ROTATE_90)  # stored lying, to be shown after a turn to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    picture.save(tmp_path / "upright.png")
    heads = []
    for name in ("turned.png", "upright.png"):
        done = invoke("attack", tmp_path / name, *QUICK, "--out", tmp_path / name[:-4])
        assert done.exit_code == 0
        heads.append((tmp_path / name[:-4] / "adversarial.png").read_bytes())
    assert heads[0] == heads[1]


def test_attack_takes_first_frame_of_animation_and_says_so(tmp_path):
    draw("RGB").save(tmp_path / "a.gif", save_all=True, append_images=[draw("L"), draw("RGB")])
    out = tmp_path / "out"
    done = invoke("attack", tmp_path / "a.gif", *QUICK, "--out", out)
    assert done.exit_code == 0
    assert done.stderr == f"perceptlib: {tmp_path / 'a.gif'} holds 3 frames; the first is used\n"


@pytest.fixture
def picture(tmp_path):
    draw("RGB").save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--label", "cat"], "the network knows no class 'cat'; among its names are: "),
        (["--target", "99"], "class 99 is outside 0 to 7"),
        (["--budget", "2"], "--budget 2.0 is not between 0 and 1"),
        (["--ball", "l2", "--budget", "0.1", "--epsilon", "1"], "both say how far to go; pass one of them"),
        (["--epsilon", "0.1"], "--epsilon is the radius of a norm ball"),
        (["--ball", "l2", "--epsilon", "wide"], "--epsilon 'wide' is not a number"),
        (["--weights", "nowhere.pt"], "no weights file nowhere.pt; pass a path or `torchvision`, and --network NAME"),
        (["--network", "shapes-99"], "there is no network 'shapes-99'; pass a name such as"),
        (["--labels", "nowhere.txt"], "nowhere.txt"),
        (["--device", "gpu"], "device is 'gpu'; cpu, cuda, cuda:NUMBER and mps are allowed"),
        (["--device", "cuda:99"], "device is 'cuda:99', but torch finds"),
    ],
)
def test_attack_refuses_bad_options_in_one_sentence(picture, tmp_path, words, sentence):
    done = invoke("attack", picture, "--network", "shapes-0", "--out", tmp_path / "out", *words)
    assert done.exit_code == 2
    assert done.stderr.startswith("perceptlib: ")
    assert sentence in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["--ball", "l3"], ["--steps", "0"], ["--budget", "much"], ["--bugdet", "1"]])
def test_attack_refuses_bad_words_with_usage(picture, words):
    done = invoke("attack", picture, *words)
    assert done.exit_code == 2
    assert "Usage: perceptlib attack" in done.stderr
    assert words[0] in done.stderr


@pytest.mark.parametrize("content", [None, b"", b"no picture", "truncated"])
def test_attack_refuses_what_is_no_picture(tmp_path, content):
    path = tmp_path / "bad.png"
    if content == "truncated":
        draw("RGB").save(path)
        path.write_bytes(path.read_bytes()[:-300])
    elif content is not None:
        path.write_bytes(content)
    done = invoke("attack", path, "--network", "shapes-0", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "bad.png" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_attack_overwrites_only_when_told(picture, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    words = ("attack", picture, *QUICK, "--out", out)
    assert invoke(*words).exit_code == 0
    again = invoke(*words)
    assert again.exit_code == 2
    assert "pass --overwrite or another --out" in again.stderr
    assert invoke(*words, "--overwrite").exit_code == 0
    assert (out / "notes.txt").read_text() == "mine"


def test_unexpected_error_is_a_sentence_and_debug_shows_it(picture, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise KeyError("inside")

    monkeypatch.setattr("perceptlib.cli.picture.load_classifier", broken)
    done = invoke("attack", picture, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert done.stderr == "perceptlib: KeyError: 'inside' (not expected; PERCEPTLIB_DEBUG=1 shows where)\n"
    monkeypatch.setenv("PERCEPTLIB_DEBUG", "1")
    assert isinstance(invoke("attack", picture, "--out", tmp_path / "out").exception, KeyError)


@pytest.mark.slow
def test_program_attacks_into_folder_named_after_the_picture(picture, tmp_path):
    process = program("attack", picture, "--network", "shapes-0", "--ball", "linf", "--epsilon", "8/255", cwd=tmp_path)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert "adversarial.png: " in output
    assert output.endswith("results in picture-attack\n")
    record = json.loads((tmp_path / "picture-attack" / "result.json").read_text())
    assert record["float"]["linf"] <= 8 / 255 * (1 + 1e-5)


@pytest.mark.slow
def test_run_executes_with_parameters(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PACKAGE_ROOT)
    cell = (
        "from perceptlib.runs.notebook import write_numbers\n"
        "write_numbers(out, {'b': budget, 'n': len(balls)}, preset=preset, seed=0)"
    )
    path = write_notebook(tmp_path / "05_smallest.ipynb", PARAMETERS, cell)
    words = ["-p", "budget", "1e-3", "--parameter", "balls", "['l2', 'linf']", "-p", "preset=a=b"]
    done = invoke("run", path, *words, "--out", tmp_path / "out")
    assert (done.exit_code, done.stderr) == (0, "")
    names = ["05_smallest.ipynb", "05_smallest.html", "numbers.json"]
    assert done.stdout.split() == [str(tmp_path / "out" / name) for name in names]
    numbers = json.loads((tmp_path / "out" / "numbers.json").read_text())
    assert numbers["numbers"] == {"b": 1e-3, "n": 2}
    assert numbers["provenance"]["preset"] == "a=b"


def test_run_lists_parameters(tmp_path):
    done = invoke("run", write_notebook(tmp_path / "a.ipynb", PARAMETERS), "--list")
    assert done.exit_code == 0
    assert "\n  budget = 0.01      # SSIM distance\n" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-p", "budgte", "1"], "a has no parameter `budgte`; did you mean `budget`?"),
        (["-p", "budget", "-much"], "parameter `budget` of a is '-much'; a value of type float is needed"),
        (["-p", "budget"], "-p budget has no value; write -p budget VALUE"),
        (["-p", "out", "x"], "parameter `out` is the output folder; set it with --out DIR"),
        (["--device", "gpu"], "device is 'gpu'; cpu, cuda, cuda:NUMBER and mps are allowed"),
    ],
)
def test_run_refuses_bad_parameters_and_lists_them(tmp_path, words, sentence):
    done = invoke("run", write_notebook(tmp_path / "a.ipynb", PARAMETERS), "--out", tmp_path / "out", *words)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"perceptlib: {sentence}")
    assert ("budget = 0.01      # SSIM distance" in done.stderr) == (" of a " in sentence or "a has" in sentence)
    assert not (tmp_path / "out").exists()


def test_run_unknown_notebook_names_the_study_s():
    done = invoke("run", "99_nothing")
    assert done.exit_code == 2
    assert "no notebook 99_nothing; pass the path of an .ipynb file, or one of the study's: " in done.stderr


def test_run_failing_cell_is_a_failure(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", "x = 1", "raise ValueError('too bad')")
    done = invoke("run", path, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "raised ValueError: too bad; the half-run copy is" in done.stderr
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["a.failed.ipynb"]


@pytest.mark.slow
def test_run_interrupted_ends_its_kernel_and_leaves_nothing(tmp_path):
    cell = "import os, pathlib, time\npathlib.Path('kernel').write_text(str(os.getpid()))\ntime.sleep(300)"
    path = write_notebook(tmp_path / "a.ipynb", "x = 1", cell)
    # where the tests run in the background, a shell has told them, and so their children, to ignore Ctrl-C
    heed_interrupts = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = program("run", path, "--out", "out", cwd=tmp_path, preexec_fn=heed_interrupts)
    started = time.monotonic()
    while not (tmp_path / "kernel").exists() and time.monotonic() - started < 60:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "perceptlib: interrupted; files under their final names are whole\n"
    assert not list((tmp_path / "out").glob("[!.]*"))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "kernel").read_text()), 0)


def test_train_prints_the_table(tmp_path, monkeypatch):
    def quick(data, *, seed, out, threat, progress):
        assert (data, seed, out, threat, progress) == ("shapes", 3, tmp_path / "w.safetensors", None, True)
        scores = {"accuracy": 0.99, "mask_energy": 0.4, "mask_over_chance": 3.25, "hull_pointing": 1.0, "more": 0}
        textures = {"object_texture": ["smooth", "all"], "background_texture": ["textured", "all"]}
        return pd.DataFrame(textures | scores)

    monkeypatch.setattr("perceptlib.training.small.train_and_save", quick)
    done = invoke("train", "--seed", 3, "--out", tmp_path / "w.safetensors")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["object_texture", "background_texture", "accuracy", "mask_energy", "mask_over_chance", "hull_pointing"],
        ["smooth", "textured", "0.990", "0.400", "3.250", "1.000"],
        ["all", "all", "0.990", "0.400", "3.250", "1.000"],
        ["weights", "in", str(tmp_path / "w.safetensors")],
    ]


@pytest.mark.parametrize(
    ("words", "threat", "name"),
    [
        (("--data", "digits"), None, "small_digits_seed0.safetensors"),
        (("--robust", "l2", "--seed", 2), Threat("l2", 1.0), "mobilenet_v2_shapes_l2_seed2.safetensors"),
        (
            ("--data", "digits", "--robust", "linf", "--radius", 0.1),
            Threat("linf", 0.1),
            "small_digits_linf_seed0.safetensors",
        ),
    ],
)
def test_train_takes_data_and_threat(words, threat, name, tmp_path, monkeypatch):
    asked = []

    def quick(data, **options):
        asked.append(options | {"data": data})
        row = {"num_images": 597, "accuracy": 0.99}
        more = {"robust_accuracy": 0.9, "standard_accuracy": 1.0, "standard_robust_accuracy": 0.25}
        return pd.DataFrame([row | (more if threat else {})])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("perceptlib.training.small.train_and_save", quick)
    done = invoke("train", *words)
    assert (done.exit_code, done.stderr) == (0, "")
    data = "digits" if "digits" in words else "shapes"
    assert [(asked[0]["data"], asked[0]["threat"], asked[0]["out"])] == [(data, threat, Path(name))]
    columns, values, written = (line.split() for line in done.stdout.splitlines())
    assert written == ["weights", "in", name]
    if threat:
        assert columns == ["accuracy", "robust_accuracy", "standard_accuracy", "standard_robust_accuracy"]
        assert values == ["0.990", "0.900", "1.000", "0.250"]
    else:
        assert (columns, values) == (["accuracy"], ["0.990"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--data", "photos"), "there is no network to train for 'photos'; shapes and digits are"),
        (("--radius", 1), "--radius is of --robust alone; add --robust l2 or --robust linf, or leave it out"),
        (("--robust", "l1"), "there is no robust training against 'l1'; l2 and linf are allowed"),
        (("--robust", "l2", "--radius", 0), "radius 0.0 is not a finite number above 0"),
        (("--robust", "linf", "--radius", 8), "radius 8.0 is above 1, the range of a pixel; write 0.0314"),
    ],
)
def test_train_refuses_what_it_cannot_do(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke("train", *words)
    assert done.exit_code == 2 and sentence in done.stderr
    assert not list(tmp_path.iterdir())


def test_attack_with_weights_of_own_training_is_for_shapes(picture, tmp_path):
    weights = data_dir() / "shapes" / "mobilenet_v2_shapes_seed1.safetensors"
    (tmp_path / "mine.safetensors").write_bytes(weights.read_bytes())
    done = invoke("attack", picture, "--weights", tmp_path / "mine.safetensors", "--out", tmp_path / "out")
    assert (done.exit_code, done.stderr) == (0, "")
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["network"] == record["provenance"]["weights"]["name"] == "shapes"
    assert record["input_size"] == 64


def test_train_refuses_folders_and_what_would_be_lost(tmp_path):
    (tmp_path / "w.safetensors").touch()
    for words, sentence in (
        ((tmp_path, "--overwrite"), "is a folder; name a file in it"),
        ((tmp_path / "w.safetensors",), "w.safetensors exists; pass --overwrite or another --out"),
    ):
        done = invoke("train", "--out", *words)
        assert done.exit_code == 2 and sentence in done.stderr


def test_second_command_into_one_folder_is_refused(picture, tmp_path):
    notebook = write_notebook(tmp_path / "a.ipynb", PARAMETERS)
    commands = {
        "attack": ["attack", picture, "--network", "shapes-0"],
        "run": ["run", notebook],
        "sweep": ["sweep", notebook, "-p", "budget", "0.1"],
        "study": ["study", "--num-images", 1],
    }
    for name, words in commands.items():
        with claimed(tmp_path / name):
            done = invoke(*words, "--out", tmp_path / name)
        assert done.exit_code == 1
        assert f"another run is writing into {tmp_path / name}; wait for it, or name another folder" in done.stderr
    with claimed(tmp_path, "w.safetensors"):
        done = invoke("train", "--out", tmp_path / "w.safetensors")
    assert done.exit_code == 1
    assert f"another run is writing {tmp_path / 'w.safetensors'}; wait for it, or name another file" in done.stderr
