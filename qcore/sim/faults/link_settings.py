"""The settings of links: how a scenario names them, and how the simulator and the ledger do."""

from __future__ import annotations

from dataclasses import replace

from qcore.sim.scenario.specs.network_spec import QualitySpec
from qcore.sim.world.network import LinkQuality

#: Setting of a scenario -> attribute of `LinkQuality`.
_SETTINGS = {
    "latency_ms": "latency",
    "loss": "loss",
    "duplicate": "duplicate",
    "reorder": "reorder",
    "reorder_extra_ms": "reorder_extra",
    "corrupt": "corrupt",
    "bandwidth_bytes_per_s": "bandwidth_bytes_per_s",
    "queue_length": "queue_length",
}

#: The settings that harm some messages.
_IMPAIRMENTS = (
    "loss",
    "duplicate",
    "reorder",
    "corrupt",
    "bandwidth_bytes_per_s",
    "queue_length",
)


def with_spec(quality: LinkQuality, spec: QualitySpec) -> LinkQuality:
    """`quality` with the settings that `spec` has."""
    settings = {
        name: getattr(spec, setting)
        for setting, name in _SETTINGS.items()
        if getattr(spec, setting) is not None
    }
    return replace(quality, **settings)


def impairments_of(spec: QualitySpec) -> list[str]:
    """The settings of `spec` that harm some messages, so that each harmed message can be counted."""
    return [_short(name) for name in _IMPAIRMENTS if getattr(spec, name)]


def impairment_text(spec: QualitySpec, impairment: str) -> str:
    """One of `impairments_of(spec)` with its value, as in the trace."""
    setting = f"{impairment}_bytes_per_s" if impairment == "bandwidth" else impairment
    return f"{setting} {getattr(spec, setting)}"


def differing_settings(one: LinkQuality, other: LinkQuality) -> list[str]:
    """The settings in which the two differ, as keys of `Link.faults_by_setting`."""
    return [
        _short(name) for name in _SETTINGS.values() if getattr(one, name) != getattr(other, name)
    ]


def _short(setting: str) -> str:
    return setting.removesuffix("_bytes_per_s")
