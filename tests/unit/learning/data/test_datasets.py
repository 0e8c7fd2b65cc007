"""Data sets from files in their very formats, written here: every number comes back, mistakes are told."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import socket
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from sflsim.errors import ScenarioError
from sflsim.experiment.simulate import simulate
from sflsim.learning.data import hub
from sflsim.learning.data.base import Data
from sflsim.learning.data.named_images import FashionMnist
from sflsim.learning.data.pixels import Augment
from sflsim.registry import datasets as kinds
from sflsim.scenario import load_scenario
from sflsim.session import Options, Session

RNG = np.random.Generator(np.random.Philox(5))
Bytes = npt.NDArray[np.uint8]


@pytest.fixture(autouse=True)
def contacted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """There is no network; the places to which a connection was tried."""
    tried: list[Any] = []

    def refuse(place: Any, *_: Any, **__: Any) -> Any:
        tried.append(place)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried


def images(count: int, *shape: int) -> Bytes:
    return RNG.integers(0, 256, size=(count, *shape), dtype=np.uint8)


def labels(count: int, classes: int = 10) -> npt.NDArray[np.int64]:
    return np.arange(count, dtype=np.int64) * 7 % classes


# The formats. Each writer returns the kind, settings, and what was written: images and labels by split.

Written = dict[str, tuple[Bytes, npt.NDArray[np.int64]]]  # images [N, rows, columns, channels]


def idx(array: npt.NDArray[Any]) -> bytes:
    return (
        struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    )


def write_idx(place: Path, pack: Callable[[bytes], bytes], end: str) -> Written:
    written: Written = {}
    for split, name, count in (("train", "train", 40), ("test", "t10k", 20)):
        x, y = images(count, 28, 28), labels(count)
        (place / f"{name}-images-idx3-ubyte{end}").write_bytes(pack(idx(x)))
        (place / f"{name}-labels-idx1-ubyte{end}").write_bytes(pack(idx(y)))
        written[split] = (x[..., None], y)
    return written


def cifar_files(label_bytes: Callable[[npt.NDArray[np.int64]], Bytes], files: dict[str, list[str]]) -> Any:
    """Return the contents of CIFAR's binary files, and what they say."""
    contents, written = {}, {}
    for split, names in files.items():
        x, y = images(10 * len(names), 32, 32, 3), labels(10 * len(names))
        records = np.concatenate([label_bytes(y), x.transpose(0, 3, 1, 2).reshape(len(x), -1)], axis=1)
        for number, name in enumerate(names):
            contents[name] = records[10 * number : 10 * number + 10].tobytes()
        written[split] = (x, y)
    return contents, written


CIFAR_10 = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}
CIFAR_100 = {"train": ["train.bin"], "test": ["test.bin"]}


def one_byte(y: npt.NDArray[np.int64]) -> Bytes:
    return y[:, None].astype(np.uint8)


def coarse_and_fine(y: npt.NDArray[np.int64]) -> Bytes:
    return np.stack([y, 99 - y], axis=1).astype(np.uint8)


