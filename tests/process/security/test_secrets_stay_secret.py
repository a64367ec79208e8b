"""No password, token, key or hash reaches a log, trace, recording, page, error, audit log or list of processes.

A cluster with TLS and users, which writes everything that a node can write, lives through logins, wrong logins,
malformed messages, a restart and a snapshot. Then all that it and the commands have written is searched.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from qcore.client import SyncClient, TlsFiles
from qcore.errors import Unauthenticated
from qcore.node.peers.node_key_file import load_key
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from qcore.replica.access.access_records import redacted
from qcore.security.keys.join_token import PREFIX, read_join_token
from qcore.storage.live.log_reader import LogReader
from tests.process.attacks.strangers.stranger import Stranger
from tests.process.conftest import ARGUMENTS, assert_no_traceback
from tests.process.security.secret_search import Places, ProcessList, Secrets
from tests.process.support.commands import run_here
from tests.process.support.wire_client import string_schema
from tests.security.certificates import Authority

pytestmark = [pytest.mark.process, pytest.mark.long]

#: What has to be found, so that a search that finds no secret has looked at something.
MARKER: Final = "planted-marker-4711"
#: The script. `python -m qcore` is forked in tests, and then has another command line.
QCORE: Final = str(Path(sys.executable).with_name("qcore"))
#: User -> password. What a user has typed in the wrong place or with an error is a secret, too.
PASSWORDS: Final = {
    "root": "root-From-A-File-83",
    "prompted": "typed-At-The-Prompt-27",
    "changed": "changed-Password-61",
    "header": "sent-As-Basic-95",
    "message": "sent-In-A-Message-38",
}
WRONG: Final = {
    "header": "wrong-In-The-Header-71",
    "message": "wrong-In-The-Message-52",
    "file": "wrong-In-The-File-44",
    "old": "wrong-Old-Password-19",
    "malformed": "malformed-Password-66",
}
SHORT: Final = "Shrt-7!x"[:7]


class Story:
    """The cluster, what has happened in it, and what was written.

    Args:
        directory: of the nodes and of the files of the commands.
        cluster: the nodes.
        ca: the authority.
    """

    def __init__(self, directory: Path, cluster: ProcessCluster, ca: Path) -> None:
        self.directory, self.cluster, self.ca = directory, cluster, ca
        self.secrets, self.places = Secrets(), Places()
        self.context = ssl.create_default_context(cafile=ca)
        for user, password in (*PASSWORDS.items(), *WRONG.items()):
            self.secrets.add_password(user, password)

    @property
    def options(self) -> tuple[str, ...]:
        """How commands connect."""
        return ("--endpoints", ",".join(self.cluster.endpoints), "--tls-ca", str(self.ca))

    @property
    def as_root(self) -> tuple[str, ...]:
        return (*self.options, "--user", "root", "--password-file", str(self.file("root")))

    def file(self, name: str, secret: str | None = None) -> Path:
        """The file of a secret; it is written if the secret is given."""
        path = self.directory / f"{MARKER}-{name}.secret"
        if secret is not None:
            path.write_text(secret + "\n")
            path.chmod(0o600)
        return path

    def command(
        self,
        *words: str,
        control: str,
        code: int = 0,
        allowed: tuple[str, ...] = (),
        **variables: str,
    ) -> str:
        """Run a command in a separate process, and keep what it prints."""
        done = subprocess.run(
            [QCORE, *words],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env={**os.environ, "QCORE_DEBUG": "1", **variables},
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        self.keep(f"qcore {' '.join(words[:2])}", done.stdout + done.stderr, control, allowed)
        return done.stdout

    def here(self, *words: str, control: str, code: int = 0, stdin: str = "") -> str:
        """Run a command in this process, and keep what it prints."""
        done = run_here(*words, stdin=stdin)
        assert done.code == code, (words, done)
        self.keep(f"qcore {' '.join(words[:2])}", done.stdout + done.stderr, control)
        return done.stdout

    def keep(
        self, place: str, content: str | bytes, control: str, allowed: tuple[str, ...] = ()
    ) -> None:
        self.places.add(place, content, control, allowed=allowed)

    def stranger(self, node: NodeProcess, *headers: str) -> Stranger:
        return Stranger(node.address, self.context, *headers)

    def page(self, node: NodeProcess, path: str, authorization: str) -> tuple[int, bytes]:
        """Status, and headers and text of a page."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", node.port, timeout=20, context=self.context
        )
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Authorization": authorization})
            response = connection.getresponse()
            return response.status, str(response.headers).encode() + response.read()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    directory = tmp_path_factory.mktemp("story")
    authority = Authority(directory)
    files = authority.issue("node")
    arguments = (
        *(*ARGUMENTS, "--log-level", "debug", "--snapshot-entries", "25", "--keep-entries", "10"),
        *("--tls-cert", str(files.cert), "--tls-key", str(files.key), "--tls-ca", str(files.ca)),
    )
    with ProcessCluster(
        directory, 3, arguments, tls=ssl.create_default_context(cafile=files.ca)
    ) as cluster:
        for number, node in cluster.nodes.items():
            for option, suffix in (("trace", "trace"), ("record", "qrec"), ("audit-log", "audit")):
                node.arguments += [f"--{option}", str(directory / f"{number}.{suffix}")]
            if number == 3:
                node.arguments += ["--log-format", "json"]
        assert files.ca is not None
        assert files.key is not None
        made = Story(directory, cluster, files.ca)
        made.secrets.add_pem(files.key)
        with ProcessList() as processes:
            _users(made)
            _logins(made)
            _wrong_logins(made)
            _restart(made)
        made.keep("the list of processes", processes.text(), str(made.file("root")))
        _written(made)
        yield made
    assert_no_traceback(cluster)


