"""The Dockerfile and the compose file: linted and read, since no engine is at hand that could build them."""

import http.server
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.program import Running
from tests.deploy.files import COMPOSE, DOCKERFILE, ROOT, instructions, watch_options
from tests.servers.ports import free_port

LINTER = Path(sys.executable).with_name("hadolint")
STEPS = instructions(DOCKERFILE.read_text(encoding="utf-8"))
TARGETS = ("cpu", "cuda")
PATIENCE_S = 60.0
COMPOSED: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))


def only(name: str) -> Any:
    """The one instruction of this name."""
    (found,) = [step for step in STEPS if step.name == name]
    return found


def lint(text: str) -> "subprocess.CompletedProcess[str]":
    command = [LINTER, "--no-color", "--failure-threshold", "style", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)


def test_the_linter_has_nothing_to_say():
    said = lint(DOCKERFILE.read_text(encoding="utf-8"))
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def test_the_linter_complains_fails():
    assert "DL3008" in lint("FROM debian:12\nRUN apt-get install -y x\n").stdout


def test_what_the_linter_shall_not_say_has_a_reason():
    for line in re.findall(r"^# hadolint.*$", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE):
        assert re.fullmatch(r"# hadolint ignore=[A-Z0-9,]+  # \w.{10,}", line)


def test_everything_that_is_copied_is_there_and_reaches_the_engine():
    copied = [path for step in STEPS if step.name == "COPY" and "--from" not in step.words for path in files_of(step)]
    assert {"kernels", "stream_detect", "pyproject.toml", "constraints.txt"} <= set(copied)
    let_through = [line[1:] for line in ignored().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(let_through)
    assert all((ROOT / path).exists() for path in copied)


def files_of(step: Any) -> list[str]:
    return step.words.split()[:-1]  # type: ignore[no-any-return]


def ignored() -> str:
    return (ROOT / ".dockerignore").read_text(encoding="utf-8")


def test_everything_else_stays_here():
    lines = [line for line in ignored().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"


def test_the_files_that_the_package_is_built_of_are_copied():
    built = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = re.findall(r'"(LICENSE|NOTICE|README\.md)"', built)
    copied = {path for step in STEPS if step.name == "COPY" for path in files_of(step)}
    assert {"LICENSE", "NOTICE", "README.md"} == set(named) <= copied


@pytest.mark.parametrize("target", TARGETS)
def test_the_last_user_is_not_root(target: str):
    users = [step.words for step in STEPS if step.name == "USER" and step.stage == target]
    assert users[-1] == "10001:10001"
    last = [step.name for step in STEPS if step.stage == target]
    assert last.index("USER") > last.index("COPY")


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_tried_while_it_is_built(target: str):
    (tried,) = [step.listed() for step in STEPS if step.name == "RUN" and step.stage == target]
    options = watch_options(tried[1:])
    assert options["sources"] == ["synthetic"]
    assert options["duration"] > 0


def test_the_command_is_one_of_watch():
    options = watch_options(only("CMD").listed())
    assert options["metrics_port"] == 9400
    assert options["config"] == Path("/var/lib/stream-detect/feeds.toml")
    assert options["log_json"]
    assert only("ENTRYPOINT").listed() == ["/opt/stream-detect/bin/stream-detect"]


def test_an_unknown_option_is_not_one_of_watch_fails():
    with pytest.raises(Exception, match="No such option"):
        watch_options(["watch", "--jsonlines", "-"])


def test_base_images_are_pinned_by_tag():
    stages = {step.stage for step in STEPS}
    bases = [step.words.split()[0] for step in STEPS if step.name == "FROM"]
    assert [base for base in bases if base not in stages] == ["python:3.12-slim-bookworm"]


def health_check(port: int) -> list[str]:
    """The check of the image, asked of a port here by the Python of the tests."""
    _, _, command = only("HEALTHCHECK").words.partition(" CMD ")
    python, *rest = json.loads(command)
    assert python == "/opt/stream-detect/bin/python"
    assert "9400" in rest[-1]
    return [sys.executable, *rest[:-1], rest[-1].replace("9400", str(port))]


def is_healthy(port: int) -> bool:
    return subprocess.run(health_check(port), capture_output=True, timeout=30, check=False).returncode == 0


def test_the_health_check_finds_a_run_that_goes_round():
    port = free_port()
    assert not is_healthy(port)
    with Running("watch", "synthetic", "--metrics-port", port, "--jsonl", "-") as program:
        until_s = time.monotonic() + PATIENCE_S
        while not is_healthy(port):
            assert program.process.poll() is None, program.errors
            assert time.monotonic() < until_s, "it did not become healthy in time"
        assert program.stop() == 0
    assert not is_healthy(port)


def test_the_health_check_fails_where_the_loop_hangs():
    with answering(503) as port:
        assert not is_healthy(port)
    with answering(200) as port:
        assert is_healthy(port)


@contextmanager
def answering(status: int) -> Iterator[int]:
    """The port of a server that gives one answer to everything."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_a_composed_service_can_change_nothing_but_its_volume(name: str):
    service = COMPOSED["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    (volume,) = service["volumes"]
    known, _, place = volume.partition(":")
    assert known in COMPOSED["volumes"]
    assert Path(place) == watch_options(only("CMD").listed())["config"].parent
    assert [line.partition(":")[0] for line in service["tmpfs"]] == ["/tmp"]


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_a_composed_service_runs_the_image_as_it_is(name: str):
    service = COMPOSED["services"][name]
    assert not {"command", "entrypoint", "user", "ports", "healthcheck"} & set(service)
    assert service["network_mode"] == "host"  # the server listens on the loopback interface alone
    build = service["build"]
    assert (COMPOSE.parent / build["context"] / build["dockerfile"]).resolve() == DOCKERFILE
    assert build["target"] in TARGETS


def test_only_the_service_for_a_gpu_asks_for_one():
    asked = COMPOSED["services"]["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert asked == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert "deploy" not in COMPOSED["services"]["cpu"]
    (capabilities,) = re.findall(r"NVIDIA_DRIVER_CAPABILITIES=(\S+)", " ".join(step.words for step in STEPS))
    assert set(capabilities.split(",")) == {"compute", "video", "utility"}  # without video NVDEC is missing
