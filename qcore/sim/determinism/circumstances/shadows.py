"""Other clocks, entropy, identities and hashes for a copy of a machine, and a record of what asked for them.

This module is an exception to the ban on clocks and entropy in `qcore.sim`: it names them in order to replace them. It
reads none of them, except that a thread outside the copy gets what it asked for.
"""

from __future__ import annotations

import builtins
import copyreg
import os
import random
import sys
from _thread import get_ident
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from random import Random
from types import FrameType, ModuleType, TracebackType
from typing import Any, Final

#: The groups of sources. An experiment changes one group at a time.
GROUPS: Final = ("clock", "entropy", "identity", "hash", "process", "set_order")

#: The value that each group has, by its name; see `Shadows.begin`. Groups that are left out have 0.
Variant = Mapping[str, int]

#: 2001-02-03 04:05:06 UTC. Each variant begins at another year, month, day, hour, minute and second.
_EPOCH_US: Final = 981_173_106_789_012
_VARIANT_US: Final = 37_935_791_234_567
#: From one reading to the next: almost nothing, a second, some hours. A machine may measure how long something takes.
_STEPS_US: Final = (3, 1_234_567, 28_477_123_457)
#: After so many readings, the steps are small: a `datetime` ends with the year 9999.
_LONG_STEPS: Final = 100_000
_SEED: Final = 7_919
_MISSING: Final = object()

_real_id: Final = builtins.id
_real_hash: Final = builtins.hash


