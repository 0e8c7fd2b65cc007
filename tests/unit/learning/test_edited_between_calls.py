"""A result equals that of a fresh process without a store, whatever was edited in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import transformers

import sflsim
from sflsim.errors import ScenarioError
from sflsim.learning import stamps, user_code
from sflsim.learning.data.text import load_tokenizer
from sflsim.learning.models.transformer import Transformer
from sflsim.learning.user_code import imported, look_again, version_of
from sflsim.session.session import Options, Session

NETWORK = """
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from torch import nn
from parts.layers import Scaled

def small():
    from parts.sizes import WIDTH
    return nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH), Scaled(), nn.Linear(WIDTH, 10))
"""
LAYERS = """
import json, pathlib
from torch import nn
from . import sizes
from .constants import SCALE

FACTOR = json.loads((pathlib.Path(__file__).parent / "factor.json").read_text())

class Scaled(nn.Module):
    def forward(self, x):
        return x * SCALE * FACTOR
"""
SCENARIO = """
name: own
workload: {model: {kind: torch-module, module: 'network.py:small'}, cut: 2, batch_size: 16}
fleet: {clients: 2, groups: [{device: raspberry-pi-5}]}
variants: [{algorithm: splitfed-v1, client_optimizer: {lr: 0.1}}]
stop: {rounds: 1}
evaluate: {every: 1 round}
"""
RUN = """
import json, sys
import sflsim
from pathlib import Path
text, cache = sys.argv[1], sys.argv[2] or None
run = sflsim.simulate(sflsim.load_scenario(text, trust=True), cache=cache)
print(json.dumps(run.evaluations["loss"].tolist()))
"""


def losses(scenario: Path, cache: Path | None) -> list[float]:
    return losses_of(sflsim.load_scenario(scenario, trust=True), cache)


def losses_of(scenario: sflsim.Scenario, cache: Path | None) -> list[float]:
    run = sflsim.simulate(scenario, cache=cache)
    return [float(loss) for loss in run.evaluations["loss"]]


def fresh(scenario: Path, cache: Path | None = None) -> list[float]:
    """Return the losses as a process of its own computes them, with or without a store."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(scenario), str(cache or "")],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    found: list[float] = json.loads(done.stdout)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    path = list(sys.path)
    (tmp_path / "parts").mkdir()
    (tmp_path / "network.py").write_text(NETWORK)
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "layers.py").write_text(LAYERS)
    (tmp_path / "parts" / "sizes.py").write_text("WIDTH = 8\n")
    (tmp_path / "parts" / "constants.py").write_text("SCALE = 1.0\n")
    (tmp_path / "parts" / "factor.json").write_text("1.0")
    (tmp_path / "own.yaml").write_text(SCENARIO)
    yield tmp_path
    sys.path[:] = path
    for name in [
        name for name in sys.modules if name == "sflsim_scenario_network" or name.split(".")[0] == "parts"
    ]:
        del sys.modules[name]


EDITS = {
    "the network's file": ("network.py", NETWORK.replace("64, WIDTH", "64, WIDTH, bias=False")),
    "what it imports": ("parts/layers.py", LAYERS.replace("x * SCALE", "x.tanh() * SCALE")),
    "what it imports within a function": ("parts/sizes.py", "WIDTH = 9\n"),
    "what that imports": ("parts/constants.py", "SCALE = 3.0\n"),
}  # fmt: skip


def test_code_edited_between_two_calls_of_one_process(folder: Path) -> None:
    """Each edit gives another result at once, and undoing it the old one, with a store and without."""
    scenario, cache = folder / "own.yaml", folder / "cache"
    first = losses(scenario, cache)
    seen, loaded = [first], sflsim.load_scenario(scenario, trust=True)
    for file, text in EDITS.values():
        before = (folder / file).read_text()
        (folder / file).write_text(text)
        found = losses(scenario, cache)
        assert found not in seen, file
        assert losses_of(loaded, cache) == found, file
        assert found == losses(scenario, None), file
        seen.append(found)
        (folder / file).write_text(before)
        assert losses(scenario, cache) == first, file


def test_what_the_check_refuses_is_said_with_both_places(folder: Path) -> None:
    """The scenario's line and the line of the class in the user's file; it is refused before any round."""
    layers = LAYERS.replace("x * SCALE * FACTOR", "nn.functional.dropout(x, 0.9, training=self.training)")
    (folder / "parts" / "layers.py").write_text(layers)
    scenario = sflsim.load_scenario(folder / "own.yaml", trust=True)
    with pytest.raises(ScenarioError) as caught:
        Session(scenario, Options()).check()
    line = 1 + layers.split("class Scaled")[0].count("\n")
    assert f"Scaled, layers.py:{line}), which draws random numbers in training" in str(caught.value)
    assert "own.yaml:3" in str(caught.value)


@pytest.mark.slow
def test_code_edited_between_two_processes(folder: Path) -> None:
    """What another process computed of the old code, or with an old file, is not taken for the new one's."""
    scenario, cache = folder / "own.yaml", folder / "cache"
    seen = [fresh(scenario, cache)]
    for file, text in (EDITS["what that imports"], ("parts/factor.json", "4.0")):
        (folder / file).write_text(text)
        found = fresh(scenario, cache)
        assert found not in seen, file
        seen.append(found)
    assert found == losses(scenario, None)


