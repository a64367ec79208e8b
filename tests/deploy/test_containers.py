"""The image, the compose file and the manifests: schemas, and what they say about qcore.

The schemas come from packages that are not among the default development tools: `make deploy-deps` installs them.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from qcore.cli.clients.connection_options import _VARIABLES
from qcore.cli.node.setting_options import NODE_SETTINGS
from qcore.node import NodeConfig
from qcore.node.node import Node
from qcore.transport.address import Address
from tests.checkout import CHECKOUT
from tests.packaging.installation import SOURCE_FILES, SOURCES

FOLDER = CHECKOUT / "deploy"
COMPOSE = FOLDER / "container" / "compose.yaml"
MANIFESTS = FOLDER / "kubernetes" / "qcore.yaml"
CONTAINERFILE = FOLDER / "container" / "Containerfile"
MISSING = "run `make deploy-deps`"


def manifests() -> dict[str, Any]:
    """Kind and name -> the manifest."""
    found = yaml.safe_load_all(MANIFESTS.read_text())
    return {f"{each['kind']} {each['metadata']['name']}": each for each in found}


@pytest.mark.parametrize("version", ["1.28", "1.37"])
def test_kubernetes_schemas_accept_the_manifests(version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason=MISSING)
    found = manifests()
    assert len(found) == 5
    for manifest in found.values():
        validator.validate(manifest, version, strict=True)
    found["StatefulSet qcore"]["spec"]["serviceNames"] = "qcore"
    with pytest.raises(validator.ValidationError, match="serviceNames"):
        validator.validate(found["StatefulSet qcore"], version, strict=True)


def test_the_compose_specification_accepts_the_file() -> None:
    package = pytest.importorskip("compose_spec", reason=MISSING)
    options = package.PyOptions(apply_merge=True)
    text = COMPOSE.read_text()
    made = options.from_yaml(text)
    made.validate()
    assert sorted(made.service_names()) == ["node1", "node2", "node3"]
    with pytest.raises(ValueError, match="stop_graceperiod"):
        options.from_yaml(text.replace("stop_grace_period", "stop_graceperiod"))
    with pytest.raises(ValueError, match="other"):
        options.from_yaml(text.replace("[cluster]", "[other]")).validate()


def test_hadolint_finds_nothing_in_the_image() -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip(MISSING)
    done = subprocess.run([program, CONTAINERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_holds_what_the_build_needs_and_no_root() -> None:
    text = CONTAINERFILE.read_text()
    copied = {
        name
        for names in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
        for name in names.split()
    }
    # `tests/packaging` builds the wheel from these.
    assert {*SOURCES, *SOURCE_FILES} <= copied
    assert all((CHECKOUT / name).exists() for name in copied)
    *_, last = text.split("\nFROM ")
    assert "\nUSER 10001:10001\n" in last
    assert "\nHEALTHCHECK " in last
    assert re.search(r"^ARG BASE=\S+/python:3\.\d+\.\d+-slim-\w+$", text, re.MULTILINE)


def test_each_variable_of_qcore_in_the_files_is_known() -> None:
    known = {each.variable for each in NODE_SETTINGS} | set(_VARIABLES.values()) | {"QCORE_CONFIG"}
    paths = [path for path in FOLDER.rglob("*") if path.is_file()]
    used = {name for path in paths for name in re.findall(r"QCORE_[A-Z_]+", path.read_text())}
    assert used
    assert used <= known


def node_arguments(pod: str) -> str:
    """The arguments with which the container of this pod starts `qcore`."""
    (container,) = manifests()["StatefulSet qcore"]["spec"]["template"]["spec"]["containers"]
    (script,) = container["args"]
    shell, option = container["command"]
    script = f'qcore() {{ echo "$@"; }}; {script.removeprefix("exec ")}'
    variables = {**os.environ, "POD_NAME": pod, "POD_NAMESPACE": "qcore"}
    done = subprocess.run(
        [shell, option, script], capture_output=True, text=True, check=True, env=variables
    )
    return done.stdout.strip()


def test_the_pods_find_each_other() -> None:
    replicas = manifests()["StatefulSet qcore"]["spec"]["replicas"]
    (container,) = manifests()["StatefulSet qcore"]["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each.get("value", "") for each in container["env"]}
    addresses = variables["QCORE_DISCOVER"].split(",")
    assert (variables["QCORE_AUTO_INIT"], variables["QCORE_EXPECT"]) == ("true", str(replicas))
    assert len(addresses) == replicas
    for number, address in enumerate(addresses):
        assert node_arguments(f"qcore-{number}") == (
            f"node start --id {number + 1} --advertise-addr {address}"
        )


def test_the_services_of_compose_find_each_other() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    nodes = [each["environment"] for each in services.values()]
    (places,) = {each["QCORE_DISCOVER"] for each in nodes}
    assert {each["QCORE_AUTO_INIT"] for each in nodes} == {"true"}
    assert {each["QCORE_EXPECT"] for each in nodes} == {str(len(nodes))}
    assert places.split(",") == [each["QCORE_ADVERTISE_ADDR"] for each in nodes]
    assert [name.removeprefix("node") for name in services] == [each["QCORE_ID"] for each in nodes]


@pytest.mark.long
def test_the_health_check_asks_the_node(tmp_path: Path) -> None:
    """Also a node that demands certificates of clients."""
    authority = trustme.CA()
    files = {name: tmp_path / name for name in ("tls_ca", "tls_cert", "tls_key")}
    authority.cert_pem.write_to_path(str(files["tls_ca"]))
    issued = authority.issue_cert("node1")
    issued.private_key_pem.write_to_path(str(files["tls_key"]))
    issued.cert_chain_pems[0].write_to_path(str(files["tls_cert"]))

    async def check(*arguments: str, **variables: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(FOLDER / "container" / "healthcheck.py"),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **variables},
        )
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    async def run() -> None:
        config = NodeConfig.of(
            1,
            tmp_path / "data",
            ws_addr=Address("127.0.0.1", 0),
            advertise_addr=Address("node1", 8080),
            tls_client_certs=True,
            **files,
        )
        variables = {"QCORE_TLS_CERT": str(files["tls_cert"])}
        variables["QCORE_TLS_KEY"] = str(files["tls_key"])
        async with Node(config) as node:
            variables["QCORE_WS_ADDR"] = node.address
            assert (await check(**variables))[0] == 0
            code, text = await check("--ready", **variables)
            assert code == 1
            assert "belongs to no cluster yet" in text
            code, text = await check(QCORE_WS_ADDR=node.address)
            assert code == 1
            assert "this port uses TLS" in text

    asyncio.run(run())
