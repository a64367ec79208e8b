"""Scenario files: their model, and how they are read."""

from qcore.sim.scenario.load import load_scenario, parse_scenario
from qcore.sim.scenario.model import Scenario

__all__ = ["Scenario", "load_scenario", "parse_scenario"]