def test_a_module_by_its_name_is_imported_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "edited_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("from edited_package.two import VALUE\n")
    (package / "two.py").write_text("VALUE = 1\n")
    assert imported("edited_package.one").VALUE == 1
    version = version_of("edited_package.one")
    assert imported("edited_package.one") is imported("edited_package.one")
    (package / "two.py").write_text("VALUE = 2\n")  # as many bytes
    assert imported("edited_package.one").VALUE == 2
    assert version_of("edited_package.one") != version


def test_code_edited_after_its_import_is_this_processs_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registered component runs as it was imported, so its file's new text must not name its values."""
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "edited_component.py"
    file.write_text("VALUE = 1\n")
    monkeypatch.setattr(user_code, "STARTED_NS", time.time_ns() + 10**9)  # as if this process began now
    __import__("edited_component")
    command = (
        "import time; from sflsim.learning import user_code; user_code.STARTED_NS = time.time_ns() + 10**9;"
        "print(user_code.version_of('edited_component').hex())"
    )

    def elsewhere() -> str:
        done = subprocess.run(
            [sys.executable, "-c", command], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        )  # fmt: skip
        return done.stdout.strip()

    assert version_of("edited_component").hex() == elsewhere()
    file.write_text("VALUE = 2\n")
    os.utime(file, ns=(1, 1))
    monkeypatch.setattr(user_code, "STARTED_NS", file.stat().st_ctime_ns - 10**9)
    look_again()
    assert version_of("edited_component").hex() != elsewhere()


def csv_scenario(folder: Path, swapped: bool) -> Path:
    """Write a table of two classes, of which the words tell the class; or the other way round."""
    pairs = [(word, label) for label, word in enumerate(("aa", "bb"))]
    rows = [f"{word} {number},{label ^ swapped}" for number in range(20) for word, label in pairs]
    (folder / "data").mkdir(exist_ok=True)
    for split in ("train", "test"):
        lines = rows if split == "train" else rows[:8]
        (folder / "data" / f"{split}.csv").write_text("\n".join(["text,label", *lines, ""]))
    text = """
        name: words
        workload:
          dataset: {kind: huggingface, path: data, tokenizer: tokenizer.json, max_length: 3}
          model: {kind: transformer, config: {model_type: bert, hidden_size: 8, num_hidden_layers: 1,
                  num_attention_heads: 1, intermediate_size: 8, vocab_size: 40, max_position_embeddings: 8}}
          cut: 1
          batch_size: 8
        fleet: {clients: 2, groups: [{device: raspberry-pi-5}]}
        variants: [splitfed-v1]
        stop: {rounds: 1}
        evaluate: {every: 1 round}
    """
    (folder / "words.yaml").write_text(textwrap.dedent(text))
    return folder / "words.yaml"


def write_tokenizer(folder: Path, first: str) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = ["<unk>", *(("aa", "bb") if first == "aa" else ("bb", "aa")), *map(str, range(20))]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.mark.slow
def test_data_and_tokenizer_edited_between_two_calls(tmp_path: Path) -> None:
    """Files of the same size, written anew at once: another result, as of a fresh process."""
    write_tokenizer(tmp_path, "aa")
    scenario, cache = csv_scenario(tmp_path, swapped=False), tmp_path / "cache"
    loaded = sflsim.load_scenario(scenario)
    before = losses(scenario, cache)
    assert losses_of(loaded, cache) == before
    csv_scenario(tmp_path, swapped=True)
    after = losses(scenario, cache)
    assert after != before
    assert losses_of(loaded, cache) == after  # the object that was loaded before
    write_tokenizer(tmp_path, "bb")
    last = losses(scenario, cache)
    assert last not in (before, after)
    assert last == fresh(scenario)
    csv_scenario(tmp_path, swapped=False)
    write_tokenizer(tmp_path, "aa")
    assert losses(scenario, cache) == before


def test_classes_sizes_and_tokens_follow_the_files(tmp_path: Path) -> None:
    """What a data set tells without being loaded."""
    write_tokenizer(tmp_path, "aa")
    scenario = sflsim.load_scenario(csv_scenario(tmp_path, swapped=False))
    dataset = scenario.workload.dataset
    assert (dataset.classes, len(dataset.training_labels())) == (2, 40)
    table = tmp_path / "data" / "train.csv"
    table.write_text(table.read_text() + "cc 1,2\n")
    assert (dataset.classes, len(dataset.training_labels())) == (3, 41)
    assert load_tokenizer(dataset.tokenizer) is load_tokenizer(dataset.tokenizer)


def test_a_models_folder_is_read_anew(tmp_path: Path) -> None:
    for layers in (1, 2):
        config = {"hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 20}
        transformers.BertConfig(num_hidden_layers=layers, **config).save_pretrained(tmp_path / "bert")
        assert len(Transformer(name=str(tmp_path / "bert")).block_names) == layers + 1


def test_a_stamp_sees_what_times_hide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size and time of change as before: the times of the file's entry, and a fresh file's content, tell."""
    file = tmp_path / "deep" / "file"
    file.parent.mkdir()
    file.write_text("one")
    os.utime(file, ns=(10**9, 10**9))
    first = stamps.stamp_of(tmp_path)
    assert stamps.stamp_of(tmp_path) == first
    file.write_text("two")
    os.utime(file, ns=(10**9, 10**9))
    assert stamps.stamp_of(tmp_path) != first
    facts = os.stat(file)
    with monkeypatch.context() as patched:  # a file system that keeps no better times
        patched.setattr(os, "stat", lambda *args, **more: facts)
        second = stamps.stamp_of(file)
        with open(file, "r+") as content:
            content.write("2wo")
        assert stamps.stamp_of(file) != second
    assert stamps.stamp_of(tmp_path / "nothing", None) == ""
