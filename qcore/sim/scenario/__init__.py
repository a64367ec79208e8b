"""Scenario files: the models of their parts, the rules that they must obey, and how they are found and read."""

from qcore.sim.scenario.load import load_scenario, parse_scenario
from qcore.sim.scenario.model import Scenario

__all__ = ["Scenario", "load_scenario", "parse_scenario"]
