"""What a scenario can name: algorithms, models, datasets, partitions and distributions.

The one visible place where the built-in ones are listed. A package of a third party adds its
own through an entry point (group "sflsim.models", name = kind), a notebook or a test through
`register_model(...)`. All are looked up when a scenario is read, so the order of imports
decides nothing. What a scenario merely names is not run: entry points are loaded, and a scenario's
own Python is imported, only for a scenario that was read with trust; it carries its `Trust`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue

from sflsim.errors import SflsimError, did_you_mean
from sflsim.fields import FieldFormat
from sflsim.mistakes import mistakes, wrong_value

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
        "sflsim.algorithms.mu_splitfed:MuSplitFed",
        "sflsim.algorithms.zo_splitfed:ZoSplitFed",
        "sflsim.algorithms.gas:Gas",
        "sflsim.algorithms.zo_gas:ZoGas",
        "sflsim.algorithms.ho_sfl:HoSfl",
        "sflsim.algorithms.cse_fsl:CseFsl",
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
        )
    ),
}
"""The components of the package, named as entry points name those of others: "module:class"."""

_registered: dict[str, list[type[Any]]] = {}  # group -> classes, in order; filled by register_* alone
_trusted: ContextVar[bool] = ContextVar("trusted", default=False)


@dataclass(frozen=True)
class Trust:
    """Whether what holds this may run code that it names; `module` is the code, where it is one alone.

    It goes along with copies, and stays behind where its holder is pickled. All are equal: it is no part of
    what a scenario says.
    """

    given: bool = field(default=False, compare=False)
    module: str = field(default="", compare=False)

    def __reduce__(self) -> tuple[type[Trust], tuple[()]]:
        return Trust, ()

    def __copy__(self) -> Trust:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Trust:
        return self


@contextmanager
def trusting(given: bool = True) -> Iterator[None]:
    """Let the scenario that is read meanwhile name code of installed packages, and of its own; or not."""
    before = _trusted.set(given)
    try:
        yield
    finally:
        _trusted.reset(before)


def trusted() -> bool:
    """Tell whether the scenario that is being read may name code that is run."""
    return _trusted.get()


def offered() -> dict[str, EntryPoint]:
    """Return the components that installed packages offer, by name; none is loaded."""
    return {point.name: point for group in BUILT_IN for point in entry_points(group=f"sflsim.{group}")}


def algorithms() -> dict[str, type[Any]]:
    """Return every algorithm (a class with a nested Config) by the name that a variant gives."""
    return _by_name("algorithms")


def models() -> dict[str, type[Any]]:
    """Return every model (a Config) by its kind."""
    return _by_name("models")


def datasets() -> dict[str, type[Any]]:
    """Return every dataset (a Config) by its kind."""
    return _by_name("datasets")


def partitions() -> dict[str, type[Any]]:
    """Return every way to partition the samples among the clients (a Config) by its kind."""
    found = _by_name("partitions")
    for kind in found.values():
        _refuse_old_names(kind)
    return found


def distributions() -> dict[str, type[Any]]:
    """Return every random distribution (a Config) by its kind."""
    return _by_name("distributions")


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
    _refuse_old_names(partition)
    return _register("partitions", partition)


def _refuse_old_names(partition: type[Any]) -> None:
    """Refuse a partition that was written for a version whose method had another name."""
    if hasattr(partition, "deal") and not hasattr(partition, "partition"):
        raise SflsimError(
            f"the partition {partition.__module__}.{partition.__qualname__} has a method "
            "deal(labels, clients, seed): rename it partition(labels, clients, seed)"
        )


def register_distribution(distribution: Component) -> Component:
    """Add a distribution to this process and return it."""
    return _register("distributions", distribution)


@contextmanager
def forgetting() -> Iterator[None]:
    """Forget afterwards what is registered meanwhile, and what installed packages offer meanwhile."""
    before = {group: list(components) for group, components in _registered.items()}
    _installed.cache_clear()
    try:
        yield
    finally:
        _registered.clear()
        _registered.update(before)
        _installed.cache_clear()


def algorithm_of(config: BaseModel) -> type[Any]:
    """Return the algorithm whose Config this is: one of a package only where that is imported already."""
    kind = type(config)
    own = (*_built_in("algorithms"), *_registered.get("algorithms", ()))
    found: type[Any] | None = next((one for one in own if config_of(one) is kind), None)
    if found is None:
        points = entry_points(group="sflsim.algorithms")
        loaded = (point.load() for point in points if point.value.partition(":")[0] in sys.modules)
        found = next((one for one in loaded if config_of(one) is kind), None)
    if found is None:
        raise SflsimError(
            f"{kind.__qualname__} is the Config of no algorithm that is registered or installed"
        )
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
        if found.setdefault(name, component) is not component:
            raise SflsimError(
                f"two {group} are called {name!r}: {found[name].__module__} and {component.__module__}; "
                "rename or uninstall one"
            )
    return found


def _register(group: str, component: Component) -> Component:
    """Keep `component`; one of the same name and place (a cell run again) takes over."""
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
def _installed(group: str) -> tuple[type[Any], ...]:
    """Load what installed packages offer under the entry-point group "sflsim.<group>"."""
    components = []
    for point in entry_points(group=f"sflsim.{group}"):
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


UNTRUSTED = (
    "its code is run only with --trust (in Python: load_scenario(..., trust=True), or scenario.with_trust())"
)


@dataclass(frozen=True)
class OneOf(FieldFormat):
    """A field that holds the Config of one registered component.

    `Annotated[Any, OneOf(models)]` reads {kind: mlp, ...}, the shorthand 'mlp', or a Config
    itself; `tag` is the key that names the component. Errors carry no tag in their path.
    """

    components: Callable[[], Mapping[str, type[Any]]]
    tag: str = "kind"

    def read(self, value: Any, info: ValidationInfo | None = None) -> BaseModel:
        """Return the Config that `value` describes."""
        configs = {name: config_of(component) for name, component in self.components().items()}
        if isinstance(value, BaseModel) and type(value) in configs.values():
            return value
        if isinstance(value, str):
            return self._config(configs, value, {}, (), info)
        if not isinstance(value, Mapping):
            raise wrong_value(repr(value), self._allowed(configs))
        name = value.get(self.tag)
        rest = {key: item for key, item in value.items() if key != self.tag}
        return self._config(configs, name, rest, (self.tag,), info)

    def _config(
        self,
        configs: dict[str, type[BaseModel]],
        name: Any,
        rest: dict[Any, Any],
        where: tuple[str, ...],
        info: ValidationInfo | None,
    ) -> BaseModel:
        if not isinstance(name, str) or name not in configs:
            near = [key for key in rest if did_you_mean(str(key), [self.tag])] if name is None else []
            remedy = f"'{near[0]}' may be meant as '{self.tag}'" if near else did_you_mean(str(name), configs)
            if isinstance(name, str) and name in offered() and not trusted():
                remedy = f"the installed {offered()[name].value.partition(':')[0]} offers it: {UNTRUSTED}"
            error = wrong_value("nothing" if name is None else repr(name), ", ".join(configs), remedy)
            raise mistakes([(where, error)])
        return configs[name].model_validate({self.tag: name, **rest}, context=info and info.context)

    def _allowed(self, configs: Iterable[str]) -> str:
        return f"one of {', '.join(configs)}, or a mapping with the key '{self.tag}'"

    def json_schema(self, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return that it is a component's name, or a mapping that names it."""
        configs = {name: config_of(component) for name, component in self.components().items()}
        choices = [handler(config.__pydantic_core_schema__) for config in configs.values()]
        return {
            "anyOf": [
                {"type": "string", "enum": list(configs)},
                {"type": "object", "required": [self.tag], "oneOf": choices},
            ]
        }
