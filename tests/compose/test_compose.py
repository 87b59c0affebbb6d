"""What `compose.yaml` promises, read from the file: no engine is needed; the docker command checks it too where it is there."""

import importlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from factory_chassis.settings import Settings, all_fields

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ROLES = ("intake", "planner", "envkeeper", "builder", "recorder", "reviewer", "notifier", "console")
NODE = ("envkeeper", "builder", "recorder")
OURS = (*ROLES, "migrate")


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_has_little_to_lose(name: str) -> None:
    """No capability that is not named, nothing to write on but what is mounted, no way to more rights, short logs."""
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True and service["init"] is True
    assert "privileged" not in service and "container_name" not in service
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert bool(service.get("cap_add")) == (name == "postgres")
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")


@pytest.mark.parametrize("name", OURS)
def test_ours_run_as_one_user_that_is_not_root(name: str) -> None:
    """And wait for what they need: the servers that answer, the database as it should be."""
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    needs = {other: how["condition"] for other, how in service["depends_on"].items()}
    if name == "migrate":
        assert needs == {"postgres": "service_healthy", "minio": "service_healthy"}
    else:
        assert needs["migrate"] == "service_completed_successfully" and needs["nats"] == "service_healthy"


def test_every_server_and_service_has_a_health_check() -> None:
    """The servers here, ours in the image; only what runs once has none."""
    for name in ("nats", "postgres", "minio"):
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES["migrate"]["healthcheck"] == {"disable": True}
    assert all("healthcheck" not in SERVICES[name] for name in ROLES)
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_a_round_is_saved_before_the_end() -> None:
    """A container has longer than its service may take; and what works in the sandbox is stopped before the sandbox is."""
    stop_grace = Settings().stop_grace
    for name in ROLES:
        seconds = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert seconds >= stop_grace + 4 * 5, (
            name
        )  # handlers, then bus, leases and database with five seconds each or two
    assert {"builder", "recorder"} <= {n for n, s in SERVICES.items() if "envkeeper" in s.get("depends_on", {})}


def test_the_nodes_directory_is_shared_by_its_three_and_nobody_else() -> None:
    """It holds the node's key and every sandbox's socket."""
    sharing = {n for n, s in SERVICES.items() if any(str(v).startswith("node:") for v in s.get("volumes", []))}
    assert sharing == set(NODE)
    assert all("node:/var/lib/factory" in SERVICES[n]["volumes"] for n in NODE)


def test_secrets_come_by_files() -> None:
    """No variable holds one; each service gets what it reads and no other; each file is made by scripts/compose-secrets."""
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    for name in OURS:
        variables = SERVICES[name]["environment"]
        assert not {f"FACTORY_{s.upper()}" for s in secret} & set(variables), name
        files = {Path(value).name for key, value in variables.items() if key.endswith("_FILE")}
        assert files == set(SERVICES[name]["secrets"]), name
    used = {s for service in SERVICES.values() for s in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    made = (ROOT / "scripts" / "compose-secrets").read_text()
    assert all(re.search(rf"\b{s}\b", made) for s in used)


def test_who_speaks_to_the_forge_has_the_identity_for_it() -> None:
    """Planner too asks for the reviewer's: a job would end there for want of what only another container has."""
    for role in ROLES:
        code = "".join(p.read_text() for p in (ROOT / "services" / role / "src").rglob("*.py"))
        variables = set(SERVICES[role]["environment"])
        assert ("FACTORY_GITHUB_TOKEN_FILE" in variables) >= ("forges.connect(" in code), role
        assert ("FACTORY_GITHUB_REVIEWER_TOKEN_FILE" in variables) == ("reviewer=True" in code), role


@pytest.mark.parametrize("name", ROLES)
def test_every_variable_is_a_setting_of_its_service(name: str) -> None:
    """A name that nobody knows would end the service with 78."""
    settings = importlib.import_module(f"factory_{name}.settings").Settings
    given = {key.removeprefix("FACTORY_").lower() for key in SERVICES[name]["environment"]}
    assert {key.removesuffix("_file") for key in given} <= all_fields(settings)


def test_what_is_published_is_published_on_this_machine_alone() -> None:
    """And what may be scaled publishes nothing."""
    published = {name: service["ports"] for name, service in SERVICES.items() if service.get("ports")}
    assert set(published) == {"intake", "console", "envkeeper"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_nats_syncs_before_it_acknowledges() -> None:
    """As the embedded one does."""
    assert "sync_interval: always" in (ROOT / COMPOSE["configs"]["nats"]["file"]).read_text()


@pytest.mark.skipif(not shutil.which("docker"), reason="there is no docker command")
def test_docker_reads_it(tmp_path: Path) -> None:
    """With all that is interpolated and merged."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("this docker command has no Compose")
    argv = ["docker", "compose", "--file", str(ROOT / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(
        argv, capture_output=True, text=True, env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
