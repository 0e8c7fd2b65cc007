"""The algorithms that the testbed has, by name."""

from __future__ import annotations

from testbed.cse_fsl import CseFsl
from testbed.first_order import SplitFedV1, SplitFedV2
from testbed.gas import Gas
from testbed.ho_sfl import HoSfl
from testbed.mu_splitfed import MuSplitFed
from testbed.sides import Sides
from testbed.unsplit import FedAvg, FedBuff

SIDES: dict[str, type[Sides]] = {
    "splitfed-v1": SplitFedV1,
    "splitfed-v2": SplitFedV2,
    "mu-splitfed": MuSplitFed,
    "ho-sfl": HoSfl,
    "cse-fsl": CseFsl,
    "gas": Gas,
    "fedavg": FedAvg,
    "fedbuff": FedBuff,
}