def put(place: Path, contents: dict[str, bytes]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (place / name).write_bytes(content)


def pack(file: Path, folder: str, contents: dict[str, bytes]) -> None:
    with tarfile.open(file, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def png(image: Bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, "PNG")
    return file.getvalue()


CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def write_folders(
    place: Path, splits: tuple[str, ...] = ("train", "valid", "test"), side: int = 32
) -> Written:
    written = {}
    for split in splits:
        x, y = images(20, side, side, 3), np.sort(labels(20))  # read in the order of the classes
        for number, (image, label) in enumerate(zip(x, y, strict=True)):
            folder = place / split / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:03}.png").write_bytes(png(image))
        written[{"valid": "validation"}.get(split, split)] = (x, y)
    return written


def table(x: Bytes, y: npt.NDArray[np.int64], image: str, label: str, names: int = 10) -> datasets.Dataset:
    features = datasets.Features(
        {
            image: datasets.Image(),
            label: datasets.ClassLabel(num_classes=names),
            "writer": datasets.Value("string"),
        }
    )
    rows = {
        image: [{"bytes": png(one), "path": None} for one in x],
        label: y.tolist(),
        "writer": [f"w{place % 4}" for place in range(len(y))],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def tables(image: str, label: str, *shape: int) -> tuple[datasets.DatasetDict, Written]:
    written = {
        split: (images(count, *shape), labels(count)) for split, count in (("train", 40), ("test", 20))
    }
    made = {split: table(x, y, image, label) for split, (x, y) in written.items()}
    return datasets.DatasetDict(made), written


def write_parquet(place: Path, made: datasets.DatasetDict) -> None:
    (place / "data").mkdir(parents=True)
    for split, one in made.items():
        one.to_parquet(place / "data" / f"{split}-00000-of-00001.parquet")


def gzipped(place: Path) -> tuple[str, dict[str, Any], Written]:
    return "mnist", {}, write_idx(place, gzip.compress, ".gz")


def plain(place: Path) -> tuple[str, dict[str, Any], Written]:
    return "fashion-mnist", {}, write_idx(place, lambda content: content, "")


def cifar_folder(place: Path) -> tuple[str, dict[str, Any], Written]:
    contents, written = cifar_files(one_byte, CIFAR_10)
    put(place / "cifar-10-batches-bin", contents)
    return "cifar-10", {}, written


def cifar_archive(place: Path) -> tuple[str, dict[str, Any], Written]:
    contents, written = cifar_files(one_byte, CIFAR_10)
    pack(place / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", {"readme.html": b"", **contents})
    return "cifar-10", {}, written


def cifar_100(place: Path) -> tuple[str, dict[str, Any], Written]:
    contents, written = cifar_files(coarse_and_fine, CIFAR_100)
    put(place, contents)
    return "cifar-100", {}, {split: (x, 99 - y) for split, (x, y) in written.items()}


def cifar_100_coarse(place: Path) -> tuple[str, dict[str, Any], Written]:
    contents, written = cifar_files(coarse_and_fine, CIFAR_100)
    put(place, contents)
    return "cifar-100", {"labels": "coarse"}, written


def cinic(place: Path) -> tuple[str, dict[str, Any], Written]:
    return "cinic-10", {}, write_folders(place)


def cinic_validation(place: Path) -> tuple[str, dict[str, Any], Written]:
    written = write_folders(place)
    return "cinic-10", {"evaluate_on": "validation"}, {**written, "test": written["validation"]}


def cifar_parquet(place: Path) -> tuple[str, dict[str, Any], Written]:
    made, written = tables("img", "label", 32, 32, 3)
    write_parquet(place, made)
    return "cifar-10", {}, written


def mnist_saved(place: Path) -> tuple[str, dict[str, Any], Written]:
    made, written = tables("image", "label", 28, 28, 1)
    made.save_to_disk(place / "saved")
    (place / "saved" / "train" / "cache-0123.arrow").write_bytes(b"what the library leaves there")
    return "mnist", {"path": "saved"}, written


def any_parquet(place: Path) -> tuple[str, dict[str, Any], Written]:
    made, written = tables("picture", "what", 6, 9, 3)
    write_parquet(place, made)
    return "huggingface", {"columns": {"image": "picture", "label": "what"}}, written


def any_folder(place: Path) -> tuple[str, dict[str, Any], Written]:
    return "huggingface", {}, write_folders(place, ("train", "test"), 12)


FORMATS = [
    gzipped, plain, cifar_folder, cifar_archive, cifar_100, cifar_100_coarse, cinic, cinic_validation,
    cifar_parquet, mnist_saved, any_parquet, any_folder,
]  # fmt: skip


def dataset(kind: str, place: Path, settings: dict[str, Any]) -> Any:
    """Return a data set's Config as a scenario in `place` has it."""
    content = {"kind": kind, "path": ".", **settings}
    return kinds()[kind].model_validate(content, context={"base_dir": place})


@pytest.mark.parametrize("write", FORMATS)
def test_every_number_comes_back(write: Callable[[Path], Any], tmp_path: Path) -> None:
    """Bytes, labels, order, shape and scaling are those written, for training and for evaluation."""
    kind, settings, written = write(tmp_path)
    found = dataset(kind, tmp_path, settings)
    data = found.load()
    parts = {"train": (data.train_x, data.train_y), "test": (data.test_x, data.test_y)}
    for split, (x, y) in parts.items():
        wanted_x, wanted_y = written[split]
        assert np.array_equal(x.movedim(1, -1).numpy(), wanted_x)
        assert np.array_equal(y.numpy(), wanted_y)
    assert (x.dtype, y.dtype) == (torch.uint8, torch.int64)
    assert data.sample_shape == found.sample_shape
    assert found.training_labels().tolist() == data.train_y.tolist()
    assert data.classes == found.classes > data.train_y.max()
    numbers = written["test"][0].transpose(0, 3, 1, 2) / 255
    assert data.pixels is not None
    mean, deviation = (np.array(one)[:, None, None] for one in (data.pixels.mean, data.pixels.deviation))
    assert np.allclose(data.inputs(data.test_x).numpy(), (numbers - mean) / deviation, rtol=0, atol=1e-5)
    assert data.inputs(data.test_x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("write", [any_parquet, any_folder])
def test_any_images_are_standardised_by_the_training_part(
    write: Callable[[Path], Any], tmp_path: Path
) -> None:
    """Mean 0 and deviation 1 over all training images in each channel, not over others."""
    kind, settings, _ = write(tmp_path)
    data: Data = dataset(kind, tmp_path, {**settings, "held_out_limit": 3}).load()
    inputs = data.inputs(data.train_x).double()

    assert inputs.mean(dim=(0, 2, 3)).abs().max() < 1e-6
    assert (inputs.std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-6
    assert len(data.test_x) == 3


def test_images_may_be_resized_and_turned_grey(tmp_path: Path) -> None:
    """As Pillow does it."""
    made, written = tables("image", "label", 6, 9, 3)
    write_parquet(tmp_path, made)
    data: Data = dataset("huggingface", tmp_path, {"size": [4, 4], "channels": 1}).load()
    first = Image.fromarray(written["train"][0][0]).convert("L").resize((4, 4), Image.Resampling.BILINEAR)

    assert data.sample_shape == (1, 4, 4)
    assert np.array_equal(data.train_x[0, 0].numpy(), np.asarray(first))


# Which samples.


def test_validation_samples_are_neither_trained_nor_tested_on(tmp_path: Path) -> None:
    """A share of each class is kept back, always the same; the test set has its turn at the end."""
    _, _, written = cifar_folder(tmp_path)
    tuned: Data = dataset("cifar-10", tmp_path, {"validation": "20%", "evaluate_on": "validation"}).load()
    tested: Data = dataset("cifar-10", tmp_path, {"validation": 0.2}).load()
    together = torch.cat([tuned.train_x, tuned.test_x]).flatten(1).tolist()

    assert torch.equal(tuned.train_x, tested.train_x)
    assert sorted(together) == sorted(written["train"][0].transpose(0, 3, 1, 2).reshape(50, -1).tolist())
    assert tuned.test_y.bincount(minlength=10).tolist() == [1] * 10
    assert tested.test_y.tolist() == written["test"][1].tolist()
    with pytest.raises(ScenarioError, match="validation: 10%"):
        dataset("cifar-10", tmp_path, {"evaluate_on": "validation"}).load()


def test_limits_take_some_at_random_and_the_same_again(tmp_path: Path) -> None:
    """A limit leaves so many, in order, with their own labels."""
    cifar_folder(tmp_path)
    whole: Data = dataset("cifar-10", tmp_path, {}).load()
    some = dataset("cifar-10", tmp_path, {"limit": 12, "held_out_limit": 4})
    data: Data = some.load()
    places = [whole.train_x.flatten(1).tolist().index(one) for one in data.train_x.flatten(1).tolist()]

    assert (len(data.train_x), len(data.test_x)) == (12, 4)
    assert places == sorted(places) != list(range(12))
    assert data.train_y.tolist() == whole.train_y[places].tolist() == some.training_labels().tolist()
    assert (
        data.fingerprint
        != whole.fingerprint
        == some.model_copy(update={"limit": None, "held_out_limit": None}).load().fingerprint
    )


def test_a_changed_copy_is_read_again(tmp_path: Path) -> None:
    """What the process has loaded last is kept only as long as the folder is as it was."""
    cifar_folder(tmp_path)
    first: Data = dataset("cifar-10", tmp_path, {}).load()
    assert dataset("cifar-10", tmp_path, {}).load() is first
    put(tmp_path, cifar_files(one_byte, CIFAR_10)[0])
    for file in tmp_path.rglob("*"):
        os.utime(file, (1, 1))  # a file system's clock may not have moved on by itself

    assert dataset("cifar-10", tmp_path, {}).load().fingerprint != first.fingerprint


# Broken, wrong and missing copies.


def refusal(kind: str, place: Path, settings: dict[str, Any] | None = None) -> str:
    with pytest.raises(ScenarioError) as caught:
        dataset(kind, place, settings or {}).load()
    (problem,) = caught.value.problems
    assert problem.path.startswith(("workload.dataset", "workload.partition"))
    return str(problem)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content[:-1], "31375 bytes; allowed: 31376"),
        (lambda content: content + b"x", "31377 bytes; allowed: 31376"),
        (lambda content: content[:3], "an IDX file"),
        (lambda content: b"\0\0\r\3" + content[4:], "an IDX file"),
        (lambda content: gzip.compress(content)[:-9], "cannot be read"),
        (
            lambda content: gzip.compress(content)[:20] + b"0000" + gzip.compress(content)[24:],
            "cannot be read",
        ),
        (lambda content: idx(images(39, 28, 28)), "39 images; allowed: 40"),
        (lambda content: idx(images(40, 27, 28)), "27x28 with 1 channels; allowed: images of 28x28"),
    ],
    ids=["short", "long", "headless", "floats", "cut gzip", "broken gzip", "another count", "another size"],
)
def test_broken_idx_files_are_told(change: Callable[[bytes], bytes], words: str, tmp_path: Path) -> None:
    """Each with the file, what was found, what is allowed."""
    plain(tmp_path)
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(change(file.read_bytes()))
    assert words in refusal("mnist", tmp_path)


def test_a_missing_idx_file_is_named(tmp_path: Path) -> None:
    gzipped(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "t10k-labels-idx1-ubyte.gz" in refusal("mnist", tmp_path)


def test_broken_cifar_files_are_told(tmp_path: Path) -> None:
    """A record cut short, a file that is missing, a label beyond the classes, an archive cut short."""
    contents, _ = cifar_files(one_byte, CIFAR_10)
    put(tmp_path / "short", {**contents, "data_batch_3.bin": contents["data_batch_3.bin"][:-1]})
    assert "data_batch_3.bin of 30729 bytes" in refusal("cifar-10", tmp_path / "short")
    put(tmp_path / "few", {name: content for name, content in contents.items() if name[:6] != "test_b"})
    assert "no test_batch.bin" in refusal("cifar-10", tmp_path / "few")
    put(tmp_path / "label", {**contents, "test_batch.bin": b"\x0a" + contents["test_batch.bin"][1:]})
    assert "label 10 in test; allowed: 0 to 9" in refusal("cifar-10", tmp_path / "label").replace("the ", "")
    pack(tmp_path / "cut.tar.gz", "x", contents)
    (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "cut.tar.gz").read_bytes()[:-200])
    assert "cannot be read" in refusal("cifar-10", tmp_path, {"path": "cut.tar.gz"})
    pack(tmp_path / "cifar-100-binary.tar.gz", "x", contents)
    assert "no train.bin in it" in refusal("cifar-100", tmp_path)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return (Path.touch, (self.place,))


def test_pickles_are_never_read(tmp_path: Path) -> None:
    """The Python version is refused with the name of the download to take; nothing in it has run."""
    sprung = tmp_path / "sprung"
    for name in ("data_batch_1", "batches.meta"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap(sprung)))
    text = refusal("cifar-10", tmp_path)
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "data_batch_1", "cifar-10-batches-py/data_batch_1")

    assert "cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html" in text
    assert "pickles" in refusal("cifar-10", tmp_path, {"path": "cifar-10-python.tar.gz"})
    assert not sprung.exists()


