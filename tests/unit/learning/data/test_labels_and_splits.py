"""One label is one class in every split, and a file belongs to one split."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sflsim.errors import ScenarioError
from sflsim.registry import datasets as kinds

Rows = list[tuple[str, Any]]


def source(place: Path, **settings: Any) -> Any:
    config = {"kind": "huggingface", "path": str(place), "columns": {"text": "text", "label": "label"}}
    return kinds()["huggingface"].model_validate(config | settings)


def write(file: Path, rows: Rows) -> None:
    """Write texts and labels in the format that the file's name asks for."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        texts, labels = zip(*rows, strict=True)
        pq.write_table(pa.table({"text": list(texts), "label": list(labels)}), file)
    elif file.suffix == ".csv":
        file.write_text("".join(f"{text},{label}\n" for text, label in [("text", "label"), *rows]))
    else:
        file.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))


def labelled(known: list[Any], word: str = "text") -> Rows:
    return [(f"{word} {place}", label) for place, label in enumerate(known)]


def read(place: Path, **settings: Any) -> tuple[dict[str, list[int]], int]:
    """Return the labels of each split, and the number of classes."""
    dataset = source(place, **settings)
    opened = dataset.load_source()
    return {split: opened.labels(split).tolist() for split in opened.splits}, dataset.classes


def told(place: Path, **settings: Any) -> str:
    with pytest.raises(ScenarioError) as caught:
        read(place, **settings)
    return str(caught.value)


TWELVE = [*range(12), 10, 3]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ([str(label) for label in TWELVE], TWELVE),
        (TWELVE, [str(label) for label in TWELVE]),
        ([str(label) for label in TWELVE], [float(label) for label in TWELVE]),
        ([f"{label}.0" for label in TWELVE], TWELVE),
        ([f"{label:02}" for label in TWELVE], [str(label) for label in TWELVE]),
        ([f" {label}" for label in TWELVE], TWELVE),
    ],
    ids=["text and number", "number and text", "text and float", "float in a text", "zeros before", "blanks"],
)
@pytest.mark.parametrize("suffixes", [(".jsonl", ".jsonl"), (".csv", ".parquet"), (".parquet", ".csv")])
def test_one_label_is_one_class_in_every_split(
    train: list[Any], test: list[Any], suffixes: tuple[str, str], tmp_path: Path
) -> None:
    """However it is written: "10" is 10, in any format."""
    write(tmp_path / f"train{suffixes[0]}", labelled(train))
    write(tmp_path / f"test{suffixes[1]}", labelled(test, "other"))
    assert read(tmp_path) == ({"train": TWELVE, "test": TWELVE}, 12)


def test_words_are_numbered_as_in_training(tmp_path: Path) -> None:
    """In the order of the words, wherever they stand; digits among letters are words as well."""
    write(tmp_path / "train.csv", labelled(["b", "1", "a", "0"]))
    write(tmp_path / "test.csv", labelled(["1", "0"], "other"))
    assert read(tmp_path) == ({"train": [3, 1, 2, 0], "test": [1, 0]}, 4)


def test_shards_of_one_split_agree(tmp_path: Path) -> None:
    """Numbers in one file of a split and texts in the next are the same classes."""
    write(tmp_path / "train-0.jsonl", labelled([0, 1, 2]))
    write(tmp_path / "train-1.jsonl", labelled(["2", "1", "0"], "more"))
    write(tmp_path / "test.jsonl", labelled([1], "other"))
    assert read(tmp_path)[0]["train"] == [0, 1, 2, 2, 1, 0]


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        (["cat", "dog"], [0, 1], "'cat' in train in line 1 of train.jsonl; allowed: words everywhere"),
        ([0, 1], ["0", "cat"], "'cat' in test in line 2 of test.jsonl; allowed: words everywhere"),
        (["cat", "dog"], ["cat", "cow"], "'cow' in test in line 2 of test.jsonl; allowed: those in train"),
        (["cat", "dog", " cat"], ["dog"], "the labels ' cat' and 'cat'"),
        (["cat", "dog"], ["dog "], "the labels 'dog' and 'dog '"),
        (["0", "1", "NA"], ["1"], "the label 'NA' in train in line 3 of train.jsonl"),
        (["0", "1"], ["1", "?"], "the label '?' in test"),
        ([0, 1], ["nan"], "the label 'nan' in test"),
        (["cat", "dog", ""], ["cat"], "the label '' in train"),
        (["cat", "dog", "  "], ["cat"], "the label '  ' in train"),
        ([0, 1, None], [1], "a missing value in 'label' of train in line 3 of train.jsonl"),
        ([0, 1], [1, None], "a missing value in 'label' of test in line 2 of test.jsonl"),
        ([0, 1, 0.5], [1], "the label 0.5 in train in line 3 of train.jsonl"),
        (["0", "1.5"], ["0"], "the label 1.5 in train in line 2 of train.jsonl"),
        ([0, 1, 1000], [1], "labels up to 1000, of which only 3 occur"),
        (["0", "1", "1000"], ["1"], "labels up to 1000, of which only 3 occur"),
        ([2001, 2002, 2003], [2001], "labels up to 2003, of which only 3 occur"),
        ([0, 2**40], [0], "the label 1099511627776 in train"),
        ([[0], [1]], [[0]], "labels of the type list<item: int64> in train"),
        ([{"a": 1}], [{"a": 1}], "labels of the type struct<a: int64> in train"),
    ],
)  # fmt: skip
def test_labels_that_are_none_are_refused(
    train: list[Any], test: list[Any], words: str, tmp_path: Path
) -> None:
    """Words beside numbers, missing ones however written, two spellings, fractions, gaps, lists."""
    write(tmp_path / "train.jsonl", labelled(train))
    write(tmp_path / "test.jsonl", labelled(test, "other"))
    assert words in told(tmp_path)


