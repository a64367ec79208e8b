"""`EntityStore`: the entity store as a state machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, Final, SupportsIndex

from pydantic_core import to_json

from qcore.compiled_build import mypyc_attr, reduce_machine
from qcore.errors import (
    BadRequest,
    NameTooLong,
    PermissionDenied,
    QcoreError,
    SnapshotInvalid,
    StoreError,
    TooLarge,
)
from qcore.machines.entity.operations.create_delete import (
    create_entity,
    delete_entity,
    load_topology,
    set_schemas,
)
from qcore.machines.entity.operations.operation_table import STORE_OPERATIONS
from qcore.machines.entity.operations.staged_snapshot import check_complete, expected_part, stage
from qcore.machines.entity.operations.store_operation import OK_NULL
from qcore.machines.entity.operations.update_fields import update_entity
from qcore.machines.entity.permission_checks import (
    allows_everything,
    check_everything,
    check_see,
    visible_schema,
)
from qcore.machines.entity.plain_requests import read_field, write_field
from qcore.machines.entity.requests.growth import may_grow
from qcore.machines.entity.requests.name_bounds import check_names
from qcore.machines.entity.requests.perform_requests import Command, is_read_only, parse_command
from qcore.machines.entity.requests.staging_requests import StageBody
from qcore.machines.entity.requests.store_requests import parse_store_request
from qcore.machines.entity.state.entity_records import Records
from qcore.machines.entity.state.entity_schema import schema_from_json, schema_to_json
from qcore.machines.entity.state.field_values import id_from_json, id_to_json, optional_id_from_json
from qcore.machines.entity.state.snapshot.entity_snapshot import state_lines
from qcore.machines.entity.state.snapshot.staged import Staged
from qcore.machines.entity.state.snapshot.state_reader import StateReader
from qcore.machines.entity.topology.topology_export import topology_lines
from qcore.machines.entity.transaction import Transaction
from qcore.machines.entity.watches.notice_texts import NoticeTexts
from qcore.machines.entity.watches.notification_config import EntityWatch, entity_watch
from qcore.machines.interface import ApplyContext, Change, StateReplaced
from qcore.machines.limits import BOUNDED_RULES, BYTES_PER_STEP, STORE_RULES
from qcore.machines.permissions import Permissions
from qcore.machines.snapshot_chunks import to_chunks, to_lines

_NANOS_PER_MICRO = 1000
#: How each command and query of `store_requests` begins.
_STORE_REQUEST: Final = '{"Store'
#: How the commands begin that replace the whole state. A node makes them, so their form is exact.
_STAGE: Final = '{"StoreStageSnapshot":'
_USE_STAGED: Final = '{"StoreUseStagedSnapshot":'
_CHANGES: Final = "query: the request changes the state; send it as a command"
#: What `_free_some` gets when nothing is left.
_FREED: Final = object()
#: Steps (`MAX_OPERATIONS`) that take about as long as one small command.
_STEPS_PER_COST_UNIT = 16


@mypyc_attr(allow_interpreted_subclasses=True)
class EntityStore:
    """Entities with typed fields, described by schemas that inherit from each other.

    Commands and results are the JSON of `Perform.request` and `PerformResponse.response` (docs/reference/wire.md). An
    error is a result, too: it has the text in `error`, and in `detail` the error's `code`. A command
    takes effect as a whole or not at all.
    """

    name: ClassVar[str] = "entity"
    versions: ClassVar[tuple[int, int]] = (1, 1)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[object, ...]:
        """Copies and pickles: in the pure build only."""
        return reduce_machine(self, protocol)

    def __init__(self) -> None:
        self._records = Records()
        #: The parts of a snapshot that is being restored.
        self._staged: Staged | None = None
        #: Records that are no longer used. Each command frees a bounded part of them.
        self._retired: list[Iterator[None]] = []
        #: See `SupportsWorkCost`.
        self.last_cost = 0
        #: The changes of the last command, in order; empty if it failed or only read.
        self.changes: Sequence[Change] = ()
        self._texts = NoticeTexts(self._view)

    def apply(self, command: str, context: ApplyContext) -> str:
        """Apply a command from `parse_request`, or a topology. Never raises."""
        self.changes = ()
        self.last_cost = 0
        if self._retired:
            self._free_some()
        sparse = context.rules >= BOUNDED_RULES
        if context.rules >= STORE_RULES:
            if allows_everything(context.permissions):
                written = write_field(self._records, command, context.time_us * _NANOS_PER_MICRO)
                if written is not None:
                    text, change = written
                    self.changes = (change,)
                    return text
            if command.startswith(_STORE_REQUEST):
                return self._apply_store_request(command, context)
        try:
            request = parse_command(command, rules=context.rules)
            if sparse:
                check_names(request, command)
        except (BadRequest, NameTooLong) as error:
            return _encode({"Error": _failure(error)})
        time_ns = context.time_us * _NANOS_PER_MICRO
        transaction = Transaction(
            self._records,
            context.index,
            time_ns,
            sparse=sparse,
            keeps_kinds=context.rules >= STORE_RULES,
            permissions=context.permissions,
        )
        text, done = _attempt(transaction, request)
        self._end(transaction, done=done)
        return text

    def _apply_store_request(self, command: str, context: ApplyContext) -> str:
        time_ns = context.time_us * _NANOS_PER_MICRO
        if command.startswith((_STAGE, _USE_STAGED)):
            return self._restore_part(command, time_ns, context.permissions)
        transaction = Transaction(
            self._records,
            context.index,
            time_ns,
            sparse=True,
            keeps_kinds=True,
            permissions=context.permissions,
        )
        text, done = _attempt_store_request(transaction, command)
        self._end(transaction, done=done)
        return text

    def _restore_part(self, command: str, time_ns: int, permissions: Permissions | None) -> str:
        """Stage a part of a snapshot, or put the staged ones in the place of the state."""
        size = len(command.encode())
        self.last_cost = size // BYTES_PER_STEP // _STEPS_PER_COST_UNIT
        try:
            request = parse_store_request(command)
            check_names(request, command)
            check_everything(self._view(permissions), "read", "write")
            if "StoreStageSnapshot" in request:
                self._stage(request["StoreStageSnapshot"], size, time_ns)
            else:
                self._use(check_complete(self._staged, request["StoreUseStagedSnapshot"]))
        except (BadRequest, NameTooLong, SnapshotInvalid, PermissionDenied) as error:
            return _store_failure(error)
        return f'{{"response":{OK_NULL}}}'

    def _stage(self, body: StageBody, size: int, time_ns: int) -> None:
        if not expected_part(self._staged, body):
            return
        staged = self._staged
        if staged is None or body["part"] == 0:
            self._drop_staged()
            staged = self._staged = Staged(body["upload"], time_ns)
        try:
            stage(staged, body, size)
        except SnapshotInvalid:
            self._drop_staged()
            raise

    def _use(self, staged: Staged) -> None:
        old, new = self._records, staged.records
        new.last_id = max(new.last_id, old.last_id)
        new.loaded = old.loaded
        self._records, self._staged = new, None
        self._retired.append(old.free_gradually())
        self.changes = (StateReplaced(),)

    def _drop_staged(self) -> None:
        if self._staged is not None:
            self._retired.append(self._staged.records.free_gradually())
            self._staged = None

    def _free_some(self) -> None:
        if next(self._retired[-1], _FREED) is _FREED:
            self._retired.pop()

    @property
    def state_bytes(self) -> int:
        """See `SupportsStateSize`."""
        staged = 0 if self._staged is None else self._staged.records.size_bytes
        return self._records.size_bytes + staged

    def may_grow(self, command: str) -> bool:
        """See `SupportsStateSize`."""
        return may_grow(command, self._records)

    def recognises(self, command: str) -> bool:
        """Whether the text has the form of a command."""
        try:
            if command.startswith(_STORE_REQUEST):
                parse_store_request(command)
            else:
                parse_command(command)
        except BadRequest:
            return False
        return True

    def query(self, query: str) -> str:
        """Execute a read from `parse_request`.

        Raises:
            BadRequest: the query is malformed or would change the state.
            NameTooLong: the name of a type or field in it is too long.
        """
        return self.query_as(query, None)

    def query_as(self, query: str, permissions: Permissions | None) -> str:
        """See `SupportsPermissions`.

        Raises:
            BadRequest, NameTooLong: see `query`.
        """
        if allows_everything(permissions):
            answer = read_field(self._records, query)
            if answer is not None:
                self.last_cost = 0
                return answer
        transaction = Transaction(
            self._records, 0, 0, sparse=True, keeps_kinds=True, permissions=permissions
        )
        if query.startswith(_STORE_REQUEST):
            text, _ = _attempt_store_request(transaction, query, only_reads=True)
        else:
            request = parse_command(query)
            check_names(request, query)
            if not is_read_only(request):
                raise BadRequest(_CHANGES)
            text, _ = _attempt(transaction, request)
        self._note_cost(transaction)
        return text

    def _end(self, transaction: Transaction, *, done: bool) -> None:
        """Commit a command's transaction, or roll it back."""
        self._note_cost(transaction)
        if done:
            transaction.commit()
            self.changes = transaction.changes
        else:
            transaction.roll_back()

    def _note_cost(self, transaction: Transaction) -> None:
        self.last_cost = (transaction.operations + transaction.uncounted) // _STEPS_PER_COST_UNIT

    def topology(self) -> Iterator[str]:
        """Yield the lines of a topology file that gives the same tree; see `topology_lines`.

        Raises:
            Refused: a topology cannot express the state.
        """
        return topology_lines(self._records)

    def last_changes(self) -> Sequence[Change]:
        """See `SupportsChanges`."""
        return self.changes

    def watch_filter(self, request: str, *, resumes: bool) -> EntityWatch:
        """See `SupportsWatchRequests`. The request is the JSON text of a `NotificationConfig`.

        Raises:
            StoreError: see `entity_watch`.
        """
        return self.watch_filter_as(request, lambda: None, resumes=resumes)

    def watch_filter_as(
        self, request: str, permissions: Callable[[], Permissions | None], *, resumes: bool
    ) -> EntityWatch:
        """See `SupportsWatchPermissions`.

        Raises:
            StoreError: see `entity_watch`.
        """
        return entity_watch(request, self._view, self._texts, permissions, resumes=resumes)

    def _view(self, permissions: Permissions | None = None) -> Transaction:
        return Transaction(self._records, 0, 0, sparse=True, permissions=permissions)

    def snapshot(self) -> Iterable[str]:
        """Return the state as of this call, in chunks. A later write copies only the part that it changes."""
        return to_chunks(state_lines(self._records, self._staged))

    def restore(self, chunks: Iterable[str]) -> None:
        """Replace the whole state.

        Raises:
            StoreError: the text is not a whole snapshot; the state is unchanged.
        """
        for _ in self.restore_gradually(chunks):
            pass

    def restore_gradually(self, chunks: Iterable[str]) -> Iterator[None]:
        """Like `restore`, with a bounded number of entities before each item. The state changes at the end.

        Raises:
            StoreError: see `restore`.
        """
        reader = StateReader()
        for _ in reader.read(to_lines(chunks)):
            yield
        old, self._records = self._records, reader.records
        self._drop_staged()
        self._staged = reader.staged
        self.changes = ()
        # Freeing a large state in one step would also take long.
        yield from old.free_gradually()
        while self._retired:
            self._free_some()
            yield

    def state_hash(self) -> str:
        """Return a digest of the state. It costs time only for what changed since the last call."""
        live = self._records.state_hash()
        return live if self._staged is None else self._staged.state_hash(live)