def test_broken_images_are_told(tmp_path: Path) -> None:
    """An image that is none, one of another size, a class without training images, no class at all."""
    write_folders(tmp_path)
    file = tmp_path / "train" / "bird" / "000.png"
    file.write_bytes(b"no image")
    assert str(file) in refusal("cinic-10", tmp_path)
    file.write_bytes(png(images(1, 31, 32, 3)[0]))
    assert "31x32" in refusal("cinic-10", tmp_path)
    file.unlink()
    (tmp_path / "test" / "zebra").mkdir()
    assert "a class without training images" in refusal("cinic-10", tmp_path)


def test_a_path_in_a_table_is_not_followed(tmp_path: Path) -> None:
    """Only bytes within the table count: a table cannot make sflsim open other files."""
    outside = tmp_path / "secret.png"
    outside.write_bytes(png(images(1, 4, 4, 3)[0]))
    features = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.Value("int64")})
    for split, count in (("train", 4), ("test", 3)):
        rows = {"image": [{"bytes": None, "path": str(outside)}] * count, "label": [0, 1, 0, 1][:count]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"{split}.parquet")
    assert "without the bytes" in refusal("huggingface", tmp_path)


@pytest.mark.parametrize("kind", ["mnist", "fashion-mnist", "cifar-10", "cifar-100", "cinic-10", "sst-2"])
def test_missing_data_says_what_to_download(
    kind: str, tmp_path: Path, contacted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network, and without or with a wrong path: after one try, a page and where to put it."""
    monkeypatch.setattr(FashionMnist, "installed", "")
    told = [
        refusal(kind, tmp_path, settings) for settings in ({"path": None}, {"path": "nowhere"}, {"path": "."})
    ]

    for text in told:
        assert "https://" in text or "http://" in text
        assert "beside the scenario" in text
    assert "cannot be reached" in told[0]
    assert len(contacted) == 1
    assert all(("dataset-fashion-mnist" in text) == (kind == "fashion-mnist") for text in told)


def test_an_installed_package_needs_no_path(
    tmp_path: Path, contacted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies where the package puts it is read as if its folder were the path; nobody is contacted."""
    plain(tmp_path)
    monkeypatch.setattr(FashionMnist, "installed", str(tmp_path))
    found, expected = (FashionMnist(path=path).load() for path in (None, str(tmp_path)))
    for name in ("train_x", "train_y", "test_x", "test_y"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert not contacted


def test_offline_mode_contacts_nobody(monkeypatch: pytest.MonkeyPatch, contacted: list[Any]) -> None:
    """With HF_HUB_OFFLINE no connection is tried."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub.reachable()
    assert not contacted


def test_without_a_network_the_library_looks_into_its_cache_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own switch is on while it loads, and put back afterwards."""
    from huggingface_hub import constants

    def load(name: str, subset: str | None) -> datasets.DatasetDict:
        assert constants.HF_HUB_OFFLINE
        assert datasets.config.HF_HUB_OFFLINE
        raise ConnectionError

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(ScenarioError, match="not in the cache, and the hub cannot be reached"):
        hub.hub_tables("someone/pictures", None, {}, "")
    assert not constants.HF_HUB_OFFLINE


def test_the_hub_is_read_through_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What `datasets.load_dataset` returns is the data, its splits under our names."""
    made, written = tables("image", "label", 32, 32, 3)
    asked = []

    def load(name: str, subset: str | None) -> datasets.DatasetDict:
        asked.append((name, subset))
        return datasets.DatasetDict(train=made["train"].select(range(10, 40)), holdout=made["test"])

    monkeypatch.setattr(datasets, "load_dataset", load)
    data: Data = dataset(
        "huggingface", tmp_path, {"path": "someone/pictures", "name": "x", "test": "holdout"}
    ).load()

    assert set(asked) == {("someone/pictures", "x")}
    assert np.array_equal(data.train_x.movedim(1, -1).numpy(), written["train"][0][10:])
    assert data.test_y.tolist() == written["test"][1].tolist()


# Text.

WORDS = [
    "a",
    "dull",
    ",",
    "slow",
    "film",
    "but",
    "the",
    "cast",
    "is",
    "good",
    "and",
    "it",
    "moves",
    "well",
    "never",
    "bad",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer trained here, as one file."""
    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator([" ".join(WORDS)], trainers.WordLevelTrainer(special_tokens=["[UNK]", "[PAD]"]))
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(file))
    return file


def sentences(count: int) -> list[str]:
    return [" ".join(RNG.choice(WORDS, size=1 + place % 9)) for place in range(count)]


def write_glue(place: Path) -> dict[str, list[str]]:
    written = {}
    for name, count in (("train", 30), ("dev", 10)):
        written[name] = sentences(count)
        written[name][3] = 'an "unbalanced quote'
        rows = [f"{text} \t{number % 2}\n" for number, text in enumerate(written[name])]
        (place / f"{name}.tsv").write_text("sentence\tlabel\n" + "".join(rows), encoding="utf-8")
    (place / "test.tsv").write_text("index\tsentence\n0\tsecret\n", encoding="utf-8")
    return written


def read_back(x: torch.Tensor, file: Path) -> list[str]:
    """Return the texts that token ids and masks stand for."""
    made = Tokenizer.from_file(str(file))
    return [made.decode(ids[mask.bool()].tolist(), skip_special_tokens=False) for ids, mask in x]


def test_sst_2_becomes_ids_and_mask(tokenizer: Path, tmp_path: Path) -> None:
    """GLUE's tables by a tokenizer trained here: ids decode to the sentences, masks tell their length."""
    (tmp_path / "SST-2").mkdir()
    written = write_glue(tmp_path / "SST-2")
    found = dataset("sst-2", tmp_path, {"tokenizer": str(tokenizer), "max_length": 12})
    data: Data = found.load()

    assert data.sample_shape == found.sample_shape == (2, 12)
    assert found.sample_dtype == "int64" == str(data.train_x.dtype).partition(".")[2]
    known = [
        " ".join(word if word in WORDS else "[UNK]" for word in text.replace('"', '" ').split())
        for text in written["dev"]
    ]
    assert read_back(data.test_x, tokenizer) == known
    assert data.train_x[:, 1].sum(1).tolist() == [
        len(text.replace('"', '" ').split()) for text in written["train"]
    ]
    assert data.test_y.tolist() == [0, 1] * 5
    assert found.vocabulary == len(WORDS) + 2 > int(data.train_x[:, 0].max())


def test_long_texts_are_cut(tokenizer: Path, tmp_path: Path) -> None:
    written = write_glue(tmp_path)
    data: Data = dataset("sst-2", tmp_path, {"tokenizer": str(tokenizer), "max_length": 2}).load()
    assert read_back(data.test_x, tokenizer)[8] == " ".join(written["dev"][8].split()[:2])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sentence\tlabel\ngood\n", "line 2"),
        ("sentence\tlabel\ngood\t2\n", "line 2"),
        ("good\t1\n", "first line"),
        ("sentence\tlabel\n", "no sample in train"),
    ],
)
def test_broken_glue_tables_are_told(text: str, words: str, tokenizer: Path, tmp_path: Path) -> None:
    write_glue(tmp_path)
    (tmp_path / "train.tsv").write_text(text, encoding="utf-8")
    assert words in refusal("sst-2", tmp_path, {"tokenizer": str(tokenizer)})


