"""The page `examples/web/entity_tree.html` in a browser, beside a real node and another client."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from qcore.processes import ProcessCluster, free_ports
from tests.checkout import EXAMPLES
from tests.docs.test_wire_reference import validator
from tests.process.support.wire_client import WireClient, string_schema, write_field
from tests.web.browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.process,
    pytest.mark.long,  # a browser needs some seconds
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path"),
]

TOPOLOGY = str(EXAMPLES / "topology.yaml")

#: A row of the tree, by the entity's name.
ROW = (
    "[...document.querySelectorAll('#tree .row')].find((row) => row.children[1].textContent === %s)"
)


class QuietHandler(SimpleHTTPRequestHandler):
    """What `python -m http.server` uses, without its log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Write nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The origin at which the examples are served."""
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(QuietHandler, directory=str(EXAMPLES / "web"))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def cluster(site: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    """One node that lets in the pages of the site. It has no cluster yet."""
    arguments = ("--allow-origin", f"{site},null", "--topology", TOPOLOGY)
    with ProcessCluster(tmp_path_factory.mktemp("node"), 1, arguments) as nodes:
        nodes.start()
        yield nodes
    assert "Traceback" not in nodes.nodes[1].log_text()


@pytest.fixture(scope="module")
def running_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(running_browser: Browser) -> Iterator[Browser]:
    """The browser. A page must handle its errors, and send only messages that the wire has.

    The browser's own reports of failed connections do not count as errors of the page.
    """
    running_browser.sent.clear()
    yield running_browser
    running_browser.text()  # receives the last events
    assert running_browser.page_errors == []
    for frame in running_browser.sent:
        assert validator().is_valid(frame), frame


@pytest.fixture
def page(browser: Browser, site: str, cluster: ProcessCluster) -> Browser:
    """The page with the whole tree of the topology."""
    with WireClient(cluster.endpoints[0]) as client:
        if client.ask("GetMetrics")["qcore"]["cluster_id"] is None:
            assert client.ask("Init", nodes=[]) == {"Ok": None}
    browser.open(page_of(site, cluster.endpoints[0], "State,Brightness,Logins"))
    browser.wait_text("Live. Node 1", "Users", "Building")
    open_row(browser, "Users")
    open_row(browser, "Building")
    open_row(browser, "Lobby")
    browser.wait_text("Ada", "Laboratory", "Lobby lamp")
    return browser


def page_of(site: str, address: str, fields: str = "") -> str:
    return f"{site}/entity_tree.html?node=ws://{address}&fields={fields}"


def row(name: str) -> str:
    return ROW % json.dumps(name)


def open_row(browser: Browser, name: str) -> None:
    browser.wait(f"{row(name)} && !{row(name)}.children[0].disabled")
    browser.run(f"{row(name)}.children[0].click()")


def entity(client: WireClient, path: str) -> dict[str, Any]:
    found: dict[str, Any] = client.ask("StoreFindByPath", path=path)["Ok"]
    return found


def write(client: WireClient, path: str, field: str, value: object) -> None:
    request = write_field(entity(client, path), field, value)
    assert "Ok" in client.ask("StorePerform", requests=[request])


def test_a_page_that_may_not_connect_says_what_to_do(
    browser: Browser, site: str, cluster: ProcessCluster
) -> None:
    other = site.replace("127.0.0.1", "localhost")  # another origin, the same server
    browser.open(page_of(other, cluster.endpoints[0]))
    browser.wait_text(
        f"The node at ws://{cluster.endpoints[0]} runs, but it refuses this page.",
        f"Start the node with --allow-origin {other}",
        "Not connected. The next attempt is in",
    )
    (port,) = free_ports(1)
    browser.open(page_of(site, f"127.0.0.1:{port}"))
    browser.wait_text(f"No node answers at ws://127.0.0.1:{port}.")
    browser.open(page_of(site, "").replace("ws://", "http://x"))
    browser.wait_text("http://x is not the address of a node: write ws://host:port")


def test_the_page_waits_for_a_cluster_and_shows_its_tree(
    browser: Browser, site: str, cluster: ProcessCluster, tmp_path: Path
) -> None:
    browser.open(page_of(site, cluster.endpoints[0]))
    browser.wait_text("node 1 has no cluster yet; run qcore cluster init")
    with WireClient(cluster.endpoints[0]) as client:
        assert client.ask("Init", nodes=[]) == {"Ok": None}
    browser.wait_text("Live. Node 1 at ws://", "leader; node 1 leads.", "Root$", "Building")
    browser.wait_no_text("has no cluster")
    types = (
        "[...document.querySelectorAll('#types li')].map((line) => line.innerText.split(/\\s+/))"
    )
    browser.wait(f"{types}.some(([type, count]) => type === 'User' && count === '3')")
    open_row(browser, "Users")
    browser.wait(f"{row('Ada')}")
    browser.run(f"{row('Ada')}.children[1].click()")
    browser.wait_text("Email", "ada@example.com", "Role", "Admin", "Users (Folder$")
    browser.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_what_another_client_writes_appears(page: Browser, cluster: ProcessCluster) -> None:
    with WireClient(cluster.endpoints[0]) as client:
        page.wait(f"{row('Lobby lamp')}.innerText.includes('80')")
        write(client, "Root/Building/Lobby/Lobby lamp", "Brightness", {"Int": 35})
        page.wait(f"{row('Lobby lamp')}.innerText.includes('35')")
        write(client, "Root/Building/Lobby/Lobby lamp", "State", {"Choice": 2})
        page.wait(f"{row('Lobby lamp')}.innerText.includes('Fault')")
        ada = entity(client, "Root/Users/Ada")
        page.run(f"{row('Ada')}.children[1].click()")
        page.wait_text("ada@example.com")
        write(client, "Root/Users/Ada", "Email", {"String": "ada@example.org"})
        page.wait_text("ada@example.org")
        client.ask("StoreRenameEntity", entity_id=ada, name="Countess")
        page.wait(f"{row('Countess')} && !{row('Ada')}")
        page.wait("document.getElementById('picked-name').innerText === 'Countess'")
        big = 2**62 + 1  # more digits than a number of JavaScript has
        write(client, "Root/Users/Countess", "Logins", {"Int": big})
        page.wait(f"{row('Countess')}.innerText.includes('{big}')")
        client.ask("StoreRenameEntity", entity_id=ada, name="Ada")
        page.wait(row("Ada"))


def test_entities_come_and_go(page: Browser, cluster: ProcessCluster) -> None:
    with WireClient(cluster.endpoints[0]) as client:

        def create(typ: str, name: str, parent: object) -> Any:
            made = client.ask("StoreCreateEntity", entity_type=typ, parent_id=parent, name=name)
            return made["Ok"]["entity_id"]

        users = entity(client, "Root/Users")
        new = create("User", "Newcomer", users)
        page.wait(row("Newcomer"))
        page.run(f"{row('Newcomer')}.children[1].click()")
        page.wait_text(f"User${new['id']}")
        client.ask("StoreMoveEntity", entity_id=new, parent_id=entity(client, "Root/Building"))
        page.wait(f"{row('Newcomer')}?.closest('ul').parentNode.innerText.startsWith('Building')")
        client.ask("StoreMoveEntity", entity_id=new, parent_id=None)
        page.wait(f"{row('Newcomer')}?.closest('ul').parentNode.id === 'tree'")
        client.ask("DeleteEntity", entity_id=new)
        page.wait(f"!{row('Newcomer')}")
        page.wait_text("is not in the tree any more")
        # A text of the node is never HTML.
        odd = create("Folder", "<img src=x onerror=alert(1)><b>bold</b>", None)
        page.wait_text("<img src=x onerror=alert(1)><b>bold</b>")
        assert page.run("document.images.length") == 0
        inner = create("Folder", "inner", odd)
        page.wait(f"!nodes.get('Folder${odd['id']}').toggle.disabled")
        client.ask("DeleteEntity", entity_id=odd)
        page.wait_no_text("onerror")
        assert not page.run(f"nodes.has('Folder${inner['id']}')")
        # No watch reports a new type: the page asks for types now and then.
        client.ask("StoreSetEntitySchema", schema=string_schema("Bare", "Other"))
        create("Bare", "-", None)
        page.wait("document.querySelector('[data-key^=\"Bare$\"]')", 30)


def test_the_page_works_from_a_file(page: Browser, cluster: ProcessCluster) -> None:
    """A page from a file has the origin `null`, which this node lets in."""
    file = (EXAMPLES / "web/entity_tree.html").as_uri()
    page.open(f"{file}?node={cluster.endpoints[0]}&fields=Logins")  # a host and a port will do
    page.wait_text("Live. Node 1", "Users")
    page.run(
        "[...document.querySelectorAll('#fields label')].find((line) => line.innerText === 'Floor').click()"
    )
    open_row(page, "Building")
    page.wait(f"{row('Lobby')}?.innerText.includes('Floor')")
    assert page.run("location.search").endswith("fields=Logins%2CFloor")


def test_many_values_in_a_moment_are_all_shown(page: Browser, cluster: ProcessCluster) -> None:
    with WireClient(cluster.endpoints[0]) as client:
        lamp = entity(client, "Root/Building/Lobby/Lobby lamp")
        for first in range(0, 3000, 300):
            values = range(first, first + 300)
            writes = [write_field(lamp, "Brightness", {"Int": value}) for value in values]
            assert "Ok" in client.ask("StorePerform", requests=writes)
        page.wait(f"{row('Lobby lamp')}.innerText.includes('2999')")
        assert page.run("document.getElementById('error').hidden")


def test_a_long_list_is_shown_in_parts(page: Browser, cluster: ProcessCluster) -> None:
    with WireClient(cluster.endpoints[0]) as client:
        users = entity(client, "Root/Users")
        requests = [
            {"CreateEntity": {"entity_type": "User", "parent_id": users, "name": f"user {number}"}}
            for number in range(300)
        ]
        made = client.ask("StoreBulk", requests=requests)["Ok"]
        page.wait(f"{row('user 100')} && !{row('user 250')}")
        page.run("document.querySelector('.more').click()")
        page.wait(f"{row('user 299')} && !document.querySelector('.more')")
        client.ask("StoreBulk", requests=[{"DeleteEntity": each["CreateEntity"]} for each in made])
        page.wait(f"{row('Ada')} && !{row('user 0')} && !{row('user 299')}")


def test_the_page_resumes_after_the_death_of_its_node(
    page: Browser, cluster: ProcessCluster
) -> None:
    node = cluster.nodes[1]
    page.wait("link.watches.size === link.tokens.size && link.watches.size > 3")
    page.run("window.before = document.querySelector('[data-key]')")
    node.kill()
    page.wait_text("Not connected. The next attempt is in", "No node answers at ws://")
    page.text()
    page.sent.clear()
    node.start()
    with WireClient(cluster.endpoints[0]) as client:
        cluster.wait_leader()
        write(client, "Root/Building/Lobby/Lobby lamp", "Brightness", {"Int": 7})
        lobby = entity(client, "Root/Building/Lobby")
        client.ask("StoreCreateEntity", entity_type="Lamp", parent_id=lobby, name="New lamp")
    page.wait_text("Live. Node 1", "New lamp")
    page.wait(f"{row('Lobby lamp')}.innerText.includes('7')")
    page.wait_no_text("No node answers")
    assert page.run("window.before === document.querySelector('[data-key]')"), "a new tree"
    registered = [
        each["StoreRegisterNotification"]
        for each in page.sent
        if "StoreRegisterNotification" in each
    ]
    resumed = [each for each in registered if each["after"] is not None]
    assert len(resumed) > 3
    assert not any("StoreGetCompleteEntitySchema" in each for each in page.sent)


def test_the_page_reads_a_restored_snapshot(page: Browser, cluster: ProcessCluster) -> None:
    with WireClient(cluster.endpoints[0]) as client:
        name, value = client.exchange({"StoreTakeSnapshot": {"id": "s"}})
        assert name == "StoreTakeSnapshotResponse"
        client.ask("DeleteEntity", entity_id=entity(client, "Root/Users"))
        page.wait(f"!{row('Users')}")
        assert client.ask("StoreRestoreSnapshot", snapshot=value["response"]) == {"Ok": None}
        page.wait(f"{row('Users')}")
        page.wait(f"{row('Ada')}")  # it was open
        write(client, "Root/Users/Ada", "Logins", {"Int": 77})
        page.wait(f"{row('Ada')}.innerText.includes('77')")