def _users(story: Story) -> None:
    """Make the cluster and its users, by commands."""
    cluster = story.cluster
    cluster.start()
    members = ",".join(f"{node_id}={address}" for node_id, address in cluster.members)
    story.here("cluster", "init", "--nodes", members, *story.options, control="begins with")
    cluster.wait_leader()
    story.file("root", PASSWORDS["root"])
    root = ("--role", "admin", "--new-password-file", str(story.file("root")))
    story.command("user", "add", "root", *root, *story.options, control="root")
    _prompted(story)
    for name in ("changed", "header", "message"):
        given = ("--new-password-file", str(story.file(name, PASSWORDS[name])))
        story.here("user", "add", name, *given, *story.as_root, control=name)
    story.file("new", "first-" + PASSWORDS["changed"])
    story.secrets.add_password("changed", "first-" + PASSWORDS["changed"])
    given = ("--new-password-file", str(story.file("new")))
    story.here("user", "set-password", "changed", *given, *story.as_root, control="changed")
    with SyncClient(
        cluster.endpoints, tls=TlsFiles(story.ca), user="root", password=PASSWORDS["root"]
    ) as client:
        client.set_role("operator", actions=["observe", "read"])
        client.set_schema(string_schema("Box", "Note"))
        for _ in range(30):  # a snapshot is taken
            client.write(client.create_entity("Box", MARKER), "Note", MARKER)