def test_a_tokenizer_is_asked_for(tmp_path: Path) -> None:
    """None, one that does not exist, a file that is none."""
    write_glue(tmp_path)
    (tmp_path / "wrong.json").write_text("{}", encoding="utf-8")
    assert "workload.dataset.tokenizer" in refusal("sst-2", tmp_path)
    assert "https://huggingface.co/some/model" in refusal("sst-2", tmp_path, {"tokenizer": "some/model"})
    assert "none can be read" in refusal("sst-2", tmp_path, {"tokenizer": "wrong.json"})


def csv_rows(place: Path, rows: list[dict[str, Any]], split: str) -> None:
    head = list(rows[0])
    lines = [",".join(head), *(",".join(str(row[name]) for name in head) for row in rows)]
    (place / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def json_lines(place: Path, rows: list[dict[str, Any]], split: str) -> None:
    (place / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def json_list(place: Path, rows: list[dict[str, Any]], split: str) -> None:
    (place / f"{split}.json").write_text(json.dumps(rows), encoding="utf-8")


def parquet(place: Path, rows: list[dict[str, Any]], split: str) -> None:
    datasets.Dataset.from_list(rows).to_parquet(place / f"{split}.parquet")


@pytest.mark.parametrize("write", [csv_rows, json_lines, json_list, parquet])
def test_any_text_in_any_table(write: Callable[..., None], tokenizer: Path, tmp_path: Path) -> None:
    """Labels that are words are numbered in order; a text "NA" stays a text."""
    texts = {"train": sentences(12), "test": sentences(6)}
    texts["train"][0] = texts["test"][1] = "NA"
    for split, known in texts.items():
        rows = [
            {"review": text.replace(",", "is"), "verdict": "bad" if number % 3 else "awful"}
            for number, text in enumerate(known)
        ]
        write(tmp_path, rows, split)
    settings = {
        "columns": {"text": "review", "label": "verdict"},
        "tokenizer": str(tokenizer),
        "max_length": 9,
    }
    found = dataset("huggingface", tmp_path, settings)
    data: Data = found.load()

    assert data.train_y.tolist() == [0, 1, 1] * 4
    assert found.classes == 2
    wanted = [text.replace(",", "is").replace("NA", "[UNK]") for text in texts["test"]]
    assert read_back(data.test_x, tokenizer) == wanted


def test_wrong_tables_are_told(tokenizer: Path, tmp_path: Path) -> None:
    """A column that is not there, labels that are none, a label unknown in training, a file cut short."""
    rows = [{"text": "good", "label": number % 2} for number in range(6)]
    parquet(tmp_path, rows, "train")
    text = {"tokenizer": str(tokenizer)}
    assert "no such split: test" in refusal("huggingface", tmp_path, text)
    parquet(tmp_path, rows, "test")
    wrong = {**text, "columns": {"text": "review"}}
    assert "no column 'review' in train; allowed: text, label" in refusal("huggingface", tmp_path, wrong)
    parquet(tmp_path, [{"text": "good", "label": -1}], "test")
    assert "the label -1 in test" in refusal("huggingface", tmp_path, text)
    parquet(tmp_path, [{"text": "good", "label": "x"}], "test")
    assert "'x'" in refusal("huggingface", tmp_path, text)
    parquet(tmp_path, [{"text": "good", "label": 0.5}], "test")
    assert "0.5" in refusal("huggingface", tmp_path, text)
    file = tmp_path / "test.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    assert str(file) in refusal("huggingface", tmp_path, text)


# Random crops and flips.


def test_a_crop_is_a_piece_of_the_padded_image() -> None:
    """Each changed image is one of the 81 crops of the padded original, or its mirror; both ways occur."""
    x = torch.from_numpy(images(24, 3, 6, 6))
    changed = Augment(crop=4, flip=True).apply(x, [(0, "a"), (0, "b"), (0, "c")])
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)))
    mirrored = 0
    for original, image in zip(padded, changed.numpy(), strict=True):
        pieces = [original[:, i : i + 6, j : j + 6] for i in range(9) for j in range(9)]
        as_is = any(np.array_equal(image, piece) for piece in pieces)
        assert as_is or any(np.array_equal(image, piece[:, :, ::-1]) for piece in pieces)
        mirrored += not as_is
    assert 0 < mirrored < 24
    assert changed.dtype == torch.uint8


