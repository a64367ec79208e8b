"""Effects, messages and servers as short, readable lines, for the command scripts."""

from __future__ import annotations

from typing import cast

from qcore.core import Entry, Membership, RaftCore
from qcore.core.effects import (
    AppendLog,
    Apply,
    ChangeAccepted,
    ChangeRejected,
    Effect,
    MembershipChanged,
    MessageDropped,
    ProposalAccepted,
    ProposalRejected,
    ReadReady,
    ReadRejected,
    RestoreMachine,
    RoleChanged,
    SaveCommit,
    SaveHardState,
    Send,
    StoreSnapshot,
    TransferRejected,
    TransferStarted,
    TruncateLog,
    VoteGranted,
)
from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    PreVote,
    PreVoteResponse,
    RaftMessage,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)


def entry_text(entry: Entry) -> str:
    """`index.term` and the content: a command, `noop`, `configuration` or `version`."""
    what = {"noop": "noop", "membership": "configuration", "version": "version"}.get(
        entry.kind, entry.data
    )
    return f"{entry.index}.{entry.term}:{what}"


def entries_text(entries: list[Entry]) -> str:
    return " ".join(map(entry_text, entries)) or "-"


def membership_text(membership: Membership) -> str:
    parts = ["voters " + ",".join(map(str, membership.voters))]
    for name in ("voters_outgoing", "learners", "learners_next"):
        ids: tuple[int, ...] = getattr(membership, name)
        if ids:
            parts.append(f"{name.removeprefix('voters_')} " + ",".join(map(str, ids)))
    if not membership.auto_leave:
        parts.append("until LeaveJoint")
    return " ".join(parts)


def message_text(message: RaftMessage) -> str:
    """One message; terms are written `t`, log positions `index.term`."""
    match message:
        case RequestVote():
            last = f"{message.last_log_index}.{message.last_log_term}"
            return f"RequestVote t{message.term} last {last}"
        case RequestVoteResponse():
            return f"RequestVoteResponse t{message.term} {_granted(message.vote_granted)}"
        case PreVote():
            last = f"{message.last_log_index}.{message.last_log_term}"
            why = " transfer" if message.leadership_transfer else ""
            return f"PreVote t{message.term} for t{message.next_term} last {last}{why}"
        case PreVoteResponse():
            granted = _granted(message.vote_granted)
            return f"PreVoteResponse t{message.term} for t{message.next_term} {granted}"
        case AppendEntries():
            prev = f"{message.prev_log_index}.{message.prev_log_term}"
            entries = entries_text(message.entries)
            commit = message.leader_commit
            return (
                f"Append t{message.term} prev {prev} commit {commit} [{entries}]{_round(message)}"
            )
        case AppendEntriesResponse(success=True):
            return f"AppendResponse t{message.term} match {message.match_index}{_round(message)}"
        case AppendEntriesResponse():
            hint = f"{message.hint_index}.{message.hint_term}"
            return f"AppendResponse t{message.term} rejects {message.prev_log_index} hint {hint}{_round(message)}"
        case InstallSnapshot():
            last = f"{message.last_included_index}.{message.last_included_term}"
            return (
                f"InstallSnapshot t{message.term} through {last}{_part(message)}{_round(message)}"
            )
        case InstallSnapshotResponse():
            offset = "" if message.match_index else f" next {message.next_offset}"
            return f"InstallSnapshotResponse t{message.term} match {message.match_index}{offset}{_round(message)}"
        case TimeoutNow():
            reach = ",".join(map(str, message.must_reach))
            return f"TimeoutNow t{message.term}" + (f" must reach {reach}" if reach else "")
        case TimeoutNowResponse():
            return f"TimeoutNowResponse t{message.term} {_accepted(message.accepted)}"


def _accepted(accepted: bool) -> str:
    return "accepted" if accepted else "rejected"


def _granted(granted: bool) -> str:
    return "granted" if granted else "rejected"


def _part(message: InstallSnapshot) -> str:
    """The characters in a chunk, if it is not the whole snapshot."""
    if len(message.data) == message.total:
        return ""
    return f" part {message.offset}..{message.offset + len(message.data)} of {message.total}"


