"""What a scenario can name: algorithms, models, datasets, partitions, policies of selection,
distributions.

The one visible place where the built-in ones are listed. A package of a third party adds its
own through an entry point (group "sflsim.models", name = kind), a notebook or a test through
`register_model(...)`. All are looked up when a scenario is read, so the order of imports
decides nothing. What a scenario merely names is not run: entry points are loaded, and a scenario's
own Python is imported, only for a scenario that was read with trust; it carries its `Trust`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from typing import Any, TypeVar, get_args

from pydantic import BaseModel

from sflsim.errors import SflsimError
from sflsim.trust import trusted

Component = TypeVar("Component", bound=type[Any])

BUILT_IN = {
    "algorithms": (
        "sflsim.algorithms.fedavg:FedAvg",
        "sflsim.algorithms.fedlora:FedLora",
        "sflsim.algorithms.fedasync:FedAsync",
        "sflsim.algorithms.fedbuff:FedBuff",
        "sflsim.algorithms.sl:SL",
        "sflsim.algorithms.splitfed_v1:SplitFedV1",
        "sflsim.algorithms.splitfed_v2:SplitFedV2",
        "sflsim.algorithms.psl:Psl",
        "sflsim.algorithms.mu_splitfed:MuSplitFed",
        "sflsim.algorithms.zo_splitfed:ZoSplitFed",
        "sflsim.algorithms.gas:Gas",
        "sflsim.algorithms.zo_gas:ZoGas",
        "sflsim.algorithms.ho_sfl:HoSfl",
        "sflsim.algorithms.cse_fsl:CseFsl",
        "sflsim.algorithms.fsl_sage:FslSage",
        "sflsim.algorithms.heron_sfl:HeronSfl",
        "sflsim.algorithms.frozen_client:FrozenClient",
    ),
    "models": (
        "sflsim.learning.models.mlp:MLP",
        "sflsim.learning.models.cnn:CNN",
        "sflsim.learning.models.alexnet:AlexNet",
        "sflsim.learning.models.resnet:ResNet18",
        "sflsim.learning.models.resnet:ResNet34",
        "sflsim.learning.models.transformer:Transformer",
        "sflsim.learning.models.torch_module:TorchModule",
    ),
    "datasets": (
        "sflsim.learning.data.digits:Digits",
        "sflsim.learning.data.named_images:Mnist",
        "sflsim.learning.data.named_images:FashionMnist",
        "sflsim.learning.data.named_images:Cifar10",
        "sflsim.learning.data.named_images:Cifar100",
        "sflsim.learning.data.named_images:Cinic10",
        "sflsim.learning.data.text:Sst2",
        "sflsim.learning.data.huggingface:HuggingFace",
    ),
    "partitions": (
        "sflsim.learning.data.partition:IID",
        "sflsim.learning.data.partition:Dirichlet",
        "sflsim.learning.data.flower:BalancedDirichlet",
        "sflsim.learning.data.flower:InnerDirichlet",
        "sflsim.learning.data.flower:Shards",
        "sflsim.learning.data.flower:Pathological",
        "sflsim.learning.data.flower:NaturalId",
        "sflsim.learning.data.flower:Sizes",
        "sflsim.learning.data.flower:Linear",
        "sflsim.learning.data.flower:Square",
        "sflsim.learning.data.flower:Exponential",
    ),
    "selections": (
        "sflsim.fleet.selection.uniform:Uniform",
        "sflsim.fleet.selection.by_samples:BySamples",
        "sflsim.fleet.selection.fedcs:FedCS",
        "sflsim.fleet.selection.tifl:TiFL",
        "sflsim.fleet.selection.power_of_choice:PowerOfChoice",
        "sflsim.fleet.selection.oort:Oort",
    ),
    "codecs": (
        "sflsim.learning.codecs.cast:Fp16",
        "sflsim.learning.codecs.cast:Bf16",
        "sflsim.learning.codecs.quantize:Quantize",
        "sflsim.learning.codecs.top_k:TopK",
    ),
    "distributions": tuple(
        f"sflsim.fleet.distributions.bounded:{name}"
        for name in (
            "Constant",
            "Uniform",
            "Exponential",
            "ShiftedExponential",
            "Lognormal",
            "Pareto",
            "Weibull",
            "Gamma",
            "Empirical",
            "Quantiles",
        )
    ),
}
"""The components of the package, named as entry points name those of others: "module:class"."""

_registered: dict[str, list[type[Any]]] = {}  # group -> classes, in order; filled by register_* alone


def offered() -> dict[str, EntryPoint]:
    """Return the components that installed packages offer, by name; none is loaded."""
    return {point.name: point for group in BUILT_IN for point in _points(group)}


def everything() -> tuple[type[Any], ...]:
    """Return every component that a scenario can name."""
    return tuple(component for group in BUILT_IN for component in _by_name(group).values())


def register_algorithm(algorithm: Component) -> Component:
    """Add an algorithm to this process and return it (so it also serves as a decorator)."""
    return _register("algorithms", algorithm)


def register_model(model: Component) -> Component:
    """Add a model to this process and return it."""
    return _register("models", model)


def register_dataset(dataset: Component) -> Component:
    """Add a dataset to this process and return it."""
    return _register("datasets", dataset)


def register_partition(partition: Component) -> Component:
    """Add a partition to this process and return it."""
    return _register("partitions", partition)


def register_selection(policy: Component) -> Component:
    """Add a policy of selection to this process and return it."""
    return _register("selections", policy)


def register_distribution(distribution: Component) -> Component:
    """Add a distribution to this process and return it."""
    return _register("distributions", distribution)


def register_codec(codec: Component) -> Component:
    """Add a codec to this process and return it."""
    return _register("codecs", codec)


@contextmanager
def forgetting() -> Iterator[None]:
    """Forget afterwards what is registered meanwhile, and what installed packages offer meanwhile."""
    before = {group: list(components) for group, components in _registered.items()}
    _forget_installed()
    try:
        yield
    finally:
        _registered.clear()
        _registered.update(before)
        _forget_installed()


def _forget_installed() -> None:
    _points.cache_clear()
    _installed.cache_clear()


def algorithm_of(config: BaseModel) -> type[Any]:
    """Return the algorithm whose Config this is; an installed one only where it is loaded."""
    return _made_from(config, "algorithms")


def selection_of(config: BaseModel) -> type[Any]:
    """Return the policy of selection whose Config this is; an installed one only where it is loaded."""
    return _made_from(config, "selections")


def _made_from(config: BaseModel, group: str) -> type[Any]:
    kind = type(config)
    return _loaded(group, lambda one: config_of(one) is kind, f"{kind.__qualname__} is the Config")


def algorithm_called(name: str) -> type[Any]:
    """Return the algorithm of this name; an installed one only where it is loaded."""
    return _loaded("algorithms", lambda one: name_of(one) == name, f"{name!r} is the name")


def _loaded(group: str, fits: Callable[[type[Any]], bool], what: str) -> type[Any]:
    points = _points(group)
    installed = (point.load() for point in points if point.value.partition(":")[0] in sys.modules)
    known = chain(_built_in(group), _registered.get(group, ()), installed)
    found: type[Any] | None = next((one for one in known if fits(one)), None)
    if found is None:
        raise SflsimError(f"{what} of none of the {group} that are registered or installed")
    return found


def config_of(component: type[Any]) -> type[BaseModel]:
    """Return the Config of a component: its nested one, or the class itself where it is one."""
    config = component if issubclass(component, BaseModel) else getattr(component, "Config", None)
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        raise SflsimError(f"{component.__qualname__} is no pydantic model and has no nested Config")
    return config


def name_of(component: type[Any]) -> str:
    """Return the word that names a component: the Literal of its field `algorithm` or `kind`."""
    fields = config_of(component).model_fields
    for tag in ("algorithm", "kind"):
        words = get_args(fields[tag].annotation) if tag in fields else ()
        if words and isinstance(words[0], str):
            return words[0]
    raise SflsimError(f"{component.__qualname__} needs a field `kind: Literal['its-name']` (or `algorithm`)")


def _by_name(group: str) -> dict[str, Any]:
    """Return built-in, registered and, if trusted, installed components; a name given twice is refused."""
    found: dict[str, Any] = {}
    installed = _installed(group) if trusted() else ()
    for component in (*_built_in(group), *installed, *_registered.get(group, ())):
        name = name_of(component)
        _refuse_old_names(component)
        if found.setdefault(name, component) is not component:
            raise SflsimError(
                f"two {group} are called {name!r}: {found[name].__module__} and {component.__module__}; "
                "rename or uninstall one"
            )
    return found


algorithms = partial(_by_name, "algorithms")
"""Every algorithm (a class with a nested Config) by the name that a variant gives."""
models = partial(_by_name, "models")
"""Every model (a Config) by its kind."""
datasets = partial(_by_name, "datasets")
"""Every data set (a Config) by its kind."""
partitions = partial(_by_name, "partitions")
"""Every way to partition the samples among the clients (a Config) by its kind."""
selections = partial(_by_name, "selections")
"""Every policy of selection (a class with a nested Config) by its kind."""
codecs = partial(_by_name, "codecs")
"""Every codec of messages (a Config) by its kind."""
distributions = partial(_by_name, "distributions")
"""Every random distribution (a Config) by its kind."""


def _refuse_old_names(component: type[Any]) -> None:
    """Refuse a partition that was written for a version whose method had another name."""
    if hasattr(component, "deal") and not hasattr(component, "partition"):
        raise SflsimError(
            f"the partition {component.__module__}.{component.__qualname__} has a method "
            "deal(labels, clients, seed): rename it partition(labels, clients, seed)"
        )


def _register(group: str, component: Component) -> Component:
    """Keep `component`; one of the same name and place (a cell run again) takes over."""
    _refuse_old_names(component)
    known = _registered.setdefault(group, [])
    name, place = name_of(component), (component.__module__, component.__qualname__)
    known[:] = [one for one in known if name_of(one) != name or (one.__module__, one.__qualname__) != place]
    known.append(component)
    return component


@cache
def _built_in(group: str) -> tuple[type[Any], ...]:
    """Load the package's own components of a group."""
    places = (place.split(":") for place in BUILT_IN[group])
    return tuple(getattr(import_module(module), name) for module, name in places)


@cache
def _points(group: str) -> tuple[EntryPoint, ...]:
    """Find what installed packages offer; reading their metadata takes milliseconds, so it is read once."""
    return tuple(entry_points(group=f"sflsim.{group}"))


@cache
def _installed(group: str) -> tuple[type[Any], ...]:
    """Load what installed packages offer under the entry-point group "sflsim.<group>"."""
    components = []
    for point in _points(group):
        try:
            component = point.load()
            name = name_of(component)
        except Exception as error:
            raise SflsimError(
                f"the installed package offering {point.value!r} as one of sflsim's {group} "
                f"cannot be loaded ({error}); repair or uninstall it"
            ) from error
        if name != point.name:
            raise SflsimError(f"the entry point {point.name!r} of sflsim.{group} offers {name!r}")
        components.append(component)
    return tuple(components)