def _attempt_store_request(
    transaction: Transaction, text: str, *, only_reads: bool = False
) -> tuple[str, bool]:
    """Execute a request of the store. Returns the result as JSON text, and whether it succeeded.

    The result holds `response` and, after an error, `detail`, as the response on the wire does.

    Raises:
        BadRequest: only with `only_reads`: the request is malformed, or would change the state.
        NameTooLong: only with `only_reads`: the name of a type or field in it is too long.
    """
    try:
        request: Mapping[str, object] = parse_store_request(text)
        check_names(request, text)
    except (BadRequest, NameTooLong) as error:
        if only_reads:
            raise
        return _store_failure(error), False
    ((name, body),) = request.items()
    operation = STORE_OPERATIONS.get(name)
    if operation is None:  # a part of a restore, in an unusual spelling or as a query
        if only_reads:
            raise BadRequest(_CHANGES)
        return _store_failure(BadRequest(f"{name}: only a node makes this command")), False
    if only_reads and not operation.reads(body):
        raise BadRequest(_CHANGES)
    try:
        return f'{{"response":{operation.execute(transaction, body)}}}', True
    except (StoreError, TooLarge) as error:
        return _store_failure(error), False


def _store_failure(error: QcoreError) -> str:
    return _encode({"response": {"Err": str(error)}, "detail": error.detail()})


