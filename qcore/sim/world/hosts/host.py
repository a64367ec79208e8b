"""`Host`: one simulated computer, which runs one process at a time. `HostTable`: all of them, by name and address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.hosts.host_loop import HostLoop, Processor, new_host_loop
from qcore.sim.world.hosts.host_runtime import HostRuntime
from qcore.sim.world.hosts.segments import Segment
from qcore.sim.world.hosts.tcp_kernel import TcpKernel
from qcore.sim.world.network import Network
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.programs.sim_loop import OnError
from qcore.sim.world.random_streams import Streams

_BYTE: Final = 256


class Host:
    """One computer. It has power, and no process until `boot`.

    Args:
        vertex: its vertex in the network.
        name: its name, without a port.
        ip: its address.
        clock: its clocks.
        timer_clock: what the timers of its process follow, and `Runtime.seconds`.
        processor: what the work of its process costs.
        table: all computers.

    Attributes:
        kernel: its TCP.
        powered: whether it has power.
        lives: how many processes it has run.
        on_error: learns of errors that escape from callbacks of its process, and from tasks.
        on_standstill: called if its process takes turns for ever in no time.
    """

    def __init__(
        self,
        vertex: int,
        name: str,
        ip: str,
        clock: NodeClock,
        timer_clock: NodeClock,
        processor: Processor,
        table: HostTable,
    ) -> None:
        self.vertex = vertex
        self.name = name
        self.ip = ip
        self.clock = clock
        self._timer_clock = timer_clock
        self.processor = processor
        self.powered = True
        self.lives = 0
        self.on_error: OnError = lambda _owner, _error, _what: None
        self.on_standstill: Callable[[], None] = lambda: None
        self._table = table
        self._loop: HostLoop | None = None
        self._runtime: HostRuntime | None = None
        self._boots = 0
        self.kernel = self._new_kernel()

    def _new_kernel(self) -> TcpKernel:
        self._boots += 1
        table = self._table
        rng = table.streams.get(f"host/{self.vertex}/kernel/{self._boots}")
        return TcpKernel(self.vertex, table.engine, table.network, rng)

    # -- its process ----------------------------------------------------------------------------------

    @property
    def loop(self) -> HostLoop:
        """The event loop of its process. There must be one."""
        assert self._loop is not None, f"no process runs on {self.name}"
        return self._loop

    @property
    def runtime(self) -> HostRuntime:
        """What its process takes from it. There must be one."""
        assert self._runtime is not None, f"no process runs on {self.name}"
        return self._runtime

    @property
    def runs(self) -> bool:
        """Whether there is a process, frozen or not."""
        return self._loop is not None

    @property
    def paused(self) -> bool:
        """Whether its process is frozen."""
        return self._loop is not None and self._loop.paused

    def boot(self) -> HostRuntime:
        """Start a process, with an event loop that has nothing to do. Gives the computer power if it has none."""
        assert self._loop is None, f"a process runs on {self.name}"
        self.power_on()
        self.lives += 1
        table = self._table
        loop = new_host_loop(table.engine, self._timer_clock, self.processor)
        loop.on_error = lambda owner, error, what: self.on_error(owner, error, what)
        loop.on_standstill = lambda: self.on_standstill()
        self._loop = self.kernel.loop = loop
        self._runtime = HostRuntime(
            table.engine,
            table.streams,
            table,
            self.kernel,
            self.clock,
            self.processor,
            loop,
            self.lives,
        )
        return self._runtime

    def kill(self, *, abandon: bool = False) -> None:
        """Let the process die. The kernel closes its sockets: with a reset if something was not read.

        Args:
            abandon: run no code of the process any more, not even a `finally`; see `ProcessLoop.abandon`.
        """
        loop, self._loop, self._runtime = self._loop, None, None
        if loop is not None:
            loop.flush()
            self.kernel.process_died()
            if abandon:
                loop.abandon()
            else:
                loop.close()

    def pause(self) -> None:
        """Freeze the process. The kernel goes on: it accepts connections, and data until its buffers are full."""
        self.loop.pause()

    def resume(self) -> None:
        """Let the process continue."""
        self.loop.resume()

    def spend(self, us: float) -> None:
        """Let the process be busy for this long; see `HostLoop.spend`."""
        self.loop.spend(us)

    # -- the computer ---------------------------------------------------------------------------------

    def power_off(self) -> None:
        """Take the power away. The computer says nothing about it; its connections stay half-open at the other ends."""
        loop, self._loop, self._runtime = self._loop, None, None
        self.powered = False
        self.kernel.power_off()
        if loop is not None:
            loop.close()

    def power_on(self) -> None:
        """Give it power, without a process. It answers segments of connections that it does not know with a reset."""
        if not self.powered:
            self.powered = True
            self.kernel = self._new_kernel()

    def receive(self, source: int, payload: object, _message_id: str) -> None:
        """Take a segment from a link."""
        assert isinstance(payload, Segment), "computers send each other segments"
        self.kernel.receive(source, payload)


class HostTable:
    """All computers of a run.

    Args:
        engine: the simulated clock.
        network: has a link between any two computers that reach each other, with `Host.receive` at its end.
        streams: give each computer its random streams.
    """

    def __init__(self, engine: Engine, network: Network, streams: Streams) -> None:
        self.engine = engine
        self.network = network
        self.streams = streams
        self._hosts: dict[int, Host] = {}
        self._by_ip: dict[str, Host] = {}
        self._by_name: dict[str, Host] = {}

    def add(
        self,
        vertex: int,
        name: str,
        *,
        clock: NodeClock | None = None,
        timer_clock: NodeClock | None = None,
        processor: Processor | None = None,
    ) -> Host:
        """Add a computer. By default its clocks show the true time.

        Args:
            vertex: positive for a node, negative for a client.
            name: the name under which others find it, without a port.
            clock, processor: see `Host`.
            timer_clock: see `Host`; by default `clock`.
        """
        group, number = (0, vertex) if vertex > 0 else (1, -vertex)
        ip = f"10.{group}.{number // _BYTE}.{number % _BYTE}"
        clock = clock or NodeClock()
        host = Host(vertex, name, ip, clock, timer_clock or clock, processor or Processor(), self)
        self._hosts[vertex] = self._by_ip[ip] = self._by_name[name] = host
        return host

    def __getitem__(self, vertex: int) -> Host:
        """The computer at a vertex."""
        return self._hosts[vertex]

    def __iter__(self) -> Iterator[Host]:
        """All computers, in the order in which they were added."""
        return iter(self._hosts.values())

    def addresses_of(self, name: str) -> list[str]:
        """See `Directory`."""
        host = self._by_name.get(name)
        return [host.ip] if host is not None else []

    def vertex_at(self, ip: str) -> int | None:
        """See `Directory`."""
        host = self._by_ip.get(ip)
        return host.vertex if host is not None else None

    def ip_of(self, vertex: int) -> str:
        """See `Directory`."""
        return self._hosts[vertex].ip
