"""The dashboard in a browser, beside three real nodes that are killed, get users, and are attacked by other sites."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from qcore.client import SyncClient
from qcore.processes import ProcessCluster, wait_for
from tests.checkout import CHECKOUT, EXAMPLES
from tests.docs.test_wire_reference import validator
from tests.process.conftest import ARGUMENTS, initialise
from tests.web.browser import CHROMIUM, Browser
from tests.web.test_entity_tree import site

pytestmark = [
    pytest.mark.process,
    pytest.mark.long,  # a browser needs some seconds
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path"),
]

__all__ = ["site"]

PASSWORD = "correct horse battery"
PICTURES = CHECKOUT / "out/pictures"

#: The row of a member, by its id.
ROW = "[...document.querySelectorAll('#members tbody tr')].find((row) => row.innerText.startsWith('Node %d'))"
#: A button or name, by its text.
BUTTON = "[...document.querySelectorAll('button')].find((each) => each.textContent === %s)"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    arguments = (*ARGUMENTS, "--topology", str(EXAMPLES / "topology.yaml"))
    with ProcessCluster(tmp_path_factory.mktemp("nodes"), 3, arguments) as nodes:
        nodes.start()
        initialise(nodes)
        yield nodes
    for node in nodes.nodes.values():
        assert "Traceback" not in node.log_text()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A browser. Its own reports of failed connections do not count as errors of the page."""
    with Browser(tmp_path / "browser") as found:
        found.size(1400, 1500)
        yield found
        found.text()  # receives the last events
        assert found.page_errors == []
        for frame in found.sent:
            assert validator().is_valid(frame), frame


def leader_of(browser: Browser) -> int:
    browser.wait("/Node \\d+ leads/.test(document.getElementById('state').innerText)")
    text = browser.run("document.getElementById('state').innerText")
    return int(str(text).split()[1])


def picture(browser: Browser, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    browser.picture(PICTURES / f"dashboard_{name}.png")


def click(browser: Browser, text: str) -> None:
    button = BUTTON % json.dumps(text)
    browser.wait(f"{button} !== undefined")
    browser.run(f"{button}.click()")


def test_the_page_goes_on_while_nodes_fail(cluster: ProcessCluster, browser: Browser) -> None:
    browser.open(f"http://{cluster.endpoints[0]}/")
    browser.wait_text("3 of 3 members answer", "leads term", "Root$")
    dead = leader_of(browser)
    cluster.nodes[dead].kill()
    browser.wait_text("2 of 3 members answer")
    browser.wait(f"{ROW % dead}.innerText.includes('down')")
    assert leader_of(browser) != dead
    picture(browser, "light")
    browser.media(dark=True)
    picture(browser, "dark")
    cluster.nodes[dead].start()
    browser.wait_text("3 of 3 members answer")
    # Also the node that served the page may fail, and the entities stay up to date.
    cluster.nodes[1].kill()
    browser.wait_text("2 of 3 members answer")
    for name in ("Root", "Building", "Laboratory"):
        row = f"{BUTTON % json.dumps(name)}?.previousSibling"
        browser.wait(f"{row} !== undefined && !{row}.disabled")
        browser.run(f"{row}.getAttribute('aria-expanded') === 'true' || {row}.click()")
    click(browser, "Laboratory thermostat")
    with SyncClient([*cluster.endpoints[1:]]) as client:
        entity = client.find_by_path("Root/Building/Laboratory/Laboratory thermostat")
        for value in (17.25, 18.5):
            client.write(entity, "Temperature", value)
            browser.wait(f"document.getElementById('values').innerText.includes('{value}')")
    assert browser.run("document.querySelectorAll('.actions button').length") == 0
    cluster.nodes[1].start()
    browser.wait_text("3 of 3 members answer")


def test_other_sites_get_nothing(cluster: ProcessCluster, browser: Browser, site: str) -> None:
    address = cluster.endpoints[0]
    tries = f"""(async () => {{
        const opened = await new Promise((done) => {{
            const socket = new WebSocket("ws://{address}/");
            socket.onopen = () => done("opened");
            socket.onerror = () => done("refused");
        }});
        const page = await fetch("http://{address}/").then(() => "read", () => "refused");
        const silent = await fetch("http://{address}/", {{ mode: "no-cors" }}).then(() => "read", () => "refused");
        return [opened, page, silent].join();
    }})()"""
    browser.open(f"{site}/entity_tree.html")
    browser.wait("document.body !== null")
    assert browser.run(tries) == "refused,refused,refused"
    browser.errors.clear()  # the other page has none to show
    # A name that stands for this computer, and that the node does not know: as in DNS rebinding.
    port = address.rpartition(":")[2]
    browser.open(f"http://evil.localhost:{port}/livez")
    browser.wait_text("ok")
    own = f"ws://evil.localhost:{port}/"
    assert browser.run(tries.replace(f"ws://{address}/", own)).startswith("refused")
    browser.errors.clear()
    browser.open(f"http://evil.localhost:{port}/")
    browser.wait_text("--allow-host evil.localhost")
    browser.errors.clear()
    browser.sent.clear()


def test_users_see_what_they_may(cluster: ProcessCluster, browser: Browser) -> None:
    browser.open(f"http://{cluster.endpoints[0]}/")
    browser.wait_text("3 of 3 members answer", "role changed")
    assert browser.run("document.querySelectorAll('.actions button').length") == 0
    with SyncClient(cluster.endpoints) as client:
        client.set_user("root", password=PASSWORD, roles=["admin"])
    with SyncClient(cluster.endpoints, user="root", password=PASSWORD) as root:
        root.set_role("watcher", actions=["observe"])
        root.set_user("ann", password=PASSWORD, roles=["watcher"])
    browser.wait_text("This cluster has users.")
    browser.wait("document.getElementById('main').hidden")

    def log_in(user: str, password: str) -> None:
        for field, text in (("user", user), ("password", password)):
            browser.run(f"document.getElementById('login-{field}').value = {json.dumps(text)}")
        browser.run("document.querySelector('#login button').click()")

    log_in("ann", "wrong")
    browser.wait("document.getElementById('login-error').textContent !== ''")
    assert browser.run("document.getElementById('login-password').value") == ""
    picture(browser, "login")
    log_in("ann", PASSWORD)
    browser.wait_text("3 of 3 members answer", "User ann", "Only a user whose roles allow manage")
    assert browser.run("document.querySelectorAll('.actions button').length") == 0
    assert browser.run("localStorage.length + sessionStorage.length + document.cookie.length") == 0

    browser.run("document.getElementById('logout').click()")
    browser.wait_text("This cluster has users.")
    browser.wait("document.getElementById('user').textContent === ''")
    log_in("root", PASSWORD)
    browser.wait_text("3 of 3 members answer", "User root", "role changed")
    before = leader_of(browser)
    other = before % 3 + 1
    button = f"{ROW % other}.querySelector('.actions button')"
    browser.wait(f"{button} !== null")
    browser.run(f"{button}.click()")
    browser.wait_text(f"Transfer the leadership to node {other}?")
    picture(browser, "question")
    click(browser, "Cancel")
    browser.wait("!document.getElementById('dialog').open")
    assert leader_of(browser) == before
    browser.run(f"{button}.click()")
    click(browser, "Transfer")
    wait_for(lambda: leader_of(browser) == other, 30, "the new leader")