class Shadows:
    """Replaces the sources of non-determinism while they are installed.

    They have other values only inside `begin`, for the thread that called it. Everything else gets the real ones.

    Args:
        own_modules: the modules of the machine. Names that they imported from elsewhere (`from time import time`) are
            replaced in them, too.

    Attributes:
        calls: the sources that the machine used since `begin`, each with the place of the call.
        own_modules: the modules of the machine.
        reverses_sets: whether the order of sets is reversed (`set_order.py` asks).
    """

    def __init__(self, own_modules: Iterable[ModuleType] = ()) -> None:
        self.calls: dict[tuple[str, str], None] = {}
        self.reverses_sets = False
        self.own_modules: list[ModuleType] = []
        self._files: set[str] = set()
        self._undo: list[tuple[object, str, object]] = []
        self._replaced: dict[int, object] = {}  # by identity of the original
        self._kept: list[object] = []  # keeps these identities valid
        self._thread = 0
        self._clock_us = self._step_us = self._readings = 0
        self._mask = 0
        self._flips_hashes = False
        self._pid = 0
        self._entropy = Random(0)
        self._first_own = tuple(own_modules)

    def __enter__(self) -> Shadows:
        for module in ("time", "datetime", "random", "os"):
            self._patch_module(module)
        self.adopt(self._first_own)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for owner, name, old in reversed(self._undo):
            if old is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, old)
        self._undo.clear()
        self._replaced.clear()
        self._kept.clear()
        for kept in (datetime, date):
            copyreg.dispatch_table.pop(kept, None)

    def adopt(self, modules: Iterable[ModuleType]) -> None:
        """Replace what these modules, parts of the machine, have imported by name."""
        for late in ("uuid", "socket", "platform"):
            self._patch_module(late)
        for module in modules:
            self.own_modules.append(module)
            self._files.add(module.__file__ or "")
            for name, value in list(vars(module).items()):
                if (new := self._replaced.get(_real_id(value), _MISSING)) is not _MISSING:
                    self._set(module, name, new)
            for name, replacement in (("id", self._id), ("hash", self._hash)):
                if name not in vars(module):
                    self._set(module, name, replacement)

    @contextmanager
    def begin(self, variant: Variant) -> Iterator[None]:
        """Give the machine, within this block and on this thread, the values of a variant."""
        of = variant.get
        state = random.getstate()
        self.calls = {}
        self._clock_us = _EPOCH_US + of("clock", 0) * _VARIANT_US
        self._step_us = _STEPS_US[of("clock", 0) % len(_STEPS_US)]
        self._readings = 0
        self._entropy = Random(_SEED + of("entropy", 0))
        self._mask = (1 << 61) - 1 if of("identity", 0) % 2 else 0
        self._flips_hashes = bool(of("hash", 0) % 2)
        self._pid = 4_000_001 + of("process", 0)
        self.reverses_sets = bool(of("set_order", 0) % 2)
        random.seed(_SEED + of("entropy", 0))
        self._thread = get_ident()
        try:
            yield
        finally:
            self._thread = 0
            self.reverses_sets = False
            random.setstate(state)

    # -- replacements -----------------------------------------------------------------------------

    def _patch_module(self, name: str) -> None:
        module = sys.modules.get(name)
        if module is None or any(owner is module for owner, _, _ in self._undo):
            return
        patches = {
            "time": self._patch_time,
            "datetime": self._patch_datetime,
            "random": self._patch_random,
            "os": self._patch_os,
            "uuid": self._patch_uuid,
            "socket": self._patch_host,
            "platform": self._patch_host,
        }
        patches[name](module)

    def _patch_time(self, module: ModuleType) -> None:
        for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
            self._replace(module, name, lambda: self._now_us() / 1e6)
            self._replace(module, f"{name}_ns", lambda: self._now_us() * 1000)
        self._replace(module, "clock_gettime", lambda _clock: self._now_us() / 1e6)
        self._replace(module, "clock_gettime_ns", lambda _clock: self._now_us() * 1000)
        for name in ("localtime", "gmtime", "ctime"):
            self._replace_default(module, name, lambda: (self._now_us() / 1e6,))
        local = module.localtime
        self._replace_default(module, "asctime", lambda: (local(self._now_us() / 1e6),))
        self._replace_default(
            module, "strftime", lambda: (local(self._now_us() / 1e6),), after=1, kind="clock"
        )

    def _patch_datetime(self, module: ModuleType) -> None:
        for real, shadow in ((datetime, _shadow_datetime(self)), (date, _shadow_date(self))):
            self._set(module, real.__name__, shadow)
            self._remember(real, shadow)
            # pickle compares the class with the one in its module
            copyreg.pickle(real, _reducer(shadow))

    def _patch_random(self, module: ModuleType) -> None:
        hidden: object = getattr(module, "_inst", None)
        for name, value in list(vars(module).items()):
            if getattr(value, "__self__", None) is hidden and not name.startswith("_"):
                self._replace(module, name, value, f"random.{name}")
        self._replace(module, "_urandom", self._random_bytes, "os.urandom")
        real_seed = Random.seed
        shadows = self

        def seed(generator: Random, a: Any = None, version: int = 2) -> None:  # Any: as in `random`
            if a is None and shadows.asked("random.Random()"):
                a = shadows._entropy.getrandbits(64)
            real_seed(generator, a, version)

        self._set(Random, "seed", seed)

    def _patch_os(self, module: ModuleType) -> None:
        self._replace(module, "urandom", self._random_bytes)
        self._replace(module, "getrandom", lambda size, _flags=0: self._random_bytes(size))
        self._replace(module, "getpid", lambda: self._pid)
        self._replace(module, "getppid", lambda: self._pid - 1)
        kind = type(os.environ)
        real_get = kind.__getitem__
        shadows = self

        # Any: the class is generic over texts and bytes
        def getitem(environ: Any, key: Any) -> Any:
            if environ is os.environ:
                shadows.asked(f"os.environ[{key!r:.60}]")
            return real_get(environ, key)

        self._set(kind, "__getitem__", getitem)

    def _patch_uuid(self, module: ModuleType) -> None:
        self._replace(module, "getnode", lambda: 0x02_00_00_00_00_00 + self._pid)
        for name in ("uuid1", "uuid4"):
            self._replace(module, name, getattr(module, name), f"uuid.{name}")
        self._set(module, "_generate_time_safe", None)

    def _patch_host(self, module: ModuleType) -> None:
        for name in ("gethostname", "getfqdn", "node"):
            self._replace(module, name, lambda *_: f"host-{self._pid}")

    def _random_bytes(self, size: int) -> bytes:
        return self._entropy.randbytes(size)

    def _now_us(self) -> int:
        self._readings += 1
        self._clock_us += self._step_us if self._readings < _LONG_STEPS else 1
        return self._clock_us

    def _id(self, value: object, /) -> int:
        """`id`, with the order of all identities reversed in odd variants."""
        self.asked("id")
        return _real_id(value) ^ self._mask if self._is_inside else _real_id(value)

    def _hash(self, value: object, /) -> int:
        """`hash`; in odd variants, other hashes for values whose hashes depend on the hash seed."""
        found = _real_hash(value)
        if _is_seeded(value) and self.asked("hash") and self._flips_hashes:
            return ~found if found not in (0, -1) else found
        return found

    # -- tools ------------------------------------------------------------------------------------

    @property
    def _is_inside(self) -> bool:
        return self._thread == get_ident()

    def asked(self, source: str) -> bool:
        """Whether the machine is running; if so, record that it used a source."""
        if self._thread != get_ident():
            return False
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            file = frame.f_code.co_filename
            if file in self._files:
                self.calls[source, f"{Path(file).name}:{frame.f_lineno}"] = None
                break
            frame = frame.f_back
        return True

    def now_us(self, source: str) -> int | None:
        """The shadow's time for the machine, microseconds since the Unix epoch; None for anything else."""
        return self._now_us() if self.asked(source) else None

    # Any: functions of any signature
    def _replace(
        self, module: ModuleType, name: str, new: Callable[..., Any], source: str = ""
    ) -> None:
        old: Any = getattr(module, name, None)
        if old is None:
            return
        source = source or f"{module.__name__}.{name}"

        def replacement(*args: Any, **options: Any) -> Any:
            return (new if self.asked(source) else old)(*args, **options)

        self._set(module, name, replacement)
        self._remember(old, replacement)

    def _replace_default(
        self,
        module: ModuleType,
        name: str,
        default: Callable[[], tuple[Any, ...]],
        *,
        after: int = 0,
        kind: str = "",
    ) -> None:
        """Replace a function that reads a clock only if its last argument is left out."""
        old: Any = getattr(module, name)
        source = f"{module.__name__}.{name}"

        def replacement(*args: Any) -> Any:
            if (len(args) == after or args[after:] == (None,)) and self.asked(source):
                return old(*args[:after], *default())
            return old(*args)

        self._set(module, name, replacement)
        self._remember(old, replacement)

    def _set(self, owner: object, name: str, value: object) -> None:
        self._undo.append((owner, name, vars(owner).get(name, _MISSING)))
        setattr(owner, name, value)

    def _remember(self, old: object, new: object) -> None:
        self._kept.append(old)
        self._replaced[_real_id(old)] = new


