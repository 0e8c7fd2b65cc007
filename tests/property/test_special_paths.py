"""Whatever a path leads to, it is read, or refused in an error of ours: nothing waits."""

from __future__ import annotations

import gzip
import json
import random
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch  # noqa: F401 (its import takes more memory than the bound)
from special_paths import PLACES, make_fifo, make_loop, special
from support import within_bounds

from sflsim.errors import ScenarioError, SflsimError
from sflsim.learning.data.named_images import Cifar10, Mnist
from sflsim.learning.models.transformer import Transformer

ON_THE_HUB = ("transformer", "huggingface", "sst-2")
"""Where what is no path may be the name of something to download."""
TOLERANT = ("store",)
"""Where what cannot be used is a warning."""


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return special(tmp_path_factory.mktemp("special"))


@pytest.mark.filterwarnings("ignore:the store at")
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_is_refused(place: str, tmp_path: Path) -> None:
    """A FIFO, a device, a link to itself and too long a name, wherever a path is taken."""
    make_fifo(tmp_path / "fifo.csv")
    make_loop(tmp_path / "loop.csv")
    for path in (tmp_path / "fifo.csv", "/dev/zero", tmp_path / "loop.csv", tmp_path / ("x" * 300)):
        with within_bounds():
            if place in TOLERANT:
                PLACES[place](str(path))
            else:
                with pytest.raises(SflsimError):
                    PLACES[place](str(path))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the store at")
def test_400_special_paths(paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of 400 ends in another error, or takes more than the bounds."""
    below = tmp_path / "below"  # a store may be made in "..", not in "/"
    below.mkdir()
    monkeypatch.chdir(below)
    pairs = [
        (place, path) for place in PLACES for path in paths if place not in ON_THE_HUB or path.startswith("/")
    ]
    for call in PLACES.values():  # the libraries that a call loads are no matter of the path
        with suppress(SflsimError, InterruptedError):
            call(str(below / "nowhere"))
    for place, path in random.Random(0).sample(pairs, 400):
        with within_bounds(), suppress(SflsimError, InterruptedError):
            PLACES[place](path)


def test_no_more_is_unpacked_than_the_data_set_has(tmp_path: Path) -> None:
    """A packed file of zeros, and an archive with a large member, are refused before it is unpacked."""
    zeros = gzip.compress(bytes(2**20)) * 257
    for part, rank in (("images", 3), ("labels", 1)):
        for split in ("train", "t10k"):
            (tmp_path / f"{split}-{part}-idx{rank}-ubyte.gz").write_bytes(zeros)
    with within_bounds(400 * 2**20), pytest.raises(ScenarioError, match="unpacks to more than 256 MiB"):
        Mnist(path=str(tmp_path)).load()
    large = tarfile.TarInfo("elsewhere.bin")
    large.size = 2**40
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(gzip.compress(large.tobuf()))
    with within_bounds(), pytest.raises(ScenarioError, match="unpacks to more than 256 MiB"):
        Cifar10(path=str(tmp_path / "cifar-10-binary.tar.gz")).load()


def test_weights_lie_in_their_own_folder(tmp_path: Path) -> None:
    """An index of weights that names another file is refused by name, and so is what is no file."""
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_layer": 1}', encoding="utf-8")
    for named in ("../secret.safetensors", "/etc/passwd", "pytorch_model.bin"):
        index = json.dumps({"weight_map": {"wte.weight": named}})
        (tmp_path / "model.safetensors.index.json").write_text(index, encoding="utf-8")
        with pytest.raises(ScenarioError, match=r"index\.json names"):
            _ = Transformer(name=str(tmp_path)).block_names
    (tmp_path / "model.safetensors.index.json").unlink()
    make_fifo(tmp_path / "tokenizer.json")
    with within_bounds(), pytest.raises(ScenarioError, match=r"tokenizer\.json in it is a FIFO"):
        _ = Transformer(name=str(tmp_path)).block_names