def _prompted(story: Story) -> None:
    """Add a user whose password is typed at a terminal."""
    master, slave = os.openpty()
    words = ["user", "add", "prompted", "--role", "admin", *story.as_root]
    with subprocess.Popen(
        [QCORE, *words],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        written = bytearray()
        for prompt in (b"new password: ", b"the same again: "):
            while not written.endswith(prompt):
                byte = process.stderr.read(1)
                assert byte, bytes(written)
                written += byte
            os.write(master, PASSWORDS["prompted"].encode() + b"\n")
        written += process.stderr.read() + process.stdout.read()
    assert process.returncode == 0, bytes(written)
    os.set_blocking(master, False)
    with contextlib.suppress(OSError):
        written += os.read(master, 1 << 16)  # what the terminal showed
    os.close(slave)
    os.close(master)
    story.keep("a prompt", bytes(written), "new password: ")


def _logins(story: Story) -> None:
    """Log in, and make tokens, in every way."""
    created = ("a created token",)
    token = story.command(
        *("token", "create", "prompted", *story.as_root), control="eyJ", allowed=created
    )
    story.secrets.add_token(created[0], token.strip())
    file = ("--token-file", str(story.file("token", token.strip())))
    story.command("user", "whoami", *file, *story.options, control="prompted")
    story.command("user", "whoami", *story.options, control="prompted", QCORE_TOKEN=token.strip())
    node = story.cluster.nodes[2]
    recovered = ("a recovered token",)
    token = story.command(
        *("token", "recover", "--data-dir", str(node.data_dir)), control="eyJ", allowed=recovered
    )
    story.secrets.add_token(recovered[0], token.strip())
    bearer = f"Bearer {token.strip()}"
    joining = ("a join token",)
    joins = story.command("member", "token", *story.as_root, control=PREFIX, allowed=joining)
    story.secrets.add(joining[0], joins.strip())
    story.secrets.add(joining[0], read_join_token(joins.strip()).seed)
    story.here("member", "tokens", "-o", "json", *story.as_root, control="expires_s")
    for node in story.cluster.nodes.values():
        for path, control in (("/status", "cluster_id"), ("/metrics", "qcore_")):
            for authorization in (bearer, _basic("root", PASSWORDS["root"])):
                status, content = story.page(node, path, authorization)
                assert status == 200
                story.keep(f"{path} of node {node.node_id}", content, control)
        basic = _basic("header", PASSWORDS["header"])
        with story.stranger(node, f"Authorization: {basic}") as client:
            assert client.exchange({"WhoAmI": {"id": "1"}})[1]["response"]["Ok"]["user"] == "header"
        with story.stranger(node) as client:
            user = {"user": "message", "password": PASSWORDS["message"]}
            _, value = client.exchange({"Authenticate": {"id": "1", **user}})
            issued = value["response"]["Ok"]["token"]
            story.secrets.add_token(f"a token of node {node.node_id}", issued)
            _, value = client.exchange({"WhoAmI": {"id": "2"}})
            story.keep("WhoAmI", json.dumps(value), "message")
    story.command("cluster", "status", "-o", "json", *story.as_root, control="leader")
    story.here("cluster", "health", "-o", "json", *story.as_root, control="healthy")
    story.here("user", "list", "-o", "json", *story.as_root, control="prompted")
    story.here("token", "revoke", "prompted", *story.as_root, control="prompted")


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _malformed() -> list[str | dict[str, Any]]:
    """Messages with secrets that a node does not understand, or refuses."""
    password = WRONG["malformed"]
    good = {"id": "1", "user": "root", "password": password}
    return [
        {"Authenticate": {**good, MARKER: 1}},
        {"Authenticate": {**good, "token": [password]}},
        {"Authenticate": {**good, "password": {"text": password}}},
        {"Authenticate": {**good, "password": [password]}},
        {"Authenticate": {"id": "1", "password": password}},
        {"Authenticate": {**good, "user": 7}},
        {"Authenticate": {"id": "1", "token": password}},
        {"Authenticate": {"id": "1", "token": f"eyJhbGciOiJFZERTQSJ9.{password}.{password}"}},
        {"Authenticate": {**good, "token": password}},
        {"Authenticate": password},
        {"Authenticate": [good]},
        {"Authenticat": good},
        {"Authenticate": good, "WhoAmI": good},
        {"SetUser": {"id": "1", "name": "root", "password": password, "roles": ["x"], "more": 1}},
        {"SetUser": {"id": "1", "name": "root", "password": password, "roles": 1}},
        {"SetUser": {"id": "1", "name": "extra", "password": password, "old_password": password}},
        {"SetUser": {"id": "1", "name": "", "password": password}},
        {"SetUser": {"id": "1", "name": "x", "password": password * 100}},
        {"CreateToken": {"id": "1", "user": "root", "password": password}},
        json.dumps({"Authenticate": good})[:-2],
        json.dumps({"Authenticate": good}) + "}",
        json.dumps({"Authenticate": good})[:-2] + ', "password": "' + password + '"}}',
        json.dumps([{"Authenticate": good}, {"Authenticate": {**good, "x": 1}}]),
        '{"Authenticate": {"id": "1", "user": "root", "password": ' + password + "}}",
        '{"Authenticate": {"id": "1", "user": "root", "password": "' + password + '\\ud800"}}',
        '{"Authenticate": {"id": "1", "user": "root", "password": "' + password + "\\q}}",
        "password " + password,
    ]


def _wrong_logins(story: Story) -> None:
    """Log in wrongly in every way, before and after a right login, and send what is not understood."""
    password = WRONG["header"]
    encoded = _basic("header", password).split()[1]
    headers = [
        _basic("header", password),
        f"Basic {password}",
        f"Basic {encoded}!",
        f"Basic {encoded} {encoded}",
        f"Basic {base64.b64encode(password.encode()).decode()}",
        f"Bearer {password}",
        f"Bearer eyJhbGciOiJFZERTQSJ9.{password}.{password}",
        f"Digest username=header, response={password}",
        password,
        f"Bearer {password * 200}",
    ]
    answers: list[object] = []
    for node in story.cluster.nodes.values():
        for header in headers:
            answers += [story.page(node, path, header) for path in ("/status", "/livez")]
            with story.stranger(node, f"Authorization: {header}") as client:
                client.exchange({MARKER: {"id": "1"}})
                answers.append(bytes(client.received))
        with story.stranger(
            node, f"Authorization: {headers[0]}", f"Authorization: {headers[1]}"
        ) as client:
            answers.append(bytes(client.received))
        for lines in ([], [f"Authorization: {_basic('root', PASSWORDS['root'])}"]):
            for message in _malformed():
                with story.stranger(node, *lines) as client:
                    client.exchange(message)
                    answers.append(bytes(client.received))
        with story.stranger(node) as client:
            for name in ("message", "unknown"):
                wrong = {"user": name, "password": WRONG["message"]}
                answers.append(client.exchange({"Authenticate": {"id": "1", **wrong}}))
    story.keep("answers to wrong logins", repr(answers), "Bearer or Basic")
    story.keep("answers to malformed messages", repr(answers), MARKER)
    as_root = ("--user", "root", "--password-file", str(story.file("wrong", WRONG["file"])))
    story.command(
        "user", "list", *as_root, *story.options, "--timeout", "2", control="error", code=4
    )
    token = ("--token-file", str(story.file("wrong")))
    story.command("user", "list", *token, *story.options, control="not a token", code=4)
    token = ("--token-file", str(story.directory / MARKER))
    story.command("user", "list", *token, *story.options, control=MARKER, code=2)
    story.file("short", SHORT)
    given = ("--new-password-file", str(story.file("short")))
    story.here("user", "set-password", "root", *given, *story.as_root, control="fewer than", code=4)
    with SyncClient(
        [story.cluster.nodes[1].address],
        tls=TlsFiles(story.ca),
        user="changed",
        password="first-" + PASSWORDS["changed"],
    ) as client:
        try:
            client.set_user("changed", password=PASSWORDS["changed"], old_password=WRONG["old"])
        except Unauthenticated as error:
            story.keep("an error of the library", f"{error!r} {error.detail()}", "Unauthenticated")
        story.keep("the client", repr(client) + repr(vars(client)), "SyncClient")
    _an_unexpected_error(story)


def _an_unexpected_error(story: Story) -> None:
    """A bug in the code that holds the password, with the traceback that `--debug` shows."""
    from qcore.client.login.credentials import Authenticator

    async def broken(*_: object) -> None:
        raise RuntimeError(MARKER)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Authenticator, "_login", broken)
        patch.setenv("QCORE_DEBUG", "1")
        done = run_here("--debug", "user", "list", *story.as_root)
    assert "Traceback" in done.stderr
    story.keep("a traceback", done.stderr, MARKER)


