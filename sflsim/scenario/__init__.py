"""One experiment as a file: its schema, its reading with lines and errors, its writing."""

from sflsim.scenario.loading import load_scenario, parse_scenario
from sflsim.scenario.schema import Evaluate, Scenario, Stop, json_schema

__all__ = ["Evaluate", "Scenario", "Stop", "json_schema", "load_scenario", "parse_scenario"]
