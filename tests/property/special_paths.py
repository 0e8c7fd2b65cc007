"""Paths that lead to no ordinary file, and every place of a scenario or a command that takes a path."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import data, read

from sflsim.experiment.run import Run
from sflsim.learning.graph.disk_store import DiskStore
from sflsim.planner.plan import Plan
from sflsim.record.folders import claimed, written
from sflsim.scenario import load_scenario
from sflsim.scenario.own_catalog import load_catalogs
from sflsim.session import Options, Session
from sflsim.sweeps.sweep import Sweep
from sflsim.terminal.reports import write_report

SPARSE_BYTES = 2**40
SHAKY = ("\0", "\ud800", "name\n", "\x1b[31m", "~nobody/x", "~", "", ".", "..", "/", "x" * 300, "x/" * 3000)
SYSTEM = ("/dev/zero", "/dev/null", "/dev/full", "/dev/random", "/proc/self/mem", "/proc/self/environ")
FILES = (
    "scenario.yaml", "run.json", "sweep.json", "plan.json", "spans.parquet", "train.csv", "train.parquet",
    "train.arrow", "train.jsonl", "train.tsv", "dev.tsv", "test.csv", "config.json", "model.safetensors",
    "model.safetensors.index.json", "tokenizer.json", "train-images-idx3-ubyte.gz",
    "data_batch_1.bin", "cifar-10-binary.tar.gz", "values-1-1.sqlite",
)  # fmt: skip


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the address of a socket has at most 107 characters
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(SPARSE_BYTES)


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing")


def make_link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


MAKERS: tuple[Callable[[Path], None], ...] = (
    make_fifo, make_socket, make_sparse, make_loop, make_link_to_nothing, make_link_to_device, make_folder,
    make_empty,
)  # fmt: skip


def special(folder: Path) -> list[str]:
    """Return special paths; those that need a file are made in a folder."""
    found = [*SHAKY, *SYSTEM]
    for make in MAKERS:
        for name in ("a.yaml", "a.csv", "a.parquet", "a.safetensors", "a.py", "a.tar.gz", "a"):
            path = folder / f"{make.__name__}-{name}"
            make(path)
            found.append(str(path))
        for name in FILES:
            inside = folder / f"with-{make.__name__}-{name}"
            inside.mkdir()
            make(inside / name)
            found.append(str(inside))
    only_test = folder / "only-test" / "test" / "cat"
    only_test.mkdir(parents=True)
    (folder / "only-test" / "test.csv").write_text("text,label\nyes,1\n", encoding="utf-8")
    around = folder / "around"
    around.mkdir()
    (around / "train").symlink_to(around)
    return [*found, str(only_test.parents[1]), str(around)]


def _run(**fields: Any) -> None:
    session = Session(read(data(**fields)), Options())
    session.check()
    session.check_files()


def _workload(**changed: Any) -> None:
    workload = {"model": {"kind": "mlp", "hidden": [8]}, "cut": 1, "batch_size": 8, **changed}
    _run(workload=workload)


def _fleet(**changed: Any) -> None:
    groups = [{"share": "100%", "device": "raspberry-pi-4", "link": "wifi"}]
    _run(fleet={"clients": 2, "groups": groups, **changed})


def _linked(**link: Any) -> None:
    _fleet(groups=[{"share": "100%", "device": "raspberry-pi-4", "link": link}])


def _dataset(kind: str) -> Callable[[str], None]:
    def use(path: str) -> None:
        dataset: dict[str, Any] = {"kind": kind, "path": path}
        if kind in ("sst-2", "huggingface"):
            dataset["tokenizer"] = path
        _workload(dataset=dataset)

    return use


def _write(path: str) -> None:
    with claimed(Path(path) / "below" if Path(path).is_absolute() else path) as claim, written(claim):
        raise InterruptedError  # nothing is left behind


def _store(path: str) -> None:
    store = DiskStore(path)
    store.put("key", (1.0,))
    store.get("key")
    store.close()


PLACES: dict[str, Callable[[str], Any]] = {
    "scenario": load_scenario,
    "catalog": lambda path: load_catalogs([Path(path)]),
    "catalog in a scenario": lambda path: _run(catalog=path),
    "delays": lambda path: _fleet(straggler={"kind": "empirical", "file": path}),
    "rates": lambda path: _fleet(
        groups=[{"share": "100%", "device": "raspberry-pi-4", "link": {"kind": "trace", "file": path}}]
    ),
    "availability": lambda path: _fleet(availability={"kind": "trace", "file": path}),
    "phones": lambda path: _fleet(availability={"kind": "flash", "file": path}),
    "packets": lambda path: _linked(up={"kind": "mahimahi", "file": path}, down="1 Mbit/s"),
    "profile": lambda path: _fleet(
        groups=[{"device": {"compute": "1 GFLOP/s", "profile": {"file": path}}, "link": "wifi"}]
    ),
    "percentiles": lambda path: _linked(kind="iqb", file=path),
    **{kind: _dataset(kind) for kind in ("mnist", "cifar-10", "cinic-10", "sst-2", "huggingface")},
    "weights": lambda path: _workload(model={"kind": "mlp", "hidden": [8], "weights": path}),
    "transformer": lambda path: _workload(model={"kind": "transformer", "name": path}),
    "torch-module": lambda path: _workload(model={"kind": "torch-module", "module": f"{path}:net"}),
    "run": Run.load,
    "sweep": Sweep.load,
    "plan": Plan.load,
    "report": lambda path: write_report(Path(path), Path("never.html")),
    "out": _write,
    "store": _store,
}  # fmt: skip
