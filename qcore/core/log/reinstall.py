"""Replaces the state and the log of a follower whose log may hold other entries below its commit index.

Raft never looks at committed entries again, so nothing else repairs them. The leader notes `through`, its last index
at the time of the request, and sends this follower no entry beyond that. Once it holds a snapshot through that index or
a later one, it sends that with `InstallSnapshot.reinstall`. The follower drops its whole log for it.

The follower may have acknowledged each entry that it drops, and a quorum may rest on that. So the snapshot must cover
all that may be committed. It does: the leader holds every entry that was committed before its term, and it sent no
entry of its term beyond `through`. If the follower's log goes beyond the snapshot with an entry of the leader's term,
then the chunk is a late one, of a snapshot that was installed before. The follower drops it.
"""

from __future__ import annotations

from qcore.core.events import Reinstall
from qcore.core.log import compaction
from qcore.core.raft_server import RaftServer


def on_reinstall(server: RaftServer, event: Reinstall) -> None:
    """A request began or was cancelled."""
    progress = server.progress.get(event.peer_id)
    if server.role != "leader" or progress is None:
        return
    if event.cancel:
        if progress.reinstall_through is not None:
            progress.reinstall_through = None
            progress.become_probe(progress.match + 1)
        return
    if progress.reinstall_through is None:
        progress.reinstall_through = server.log.last_index
    send_due(server)


def send_due(server: RaftServer) -> None:
    """Begin to send the snapshot to the followers that wait for one, if it covers enough."""
    if server.snapshot is None or server.contained:
        return
    index = server.snapshot.meta.last_included_index
    for peer, progress in server.progress.items():
        through = progress.reinstall_through
        sending = progress.snapshot is not None and progress.snapshot.reinstall
        if through is not None and through <= index and not sending:
            compaction.send_snapshot(server, peer, progress)