def _round(
    message: AppendEntries | AppendEntriesResponse | InstallSnapshot | InstallSnapshotResponse,
) -> str:
    return f" round {message.round}" if message.round else ""


def effect_text(effect: Effect) -> str:
    """One effect. Writes are numbered `w`; a send that waits for a write names it."""
    match effect:
        case SaveHardState(write_id=write_id, hard_state=hard_state):
            return f"w{write_id} save t{hard_state.term} vote {hard_state.voted_for or '-'}"
        case AppendLog(write_id=write_id, entries=entries):
            return f"w{write_id} append {entries_text(entries)}"
        case TruncateLog(write_id=write_id, from_index=from_index):
            return f"w{write_id} truncate from {from_index}"
        case StoreSnapshot(write_id=write_id, snapshot=snapshot, compact_through=through):
            meta = snapshot.meta
            rest = ", reset the log" if effect.reset_log else f", compact through {through}"
            last = f"{meta.last_included_index}.{meta.last_included_term}"
            return f"w{write_id} snapshot through {last}{rest}"
        case SaveCommit(commit=commit):
            return f"commit {commit}"
        case Send(to=to, message=message, after=after):
            return f"-> {to} {message_text(cast(RaftMessage, message))}" + (
                f" (after w{after})" if after else ""
            )
        case Apply(entries=entries):
            return f"apply {entries_text(entries)}"
        case RestoreMachine(snapshot=snapshot):
            return f"restore snapshot {snapshot.meta.last_included_index}"
        case RoleChanged(role=role, term=term, leader_id=leader_id):
            return f"{role} t{term} leader {leader_id or '-'}"
        case VoteGranted(term=term, candidate_id=candidate_id):
            return f"votes for {candidate_id} in t{term}"
        case MembershipChanged(membership=membership, index=index):
            return f"configuration at {index}: {membership_text(membership)}"
        case ProposalAccepted(first_index=first, count=count, term=term):
            return f"accepted {first}..{first + count - 1} in t{term}"
        case ProposalRejected(reason=reason):
            return f"rejected: {reason}"
        case ReadReady(read_id=read_id, index=index):
            return f"read {read_id} ready at {index}"
        case ReadRejected(read_id=read_id):
            return f"read {read_id} rejected"
        case ChangeAccepted(index=index, term=term):
            return f"change begins at {index} in t{term}"
        case ChangeRejected(name=name, reason=reason):
            return f"change rejected ({name}): {reason}"
        case TransferStarted(target=target):
            return f"transfer to {target} begins"
        case TransferRejected(name=name, reason=reason):
            return f"transfer rejected ({name}): {reason}"
        case MessageDropped(from_id=from_id, reason=reason):
            return f"ignored from {from_id}: {reason}"


#: What a `quiet` command shows.
SHOWN_WHEN_QUIET = (
    RoleChanged,
    TruncateLog,
    StoreSnapshot,
    RestoreMachine,
    MembershipChanged,
    ProposalRejected,
    ReadReady,
    ReadRejected,
    ChangeRejected,
    TransferRejected,
    MessageDropped,
)


def status_text(core: RaftCore) -> str:
    status = core.status()
    last = f"{status.last_log_index}.{status.last_log_term}"
    text = f"{status.role} t{status.term} leader {status.leader_id or '-'} last {last} commit {status.commit_index}"
    if status.durable_index != status.last_log_index:
        text += f" durable {status.durable_index}"
    if core.transferring:
        text += " transferring"
    return text


def log_text(core: RaftCore) -> str:
    status = core.status()
    entries = entries_text(core.log_entries())
    if status.first_log_index > 1:
        return f"(snapshot {status.snapshot_index}.{status.snapshot_term}) {entries}"
    return entries


def progress_lines(core: RaftCore) -> list[str]:
    return [
        f"{peer}: {p.state} match {p.match} next {p.next} inflight {p.inflight_messages}"
        for peer, p in core.status().peers.items()
    ]