def _restart(story: Story) -> None:
    """Restart a node, so that it reads and records everything again."""
    node = story.cluster.nodes[3]
    node.stop()
    node.start()
    with SyncClient(
        story.cluster.endpoints, tls=TlsFiles(story.ca), user="root", password=PASSWORDS["root"]
    ) as client:
        for _ in range(5):
            client.write(client.create_entity("Box", MARKER), "Note", MARKER)
        newest = client.get_metrics()["last_log_index"] or 0
        wait_for(
            lambda: client.get_metrics(node.address)["qcore"]["applied_index"] >= newest,
            20,
            "the restarted node",
        )


def _written(story: Story) -> None:
    """Stop the nodes, and read all that they have written."""
    secrets, directory = story.secrets, story.directory
    hashes = 0
    for number, node in story.cluster.nodes.items():
        key = load_key(node.data_dir)
        assert key is not None
        secrets.add(f"the key of node {number}", key.seed)
        reader = LogReader(node.data_dir)
        log = reader.describe()
        assert log.snapshot is not None, "no snapshot was taken"
        for text in (
            "".join(reader.snapshot_parts(log.snapshot)),
            *(each.data for each, _ in reader.read(log.state.first_index, 10_000).entries),
        ):
            for found in _hashes(text):
                secrets.add_hash("a hash", found)
                hashes += 1
        dump = ("log", "dump", "--data-dir", str(node.data_dir))
        for options in ((), ("--full",), ("-o", "json"), ("-o", "csv")):
            story.here(*dump, *options, control=MARKER)
        story.here(*dump, "--snapshot", "--full", control=MARKER)
        story.here(*dump, "--snapshot", "-o", "json", control="users")
        story.here("log", "tail", "-n", "500", "--data-dir", str(node.data_dir), control="Box")
    assert hashes >= 3 * len(PASSWORDS), "the hashes are not where this test looks for them"
    for node in story.cluster.nodes.values():
        node.stop()
    for number, node in story.cluster.nodes.items():
        story.keep(f"the log of node {number}", node.log_path.read_bytes(), MARKER)
        story.keep(f"audit log {number}", (directory / f"{number}.audit").read_bytes(), "message")
        story.keep(f"recording {number}", (directory / f"{number}.qrec").read_bytes(), MARKER)
        story.keep(f"trace {number}", (directory / f"{number}.trace").read_bytes(), "access, ")
        replay = ("sim", "replay", str(directory / f"{number}.qrec"))
        story.here(*replay, control="effects")
        story.here(*replay, "-o", "json", control="applied")
        story.here(
            *("sim", "trace", "--json-lines", str(directory / f"{number}.trace")),
            control="access, ",
        )