def test_changes_depend_on_the_batch_alone() -> None:
    """A batch is changed the same alone and beside others, and otherwise under another key."""
    x = torch.from_numpy(images(8, 1, 5, 5))
    augment = Augment(crop=2, flip=True)
    both = augment.apply(torch.cat([x, x]), [(1, "first"), (1, "second")])

    assert torch.equal(both[:8], augment.apply(x, [(1, "first")]))
    assert torch.equal(both[8:], augment.apply(x, [(1, "second")]))
    assert not torch.equal(both[:8], both[8:])
    assert torch.equal(Augment().apply(x, [(1, "first")]), x)


# Runs.


def scenario(place: Path, workload: dict[str, Any], clients: int = 4) -> Any:
    """Return a scenario of one round that lies in `place`, as a file."""
    file = place / "scenario.yaml"
    content = {
        "name": "data",
        "workload": {"cut": 1, "batch_size": 4, **workload},
        "fleet": {"clients": clients, "groups": [{"device": "raspberry-pi-4", "link": "wifi"}]},
        "variants": [{"algorithm": "splitfed-v1"}],
        "stop": {"rounds": 1},
        "evaluate": {"every": "1 round"},
    }
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_scenario(file)


@pytest.mark.parametrize("write", [gzipped, cifar_archive, cifar_100, cinic, any_parquet])
@pytest.mark.parametrize("model", [{"kind": "mlp", "hidden": [8]}, {"kind": "cnn"}], ids=["mlp", "cnn"])
def test_each_data_set_runs_a_round(
    write: Callable[[Path], Any], model: dict[str, Any], tmp_path: Path
) -> None:
    """Named in a scenario with a path beside it; the resolved scenario loads to the same."""
    kind, settings, written = write(tmp_path)
    path = {"path": "."} if "path" not in settings else {}
    augment = {"augment": {"crop": 2, "flip": True}}
    loaded = scenario(tmp_path, {"dataset": {"kind": kind, **path, **settings, **augment}, "model": model})
    run = simulate(loaded)
    evaluations = run.evaluations

    assert run.status == "completed"
    assert set(evaluations.accuracy * len(written["test"][1])) <= set(range(len(written["test"][1]) + 1))
    assert evaluations.loss.notna().all()


