"""Names of people, methods and software are written as they write themselves: in prose, docstrings and captions."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]

# Right spelling -> pattern of the wrong ones. Case counts; a pattern never matches the right spelling.
WRONG = {
    # measures and maps
    "SSIM": r"\b(?:Ssim|S-SIM|SSim)\b",
    "CAM": r"\b(?:Cam|C\.A\.M)\b(?!-)",
    "Grad-CAM": r"\b(?:GradCAM|Grad-Cam|GradCam|Grad CAM|GRAD-CAM|Gradcam|grad-CAM)\b",
    "Score-CAM": r"\b(?:ScoreCAM|Score-Cam|ScoreCam|Score CAM|score-CAM)\b",
    "Eigen-CAM": r"\b(?:EigenCAM|Eigen-Cam|EigenCam|Eigen CAM|eigen-CAM)\b",
    "LPIPS": r"\b(?:Lpips|LPiPS)\b",
    # attacks
    "DeepFool": r"\b(?:Deepfool|Deep Fool|DeepFOOL|Deep-Fool|deepFool)\b",
    "Carlini and Wagner, Carlini-Wagner": r"\b(?:Carlini & Wagner|Carlini/Wagner|Carlini Wagner)\b",
    "PGD": r"\b(?:Pgd|P\.G\.D)\b",
    "FGSM": r"\b(?:Fgsm|FSGM)\b",
    # networks and data
    "MobileNetV2": r"\b(?:MobilenetV2|Mobilenet|MobileNet V2|MobileNet-V2|MobileNetv2|Mobile Net|MobileNet2)\b",
    "ResNet": r"\b(?:Resnet|Res-Net|RESNET|ResNET)(?=\d|\b)",
    "ImageNet": r"\b(?:Imagenet|Image Net|Image-Net|IMAGENET|imageNet)\b",
    "NIPS": r"\b(?:Nips|N\.I\.P\.S)\b",
    # software
    "PyTorch": r"\b(?:Pytorch|pyTorch|PyTorCH|Py-Torch)\b",
    "torchvision": r"\b(?:TorchVision|Torchvision|torch-vision|torch vision)\b",
    "NumPy": r"\b(?:Numpy|NUMPY|numPy)\b",
    "SciPy": r"\b(?:Scipy|SCIPY)\b",
    "scikit-image": r"\b(?:Scikit-image|Scikit-Image|scikit image|SciKit-Image|scikitimage|sk-image)\b",
    "scikit-learn": r"\b(?:Scikit-learn|Scikit-Learn|scikit learn|SciKit-Learn|sklearn's|sk-learn)\b",
    "Clarabel": r"\b(?:clarabell|Clarabell|ClaraBel|CLARABEL)\b",
    "CVXPY, cvxpy": r"\b(?:Cvxpy|CvxPy|CVXpy|CVXPy)\b",
    "foolbox": r"\b(?:FoolBox|fool-box|Fool Box)\b",
    "papermill": r"\b(?:Paper Mill|PaperMill|paper-mill)\b",
    "Jupyter Book, jupyter-book": r"\b(?:Jupyter-Book|Jupyter book|JupyterBook|Jupyterbook|jupyterbook)\b(?!\.)",
    "JupyterLab": r"\b(?:Jupyter Lab|Jupyter-Lab|Jupyterlab)\b",
    "Jupyter": r"\b(?:Jupiter|Juypter|Jupyer)\b",
    "MathJax": r"\b(?:Mathjax|Math Jax|MathJAX)\b",
    "Matplotlib, matplotlib": r"\b(?:MatPlotLib|MatplotLib|mat-plotlib)\b",
    "Playwright": r"\b(?:PlayWright|Playwrite|Play Wright)\b",
    "GitHub": r"\b(?:Github|GITHUB|Git Hub|gitHub)\b",
    "NeuroLibre": r"\b(?:Neurolibre|Neuro Libre|NeuroLIBRE)\b",
    "JavaScript": r"\b(?:Javascript|Java Script|JAVASCRIPT)\b",
    "Parquet": r"\b(?:parquett?e|Parket)\b",
    "Python": r"\b(?:Phyton|Pyhton)\b",
    "Slurm": r"\b(?:SLURM|SLurm)\b",
    "Kubernetes": r"\b(?:Kubernets|kubernetes(?= cluster))\b",
    "perceptlib": r"\b(?:Perceptlib|PerceptLib|percept-lib|perceptLib)\b",
}

FOLDERS = ("book", "notebooks", "perceptlib", "tests", ".github")
# Letters of an author's name below which another word may well be almost the same.
SHORT = 6
# Of two words; 1 where they are equal. A letter more, less or another in a name of six letters leaves at least 0.83.
ALMOST = 0.83


def texts() -> Iterator[tuple[str, str]]:
    """Yield names and contents of all prose: pages, notebooks, bibliography, docstrings and comments."""
    named = [ROOT / name for name in ("README.md", "CITATION.cff", "Makefile", "_config.yml")]
    folders = [path for name in FOLDERS for path in sorted((ROOT / name).rglob("*"))]
    for path in [*named, *folders]:
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in (".md", ".bib", ".cff", ".yml", ".txt", ".sh") or name == "Makefile":
            yield name, path.read_text(encoding="utf-8")
        elif path.suffix == ".ipynb":
            for cell in nbformat.read(path, as_version=4).cells:
                described = cell.metadata.get("mystnb", {})
                words = [described.get("figure", {}).get("caption", ""), described.get("image", {}).get("alt", "")]
                is_prose = cell.cell_type == "markdown"
                yield f"{name}, cell {cell.id}", "\n".join([cell.source if is_prose else comments(cell.source), *words])
        elif path.suffix == ".py" and path.name != Path(__file__).name:
            source = path.read_text(encoding="utf-8")
            yield name, "\n".join([comments(source), *docstrings(source)])


def docstrings(source: str) -> Iterator[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds):
            yield ast.get_docstring(node) or ""


def comments(source: str) -> str:
    plain = re.sub(r"^(\s*)[!%].*", r"\1pass", source, flags=re.MULTILINE)
    tokens = tokenize.generate_tokens(StringIO(plain).readline)
    return "\n".join(token.string for token in tokens if token.type == tokenize.COMMENT)


def prose(text: str) -> str:
    """Return a text without what is code or an address: names there are those of modules and files."""
    text = re.sub(r"```.*?```|``.*?``|`[^`\n]*`|\{cite[^}]*\}`[^`]*`", " ", text, flags=re.DOTALL)
    return re.sub(r"https?://\S+", " ", text)


@pytest.fixture(scope="module")
def written() -> list[tuple[str, str]]:
    return [(name, prose(text)) for name, text in texts()]


@pytest.mark.parametrize("right", WRONG)
def test_name_is_written_right(right: str, written: list[tuple[str, str]]) -> None:
    pattern = re.compile(WRONG[right])
    found = [f"{name}: {text[max(0, match.start() - 30) : match.end() + 20]!r}"
             for name, text in written for match in pattern.finditer(text)]  # fmt: skip
    assert found == [], f"write {right}"


def test_no_pattern_refuses_the_right_spelling() -> None:
    for right, pattern in WRONG.items():
        assert not re.search(pattern, right), right


def test_patterns_find_what_is_wrong() -> None:
    wrong = "Pytorch, Imagenet, Scikit-image, GradCAM, Deepfool, Mobilenet, Github, Jupyter-Book"
    assert sum(bool(re.search(pattern, wrong)) for pattern in WRONG.values()) == 8


def family_names() -> set[str]:
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    fields = re.findall(r"^\s*(?:author|editor)\s*=\s*\{(.*)\},?$", bibliography, re.MULTILINE)
    people = [person for field in fields for person in re.sub(r"[{}]", "", field).split(" and ")]
    return {word for person in people for word in re.findall(r"\w+", person.split(",")[0]) if len(word) >= SHORT}


def test_authors_are_written_as_in_the_bibliography(written: list[tuple[str, str]]) -> None:
    names = family_names()
    assert {"Siripuram", "Channappayya"} <= names
    words = {(word, name) for name, text in written for word in re.findall(r"\b[A-Z][^\W\d_]{4,}\b", text)}
    others = {word for word, _ in words} - names
    wrong = {word: close[0] for word in sorted(others) if (close := get_close_matches(word, names, 1, ALMOST))}
    assert {(word, wrong[word], name) for word, name in words if word in wrong} == set()