def _hashes(text: str) -> list[str]:
    """The password hashes in a text."""
    hidden = redacted(text)
    pieces = text.split("$argon2")
    assert ("$argon2" in text) == (hidden != text)
    return ["$argon2" + piece.partition('"')[0].partition("\\")[0] for piece in pieces[1:]]


def test_no_place_holds_a_secret(story: Story) -> None:
    assert not story.places.blind
    assert len(story.places) > 60
    assert story.places.leaks(story.secrets) == {}


def test_the_search_finds_a_secret_in_every_form() -> None:
    secrets = Secrets()
    secrets.add_password("ann", "abcdefgh12")
    secrets.add_token("token", "header.payload.signature00")
    secrets.add_hash("hash", "$argon2id$v=19$m=1$saltsaltsalt$digestdigest")
    for text in (
        "x abcdefgh12 y",
        base64.b64encode(b"ann:abcdefgh12").decode(),
        b"abcdefgh12".hex(),
        "?p=abcdefgh12",
        "signature00",
        "saltsaltsalt",
        "digestdigest",
    ):
        assert len(secrets.found_in(text)) == 1, text
    assert secrets.found_in("nothing") == []
    places = Places()
    places.add("here", "abcdefgh12", "abc")
    assert list(places.leaks(secrets)) == ["here"]
    assert not places.blind
    places.add("nowhere", "", "abc")
    assert places.blind