def transformer(vocabulary: int) -> dict[str, Any]:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 16}
    more = {"vocab_size": vocabulary, "word_embed_proj_dim": 16, "max_position_embeddings": 32}
    return {"kind": "transformer", "config": {"model_type": "opt", **sizes, **more}}


def test_sst_2_runs_a_round_and_its_words_must_be_known(tokenizer: Path, tmp_path: Path) -> None:
    """A tiny OPT learns from GLUE's tables; one that knows fewer words, or an MLP, is refused before."""
    write_glue(tmp_path)
    named = {"kind": "sst-2", "path": ".", "tokenizer": str(tokenizer), "max_length": 8}
    fits = scenario(tmp_path, {"dataset": named, "model": transformer(32)})
    assert simulate(fits).status == "completed"
    small = scenario(tmp_path, {"dataset": named, "model": transformer(9)})
    with pytest.raises(ScenarioError, match=r"workload.dataset.tokenizer\n.*18 tokens; allowed: at most 9"):
        Session(small, Options()).check()
    with pytest.raises(ScenarioError, match="mlp, which takes numbers, with the text of sst-2"):
        scenario(tmp_path, {"dataset": named, "model": "mlp"})


def test_a_column_deals_to_natural_clients(tmp_path: Path) -> None:
    """Each client holds what one writer wrote; without that column the error names those there are."""
    made, _ = tables("image", "label", 6, 6, 3)
    write_parquet(tmp_path, made)
    named = {"kind": "huggingface", "path": ".", "limit": 30}
    natural = {"kind": "natural-id", "by": "writer"}
    loaded = scenario(tmp_path, {"dataset": named, "model": "mlp", "partition": natural})
    session = Session(loaded, Options())
    writers = loaded.workload.dataset.training_column("writer")

    assert [set(writers[share]) for share in session.materials.shards(0)] == [
        {f"w{number}"} for number in range(4)
    ]
    assert sum(map(len, session.materials.shards(0))) == 30
    wrong = scenario(tmp_path, {"dataset": named, "model": "mlp", "partition": {**natural, "by": "author"}})
    with pytest.raises(ScenarioError, match="no column 'author' in train; allowed: image, label, writer"):
        Session(wrong, Options()).check()
    plain_digits = scenario(tmp_path, {"dataset": "digits", "model": "mlp", "partition": natural})
    with pytest.raises(ScenarioError, match=r"workload\.partition\.by"):
        Session(plain_digits, Options()).check()