def test_classes_named_otherwise_are_refused(tmp_path: Path) -> None:
    """The number 0 is a cat in one split and a dog in the other."""
    for split, names in (("train", ["cat", "dog"]), ("test", ["dog", "cat"])):
        features = datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
        )
        rows = {"text": [f"{split} a", "b"], "label": [0, 1]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"{split}.parquet")
    assert "the classes dog, cat in test; allowed: cat, dog, as in train" in told(tmp_path)


def test_a_split_without_labels_may_lie_there(tmp_path: Path) -> None:
    """Secret labels of a split that nobody asks for are no mistake; nor are gaps of a class or two."""
    write(tmp_path / "train.csv", labelled([1, 2, 4]))
    write(tmp_path / "validation.csv", labelled([1, 2], "other"))
    (tmp_path / "test.csv").write_text("text\nsecret\n")
    dataset = source(tmp_path, evaluate_on="validation")
    opened = dataset.load_source()

    assert (opened.labels("train").tolist(), opened.labels("validation").tolist()) == ([1, 2, 4], [1, 2])
    assert dataset.classes == 5
    with pytest.raises(ScenarioError, match="no column 'label' in test"):
        opened.labels("test")


# Which split a file belongs to.


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("data/train_test_split/train.csv", "data/train_test_split/test.csv"),
        ("test-bench/train/0.csv", "test-bench/test/0.csv"),
        ("train/a/train.csv", "train/a/test.csv"),
        ("validation-study/training.csv", "validation-study/eval.csv"),
        ("my-dev-set/train-00000-of-00001.parquet", "my-dev-set/test-00000-of-00001.parquet"),
        ("trainData.csv", "testData.csv"),
        ("trainset.jsonl", "testset.jsonl"),
        ("TRAIN.CSV".lower(), "Test.csv"),
    ],
)
def test_the_nearest_word_decides(train: str, test: str, tmp_path: Path) -> None:
    """The file's name before its folder's, that before the next."""
    write(tmp_path / train, labelled([0, 1, 1]))
    write(tmp_path / test, labelled([1, 0], "other"))
    assert read(tmp_path)[0] == {"train": [0, 1, 1], "test": [1, 0]}


def test_given_words_come_before_the_usual_ones(tmp_path: Path) -> None:
    """With `test: validation` that file is the test split, and no other."""
    write(tmp_path / "train.csv", labelled([0, 1, 1]))
    write(tmp_path / "validation.csv", labelled([1, 0], "other"))
    write(tmp_path / "test.csv", labelled([1, 1, 1, 1], "secret"))
    assert read(tmp_path, test="validation")[0] == {"train": [0, 1, 1], "test": [1, 0]}


@pytest.mark.parametrize(
    "name", ["train_test.csv", "train-vs-test/0.csv", "test.train.csv", "dev-test.csv", "val_train/0.jsonl"]
)
def test_a_file_of_two_splits_is_refused(name: str, tmp_path: Path) -> None:
    """Where its nearest name with such a word has two of them."""
    write(tmp_path / "train.csv", labelled([0, 1, 1]))
    write(tmp_path / "test.csv", labelled([1, 0], "other"))
    write(tmp_path / name, labelled([1, 0], "more"))
    assert f"{(tmp_path / name).relative_to(tmp_path)}: " in (message := told(tmp_path))
    assert "allowed: a file in one split" in message


def test_two_splits_of_one_word_are_refused(tmp_path: Path) -> None:
    """Given for both."""
    write(tmp_path / "all.csv", labelled([0, 1, 1]))
    assert "tells train and test" in told(tmp_path, train="all", test="all")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("train.csv", "test.csv"),
        ("train.csv", "train-copy.csv"),
        ("train.csv", "train.jsonl"),
        ("train.parquet", "test.csv"),
        ("train/0.jsonl", "validation/0.jsonl"),
    ],
)
@pytest.mark.parametrize("order", [1, -1], ids=["as it is", "backwards"])
def test_a_table_twice_is_refused(one: str, other: str, order: int, tmp_path: Path) -> None:
    """In two splits or in one, in two formats, its rows in another order."""
    rows = labelled([0, 1, 1, 0])
    write(tmp_path / one, rows)
    write(tmp_path / other, rows[::order])
    write(tmp_path / "test" / "more.csv", labelled([1, 0], "other"))
    message = told(tmp_path)
    assert "the same samples in" in message
    assert Path(one).name in message
    assert Path(other).name in message