def _is_seeded(value: object) -> bool:
    """Whether the value's hash depends on `PYTHONHASHSEED`."""
    if isinstance(value, str | bytes):
        return True
    return isinstance(value, tuple | frozenset) and any(map(_is_seeded, value))


class _ShadowOf(type):
    """The class of `datetime` and `date` while they are replaced: their instances are the real ones."""

    real: type

    def __instancecheck__(cls, instance: object) -> bool:
        return (
            isinstance(instance, cls.real)
            if "real" in vars(cls)
            else super().__instancecheck__(instance)
        )

    def __subclasscheck__(cls, other: type) -> bool:
        return (
            issubclass(other, cls.real) if "real" in vars(cls) else super().__subclasscheck__(other)
        )


# Any: the classes below stand for `datetime` and `date`, with their many signatures.
def _shadow_datetime(shadows: Shadows) -> type:
    class ShadowDatetime(datetime, metaclass=_ShadowOf):
        def __new__(cls, *args: Any, **options: Any) -> Any:
            if "real" in vars(cls):
                return datetime(*args, **options)
            return super().__new__(cls, *args, **options)

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            now_us = shadows.now_us("datetime.now")
            return datetime.now(tz) if now_us is None else cls.fromtimestamp(now_us / 1e6, tz)

        @classmethod
        def utcnow(cls) -> Any:
            now_us = shadows.now_us("datetime.utcnow")
            moment = (
                datetime.now(UTC) if now_us is None else datetime.fromtimestamp(now_us / 1e6, UTC)
            )
            return moment.replace(tzinfo=None)

        @classmethod
        def today(cls) -> Any:
            now_us = shadows.now_us("datetime.today")
            return datetime.now() if now_us is None else cls.fromtimestamp(now_us / 1e6)

    return _named_like(ShadowDatetime, datetime)


def _shadow_date(shadows: Shadows) -> type:
    class ShadowDate(date, metaclass=_ShadowOf):
        def __new__(cls, *args: Any, **options: Any) -> Any:
            if "real" in vars(cls):
                return date(*args, **options)
            return super().__new__(cls, *args, **options)

        @classmethod
        def today(cls) -> Any:
            now_us = shadows.now_us("date.today")
            return date.today() if now_us is None else cls.fromtimestamp(now_us / 1e6)

    return _named_like(ShadowDate, date)


def _named_like(shadow: _ShadowOf, real: type) -> type:
    shadow.real = real
    shadow.__name__, shadow.__qualname__ = real.__name__, real.__qualname__
    shadow.__module__ = real.__module__
    return shadow


def _reducer(shadow: type) -> Callable[[Any], tuple[Any, ...]]:
    def reduce(value: Any) -> tuple[Any, ...]:
        return (shadow, *value.__reduce_ex__(4)[1:])

    return reduce
