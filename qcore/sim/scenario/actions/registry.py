"""All actions of a timeline: the key that a scenario file uses for each, and the groups that some belong to."""

from __future__ import annotations

from qcore.sim.scenario.actions.admin_actions import (
    AddLearnerAction,
    ChangeMembersAction,
    Join,
    RemoveAction,
    TransferAction,
)
from qcore.sim.scenario.actions.disk_clock_actions import (
    BitRot,
    ClockAction,
    ClockJump,
    DiskError,
    DiskRecover,
    DiskSlow,
    DiskStall,
    FullDisk,
)
from qcore.sim.scenario.actions.message_actions import Drop, Hold, Release
from qcore.sim.scenario.actions.network_actions import (
    Clog,
    Cut,
    Deaf,
    Heal,
    Isolate,
    LinkChange,
    Mute,
    Partition,
    SwizzleClog,
    link_change_of,
)
from qcore.sim.scenario.actions.node_actions import (
    CampaignAction,
    Crash,
    CrashLoop,
    Pause,
    PowerLoss,
    Restart,
    Resume,
    SlowCpu,
    TakeSnapshotAction,
    Wipe,
)
from qcore.sim.scenario.actions.operation_actions import OperationAction
from qcore.sim.scenario.actions.repair_action import Repair

Action = (
    Partition
    | Isolate
    | Cut
    | Deaf
    | Mute
    | Clog
    | SwizzleClog
    | Heal
    | LinkChange
    | Crash
    | CrashLoop
    | PowerLoss
    | Wipe
    | Restart
    | Pause
    | Resume
    | SlowCpu
    | DiskStall
    | DiskSlow
    | DiskError
    | FullDisk
    | BitRot
    | DiskRecover
    | ClockAction
    | ClockJump
    | CampaignAction
    | TakeSnapshotAction
    | OperationAction
    | Drop
    | Hold
    | Release
    | Join
    | AddLearnerAction
    | ChangeMembersAction
    | RemoveAction
    | TransferAction
    | Repair
)

#: Key of a timeline item -> the model that reads its value.
ACTIONS: dict[str, type[Action]] = {
    "partition": Partition,
    "isolate": Isolate,
    "cut": Cut,
    "deaf": Deaf,
    "mute": Mute,
    "clog": Clog,
    "swizzle_clog": SwizzleClog,
    "heal": Heal,
    "links": LinkChange,
    "network": LinkChange,
    "latency_ms": LinkChange,
    "loss": LinkChange,
    "duplicate": LinkChange,
    "reorder": LinkChange,
    "corrupt": LinkChange,
    "crash": Crash,
    "kill": Crash,
    "crash_loop": CrashLoop,
    "power_loss": PowerLoss,
    "wipe": Wipe,
    "restart": Restart,
    "start": Restart,
    "pause": Pause,
    "resume": Resume,
    "slow_cpu": SlowCpu,
    "disk_stall": DiskStall,
    "disk_slow": DiskSlow,
    "disk_error": DiskError,
    "disk_full": FullDisk,
    "bit_rot": BitRot,
    "disk_recover": DiskRecover,
    "clock": ClockAction,
    "clock_jump": ClockJump,
    "campaign": CampaignAction,
    "snapshot": TakeSnapshotAction,
    "write": OperationAction,
    "read": OperationAction,
    "drop": Drop,
    "hold": Hold,
    "release": Release,
    "join": Join,
    "add_learner": AddLearnerAction,
    "change_members": ChangeMembersAction,
    "members": ChangeMembersAction,
    "remove": RemoveAction,
    "transfer": TransferAction,
    "repair": Repair,
}

#: Actions that `for_ms` can end.
REVERSIBLE = (
    Partition,
    Isolate,
    Cut,
    Deaf,
    Mute,
    Clog,
    SwizzleClog,
    LinkChange,
    Crash,
    CrashLoop,
    PowerLoss,
    Wipe,
    Pause,
    SlowCpu,
    DiskStall,
    DiskSlow,
    DiskError,
    FullDisk,
    ClockAction,
    ClockJump,
    Drop,
    Hold,
)

#: Actions that end faults. They are not faults themselves, so a run may pass in which they find nothing to do.
REPAIRS = (Heal, Restart, Resume, DiskRecover, Release, Repair)


def read_action(key: str, value: object) -> Action:
    """Read one action.

    Args:
        key: a key of `ACTIONS`.
        value: what the scenario file gives for it.

    Raises:
        pydantic.ValidationError: the value does not fit the action.
    """
    if key in ("latency_ms", "loss", "duplicate", "reorder", "corrupt"):
        return LinkChange.model_validate(link_change_of(key, value))
    if key in ("write", "read"):
        fields = value if isinstance(value, dict) else {"node": value}
        return OperationAction.model_validate({"op": key, **fields})
    return ACTIONS[key].model_validate(value)
