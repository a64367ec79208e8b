"""The keys of a scenario that are settings of a replica, generated from `RaftConfig` and `ReplicaConfig`.

A new field of these classes is a key of `cluster` and of the settings of single nodes, without further code. A setting
with a key of another form, such as `election_timeout_ms`, names this key; `ClusterSpec` and `NodeSettings` define it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, create_model

from qcore.replica.config import ReplicaConfig
from qcore.settings import LARGEST, SettingField, settings_of
from qcore.sim.scenario.values import Spec

#: The settings whose key is the name of their field.
SETTING_KEYS: Final = tuple(
    each for each in settings_of(ReplicaConfig) if each.scenario_key == each.field.name
)


def _type_of(each: SettingField) -> Any:  # an annotation
    about = each.about
    largest = LARGEST if about.maximum is None and about.bounded else about.maximum
    bounds = Field(ge=about.minimum, gt=about.above, le=largest, strict=True)
    return Annotated[each.type, bounds]


def _described(each: SettingField, default: object) -> Any:  # a field
    return Field(default=default, description=each.about.text)


if TYPE_CHECKING:  # the keys are read by name, with `getattr`

    class ClusterKeys(Spec):
        """The keys of the cluster."""

    class NodeKeys(Spec):
        """The same for a single node. None: as in the cluster."""

else:
    ClusterKeys = create_model(
        "ClusterKeys",
        __base__=Spec,
        **{
            each.field.name: (_type_of(each), _described(each, each.field.default))
            for each in SETTING_KEYS
        },
    )
    NodeKeys = create_model(
        "NodeKeys",
        __base__=Spec,
        **{
            each.field.name: (_type_of(each) | None, _described(each, None))
            for each in SETTING_KEYS
        },
    )