def _attempt(transaction: Transaction, request: Command) -> tuple[str, bool]:
    """Execute a request. Returns the result as JSON text, and whether it succeeded."""
    kind = next(iter(request))
    try:
        if "UpdateEntity" in request:
            items = update_entity(transaction, request["UpdateEntity"]["request"])
            return f'{{"UpdateEntity":{{"response":[{",".join(items)}],"error":null}}}}', True
        return _encode({kind: {**_perform(transaction, request), "error": None}}), True
    except StoreError as error:
        return _encode({kind: {**_without_effect(request), **_failure(error)}}), False


def _perform(transaction: Transaction, request: Command) -> dict[str, object]:
    if "CreateEntity" in request:
        create = request["CreateEntity"]
        parent_id = optional_id_from_json(create["parent_id"])
        created = create_entity(transaction, create["entity_type"], parent_id, create["name"])
        return {"response": id_to_json(created)}
    if "DeleteEntity" in request:
        delete_entity(transaction, id_from_json(request["DeleteEntity"]["entity_id"]))
        return {}
    if "SetSchema" in request:
        set_schemas(transaction, [schema_from_json(request["SetSchema"]["entity_schema"])])
        return {}
    if "GetSchema" in request:
        name = request["GetSchema"]["entity_type"]
        check_see(transaction, name)
        schema = visible_schema(transaction, transaction.schemas.get(name))
        return {"response": schema_to_json(schema)}
    if "GetCompleteSchema" in request:
        name = request["GetCompleteSchema"]["entity_type"]
        check_see(transaction, name)
        schema = visible_schema(transaction, transaction.schemas.complete(name))
        return {"response": schema_to_json(schema)}
    created_ids = load_topology(transaction, request["LoadTopology"])
    return {"response": {"entities": len(created_ids)}}


def _without_effect(request: Command) -> dict[str, object]:
    """The fields beside an error: the requests unchanged, or a null response for kinds that have one."""
    if "UpdateEntity" in request:
        return {"response": request["UpdateEntity"]["request"]}
    return {} if "DeleteEntity" in request or "SetSchema" in request else {"response": None}


def _failure(error: StoreError) -> dict[str, object]:
    return {"error": str(error), "detail": error.detail()}


def _encode(result: dict[str, object]) -> str:
    return to_json(result).decode()
