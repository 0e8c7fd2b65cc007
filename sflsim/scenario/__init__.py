"""One experiment as a file: its schema, its reading with lines and errors, its writing."""

from sflsim.scenario.loading import load_scenario, parse_scenario
from sflsim.scenario.schema import Scenario, json_schema
from sflsim.scenario.stop import Evaluate, Stop

__all__ = ["Evaluate", "Scenario", "Stop", "json_schema", "load_scenario", "parse_scenario"]
