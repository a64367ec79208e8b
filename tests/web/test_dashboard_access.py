"""The dashboard over TLS, with users: who logs in how, and who may set a value."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from qcore.client import SyncClient, TlsFiles
from qcore.errors import QcoreError
from qcore.processes import ProcessCluster
from qcore.transport.wire.users import RuleInfo
from tests.checkout import EXAMPLES
from tests.process.conftest import ARGUMENTS
from tests.process.support.commands import run_here
from tests.security.certificates import Authority
from tests.web.browser import CHROMIUM, Browser
from tests.web.test_dashboard import BUTTON, PASSWORD, click, picture

pytestmark = [
    pytest.mark.process,
    pytest.mark.long,  # a browser needs some seconds
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path"),
]

HOSTILE = (
    "<img src=x onerror=\"document.title = 'taken'\"><script>document.title = 'taken'</script>"
)
THERMOSTAT = "Root/Building/Laboratory/Laboratory thermostat"
SET = "[...document.querySelectorAll('#values button')].map((each) => each.ariaLabel).join()"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tokens(cluster: ProcessCluster, authority: Authority) -> dict[str, str]:
    """A token of each user: an administrator, one that may set the target of the thermostat, one that may only read."""
    tls = TlsFiles(ca=authority.path)
    with SyncClient(cluster.endpoints, tls=tls) as client:
        client.set_user("root", password=PASSWORD, roles=["admin"])
    with SyncClient(cluster.endpoints, tls=tls, user="root", password=PASSWORD) as root:
        all_fields = RuleInfo("*", "*", "read")
        target = RuleInfo("Thermostat", "Target", "write")
        root.set_role("tuner", actions=["observe", "read", "write"], rules=[all_fields, target])
        root.set_role("reader", actions=["observe", "read"], rules=[all_fields])
        root.set_role("blind", actions=["read"], rules=[all_fields])
        with (
            SyncClient(cluster.endpoints, tls=tls, user=HOSTILE, password=PASSWORD) as hostile,
            pytest.raises(QcoreError),
        ):
            hostile.who_am_i()  # the first failure of a node is a line in its log
        for name, role in (("tom", "tuner"), ("rita", "reader"), ("bob", "blind")):
            root.set_user(name, roles=[role])
        return {name: root.create_token(name).token for name in ("tom", "rita", "bob", "root")}


@pytest.fixture(scope="module")
def cluster(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProcessCluster]:
    """Two nodes that ask clients for a certificate, and do not insist."""
    files = authority.issue("node")
    options = (
        "--tls-cert",
        str(files.cert),
        "--tls-key",
        str(files.key),
        "--tls-ca",
        str(files.ca),
    )
    arguments = (*ARGUMENTS, *options, "--topology", str(EXAMPLES / "topology.yaml"))
    directory = tmp_path_factory.mktemp("nodes")
    context = ssl.create_default_context(cafile=authority.path)
    with ProcessCluster(directory, 2, arguments, tls=context) as nodes:
        nodes.start()
        members = ",".join(f"{node_id}={address}" for node_id, address in nodes.members)
        words = ("cluster", "init", "--nodes", members, "--tls-ca", str(authority.path))
        assert run_here(*words, "--endpoints", nodes.endpoints[0]).code == 0
        yield nodes
    for node in nodes.nodes.values():
        assert "Traceback" not in node.log_text()


@pytest.fixture
def browser(cluster: ProcessCluster, tmp_path: Path) -> Iterator[Browser]:
    """A browser that has loaded the page, and accepts every certificate."""
    with Browser(tmp_path / "browser", "--ignore-certificate-errors") as found:
        found.size(1300, 1400)
        found.open(f"https://{cluster.endpoints[0]}/")
        yield found
        found.text()  # receives the last events
        assert found.page_errors == []


def log_in(browser: Browser, **fields: str) -> None:
    browser.wait_text("This cluster has users.")
    for field, text in fields.items():
        browser.run(f"document.getElementById('login-{field}').value = {json.dumps(text)}")
    browser.run("document.querySelector('#login button').click()")


def click_toggle(browser: Browser, name: str) -> None:
    row = f"{BUTTON % json.dumps(name)}?.previousSibling"
    browser.wait(f"{row} !== undefined && !{row}.disabled")
    browser.run(f"{row}.getAttribute('aria-expanded') === 'true' || {row}.click()")


def open_thermostat(browser: Browser) -> None:
    for name in ("Root", "Building", "Laboratory"):
        click_toggle(browser, name)
    click(browser, "Laboratory thermostat")
    browser.wait("document.getElementById('values').innerText.includes('Target')")


def value_of(browser: Browser, field: str) -> str:
    row = "[...document.querySelectorAll('#values tr')].find((each) => each.cells[0].innerText === "
    return str(browser.run(f"{row}{json.dumps(field)}).cells[1].innerText"))


def set_value(browser: Browser, field: str, text: str) -> None:
    browser.wait(f"{SET}.includes('Set {field}')")
    browser.run(f"document.querySelector('[aria-label=\"Set {field}\"]').click()")
    browser.wait_text(f"Set {field} of Thermostat$")
    browser.run(f"document.getElementById('dialog-input').value = {json.dumps(text)}")
    browser.press("Enter")
    browser.wait("!document.getElementById('dialog').open")


def test_members_that_ask_for_certificates_are_reached(
    cluster: ProcessCluster, browser: Browser
) -> None:
    browser.wait_text("2 of 2 members answer", "Root$", "role changed")
    assert browser.run(f"location.protocol + {SET}") == "https:"


def test_a_password_or_a_token_logs_in(browser: Browser, tokens: dict[str, str]) -> None:
    log_in(browser)
    browser.wait_text("Give a user and its password, or a token")
    assert browser.run("document.getElementById('login-plain').hidden")
    for text, wrong in (
        ("password", {"user": "root", "password": "wrong"}),
        ("This is not a token that a node of this cluster signed", {"token": "wrong"}),
    ):
        log_in(browser, **wrong)
        browser.wait(f"document.getElementById('login-error').textContent.includes('{text}')")
        assert browser.run("document.getElementById('login-token').value") == ""
        browser.run("document.querySelector('#login').reset()")
    log_in(browser, token=tokens["bob"])  # who may not see a cluster
    browser.wait_text("The node answers: ", "observe")
    browser.run("document.querySelector('#login').reset()")
    browser.run("document.getElementById('login-why').textContent = 'This cluster has users.'")
    log_in(browser, user="root", password=PASSWORD)
    browser.wait_text("2 of 2 members answer", "User root", "role changed")


def test_a_reader_sees_values_and_cannot_set_one(browser: Browser, tokens: dict[str, str]) -> None:
    log_in(browser, token=tokens["rita"])
    browser.wait_text("2 of 2 members answer", "User rita", "Only a user whose roles allow manage")
    open_thermostat(browser)
    assert browser.run(SET) == ""
    assert browser.run("document.querySelectorAll('.actions button').length") == 0


def test_hostile_texts_stay_texts(
    cluster: ProcessCluster, browser: Browser, tokens: dict[str, str], authority: Authority
) -> None:
    tls = TlsFiles(ca=authority.path)
    with SyncClient(cluster.endpoints, tls=tls, user="root", password=PASSWORD) as root:
        top = root.find_by_path("Root")
        for name in (HOSTILE, "W" * 3000):
            folder = root.create_entity("Folder", name, top)
            root.write(folder, "Description", name)
    log_in(browser, token=tokens["root"])
    browser.wait_text("2 of 2 members answer", "login failed", "Root$")
    click_toggle(browser, "Root")
    click(browser, HOSTILE)
    browser.wait(f"document.getElementById('picked-name').textContent === {json.dumps(HOSTILE)}")
    browser.wait("document.getElementById('values').innerText.includes('<script>')")
    browser.wait("document.getElementById('lines').innerText.includes('<img src=x')")
    for width in (480, 800, 1300):
        browser.size(width, 1000)
        click(browser, "W" * 3000)
        browser.wait("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        picture(browser, f"hostile_{width}")
    assert browser.run("document.images.length + document.scripts.length") == 1
    assert str(browser.run("document.title")).startswith("qcore cluster")


def test_a_value_is_set(
    cluster: ProcessCluster, browser: Browser, tokens: dict[str, str], authority: Authority
) -> None:
    log_in(browser, token=tokens["tom"])
    browser.wait_text("2 of 2 members answer", "User tom")
    open_thermostat(browser)
    set_value(browser, "Target", "warm")
    browser.wait_text("Give a")
    set_value(browser, "Target", "21")
    browser.wait("document.getElementById('error').hidden")
    browser.wait("document.getElementById('values').innerText.includes('21')")
    tls = TlsFiles(ca=authority.path)
    with SyncClient(cluster.endpoints, tls=tls, user="root", password=PASSWORD) as root:
        assert root.read(root.find_by_path(THERMOSTAT), "Target") == 21
    # A role without a rule for this field.
    before = value_of(browser, "Temperature")
    set_value(browser, "Temperature", "99")
    browser.wait_text("The node answers: ", "Temperature")
    picture(browser, "refused")
    assert value_of(browser, "Temperature") == before
    # The first button of a form is the one that Enter presses, and Escape changes nothing.
    browser.run("document.querySelector('[aria-label=\"Set Target\"]').click()")
    browser.run("document.getElementById('dialog-input').value = '5'")
    browser.press("Escape")
    browser.wait("!document.getElementById('dialog').open")
    assert value_of(browser, "Target") == "21"
