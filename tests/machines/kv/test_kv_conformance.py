"""The public suite for state machines, run on the key-value machine."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import strategies as st

from qcore.machines.interface import StateMachine
from qcore.machines.kv.kv_machine import KeyValueMachine
from qcore.testing.conformance.state_machine_conformance import StateMachineConformance
from tests.machines.kv.test_kv_properties import COMMANDS, KEYS

#: Keys and values that are no UTF-8.
BYTES = st.sampled_from(["/w==", "gIA=", "AP8="]).map(lambda text: {"base64": text})
BINARY = st.fixed_dictionaries(
    {"op": st.just("put"), "key": KEYS | BYTES, "value": st.just("x") | BYTES}
) | st.fixed_dictionaries({"op": st.just("delete"), "key": BYTES})


class TestKeyValueMachine(StateMachineConformance):
    """Runs the inherited suite."""

    def make(self) -> StateMachine:
        return KeyValueMachine()

    def commands(self) -> st.SearchStrategy[str]:
        return (COMMANDS | BINARY).map(json.dumps) | st.just("nonsense")

    def queries(self) -> Sequence[str]:
        return ['{"op":"range","prefix":""}', '{"op":"leases"}', '{"op":"status"}']