@pytest.mark.parametrize(
    ("other", "spelling"),
    [
        ("train.jsonl", bool),
        ("train.parquet", bool),
        ("train.parquet", float),
        ("train.json", str),
        ("train-copy.csv", lambda label: f"0{label}"),
        ("train-copy.csv", lambda label: f"{label}.0"),
    ],
)
def test_labels_written_otherwise_make_no_other_table(other: str, spelling: Any, tmp_path: Path) -> None:
    write(tmp_path / "train.csv", labelled([0, 1, 1, 0]))
    write(tmp_path / other, [(f"{text} ", spelling(label)) for text, label in labelled([0, 1, 1, 0])])
    assert "the same samples in" in told(tmp_path)


def test_a_table_beside_its_parts_is_refused(tmp_path: Path) -> None:
    """All of its rows would count twice; a part that holds others, too, is no part."""
    rows = labelled([0, 1, 1, 0, 1])
    write(tmp_path / "train.csv", rows)
    write(tmp_path / "train-0.jsonl", rows[3:])
    write(tmp_path / "train-1.parquet", rows[:3])
    found = "the same samples in train.csv and in train-0.jsonl and train-1.parquet"
    assert found in told(tmp_path)
    write(tmp_path / "train-1.parquet", labelled([0, 1, 1], "other"))
    assert len(read(tmp_path)[0]["train"]) == 10


def test_a_packed_table_is_not_left_out_silently(tmp_path: Path) -> None:
    """Beside its unpacked file it is the same table, which counts once; alone it is refused."""
    write(tmp_path / "train.csv", labelled([0, 1, 1, 0]))
    write(tmp_path / "test.csv", labelled([0, 1], "other"))
    for packed in ("train.csv.gz", "test.csv.zip"):
        (tmp_path / packed).write_bytes(b"packed")
    assert read(tmp_path)[0] == {"train": [0, 1, 1, 0], "test": [0, 1]}
    (tmp_path / "train-1.jsonl.gz").write_bytes(b"packed")
    assert "train-1.jsonl.gz: a packed table" in told(tmp_path)
    assert "a packed table" in told(tmp_path / "train-1.jsonl.gz")


def test_a_link_to_a_table_is_the_same_table(tmp_path: Path) -> None:
    """A name alone makes no other samples."""
    write(tmp_path / "train.csv", labelled([0, 1, 1, 0]))
    (tmp_path / "test.csv").symlink_to(tmp_path / "train.csv")
    assert "the same samples in train.csv and in test.csv" in told(tmp_path)


def test_tables_of_one_length_may_differ(tmp_path: Path) -> None:
    """Equal texts with other labels, or equal labels of other texts, are no copies."""
    write(tmp_path / "train.csv", labelled([0, 1, 1, 0]))
    write(tmp_path / "test.csv", labelled([0, 1, 1, 1]))
    write(tmp_path / "validation.csv", labelled([0, 1, 1, 0], "other"))
    assert set(read(tmp_path)[0]) == {"train", "test", "validation"}


def picture_folder(place: Path) -> None:
    from PIL import Image

    for number in range(4):
        folder = place / "train" / ("a", "b")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 3), 50 * number, np.uint8)).save(folder / f"{number}.png")


def test_a_folder_of_images_twice_is_refused(tmp_path: Path) -> None:
    """A copy under other file names, or a link."""
    picture_folder(tmp_path)
    dataset = kinds()["huggingface"].model_validate({"kind": "huggingface", "path": str(tmp_path)})
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    (tmp_path / "test" / "a" / "0.png").rename(tmp_path / "test" / "a" / "9.png")
    with pytest.raises(ScenarioError, match="the same samples in train and in test"):
        dataset.read()
    shutil.rmtree(tmp_path / "test")
    (tmp_path / "test").symlink_to(tmp_path / "train")
    with pytest.raises(ScenarioError, match="one folder as train and test"):
        dataset.read()


def test_writers_are_numbers_or_texts_in_every_format(tmp_path: Path) -> None:
    """The column of natural clients: 2 before 10, however the file writes it."""
    for suffix, two, ten in ((".csv", 2, 10), (".jsonl", "2", "10"), (".parquet", 2, 10)):
        place = tmp_path / suffix[1:]
        write(place / f"train{suffix}", labelled([0, 1, 1, 0]))
        source_of = source(place, columns={"text": "text", "label": "label"}).load_source()
        assert source_of.column("train", "label").tolist() == [0, 1, 1, 0]
        write(place / f"train{suffix}", labelled([ten, two]))
        assert np.unique(source(place).load_source().column("train", "label")).tolist() == [2, 10]
