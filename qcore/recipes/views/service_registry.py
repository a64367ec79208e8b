"""`ServiceRegistry`: which instances of a service there are, and where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import JsonValue

from qcore.recipes.key_reads import prefix_of, read_state
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S, Lease
from qcore.recipes.views.live_keys import DEFAULT_SYNC_S
from qcore.recipes.views.service_instances import Instance, instance_of
from qcore.recipes.views.service_registration import Registration
from qcore.recipes.views.service_view import ServiceView

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue


class ServiceRegistry:
    """A list of the instances of each service. An instance leaves it when it ends, also without notice.

        registry = ServiceRegistry(kv, ttl_s=10)

        async with registry.register("web", address="10.0.0.7:8080"):
            await serve()

        async with registry.watch("web") as view:
            await view.wait_for(at_least=1)
            print(view.choose().address)

    **Guarantee.** An instance that ends without notice is removed at the latest `ttl_s` of the cluster clock after its
    last keep-alive. An instance that lives and can reach the cluster is listed, except for a short time after a pause
    or an outage that was longer than `ttl_s`. A view shows every change once and in order, as long as the cluster keeps
    the history since the last one, and it never goes back to an earlier revision. Otherwise it shows the newest state,
    with `skipped`. A name of an instance belongs to one registration at a time.

    So the list says where it is worth trying, and nothing more. An instance that is listed may be dead, and one that is
    not may be alive. It excludes nothing: use a `Lock` or a `LeaderElection` for that.

    - Disconnect: a registration whose keep-alives do not succeed in time is lost. It is made again with another lease
      when the cluster answers. A view keeps its instances meanwhile, which may be old; see `ServiceView.age_s` and
      `ServiceView.sync`.
    - Pause of the process: if it is longer than `ttl_s`, the instance is removed. It registers itself again afterwards.
    - Leader change: nothing is lost if it takes less than about two thirds of `ttl_s`. The cluster clock stands still
      meanwhile, so a dead instance is listed for longer.
    - Expiry: the instance is removed, and registers itself again if it lives.
    - Clock jump: without effect, because no wall clock is read.
    - End of the process without a release: the instance is removed after at most `ttl_s`. Another process that
      registers the same name waits for that.

    Each registration has a lease, which costs an entry of the log each third of `ttl_s`.

    Args:
        kv: the keys of the cluster.
        ttl_s: how long an instance that has ended may stay listed, seconds; see `Lease`.
        max_drift: see `Lease`.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        kv: KeyValue,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        max_drift: float = DEFAULT_MAX_DRIFT,
    ) -> None:
        Lease(kv, ttl_s=ttl_s, max_drift=max_drift)  # checks the arguments now
        self._kv = kv
        self._ttl_s = ttl_s
        self._max_drift = max_drift
        self._rng = kv.runtime.new_rng()
        self._registration_type = Registration

    def register(
        self,
        service: str,
        *,
        address: str,
        metadata: Mapping[str, JsonValue] | None = None,
        instance: str | None = None,
        timeout_s: float | None = None,
    ) -> Registration:
        """Register an instance of a service, as a context manager, until its end.

        Args:
            service: names the service, such as `web` or `shop/search`.
            address: where the instance is. Clients of the service know what it means.
            metadata: what else clients should know, as JSON.
            instance: names the instance; None for a new name. If another program has registered this name, this one
                waits until that ends.
            timeout_s: how long to wait, seconds; None for any time, also while the cluster cannot be reached.

        Raises:
            ConfigError: a name, the address or the metadata cannot be used.
        """
        if instance is None:
            instance = f"{self._rng.getrandbits(64):016x}"
        return self._registration_type(
            self._kv,
            _prefix_of(service),
            service,
            instance,
            address=address,
            metadata=metadata,
            ttl_s=self._ttl_s,
            max_drift=self._max_drift,
            timeout_s=timeout_s,
        )

    async def instances(self, service: str) -> list[Instance]:
        """The instances of a service that are listed now, sorted by name.

        Keys without an instance, which another program has written, are left out.

        Raises:
            ConfigError: the name cannot be used.
            QcoreError: the cluster did not answer in time, or rejects the request.
        """
        prefix = _prefix_of(service)
        found = [instance_of(kv, prefix) for kv in (await read_state(self._kv, prefix)).kvs]
        return [each for each in found if isinstance(each, Instance)]

    def watch(self, service: str, *, sync_every_s: float | None = DEFAULT_SYNC_S) -> ServiceView:
        """The instances of a service, kept up to date in memory, as a context manager.

        Args:
            service: the name of the service.
            sync_every_s: how often the view does a `sync` by itself, seconds; None for never. It notices that the node
                that serves the watch is cut off from the others.

        Raises:
            ConfigError: the name cannot be used, or `sync_every_s` is out of its range.
        """
        return ServiceView(self._kv, _prefix_of(service), service, sync_every_s=sync_every_s)


def _prefix_of(service: str) -> bytes:
    return prefix_of("service", service).encode()
