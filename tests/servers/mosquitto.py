"""A real MQTT broker (mosquitto) that a test can kill and bring back."""

import getpass
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from tests.requirements import require
from tests.servers.ports import free_port, wait_until_listening

PROGRAM = "/usr/sbin/mosquitto"  # Debian has it where a user's PATH does not lead


class Mosquitto:
    """Serves MQTT at `url` of the loopback interface; skips the test where mosquitto is missing.

        with Mosquitto(tmp_path, login="user:password") as broker:
            Mqtt(SinkSettings(kind="mqtt", url=broker.url))

    What is retained, and sessions that are kept, outlive a `stop`, but no `kill`.
    """

    def __init__(self, folder: Path, *, login: str = "", port: int | None = None) -> None:
        self.program = shutil.which("mosquitto") or shutil.which(PROGRAM) or ""
        require(self.program, "mosquitto is not installed")
        self.port = port or free_port()
        self.login = login
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address, with the login if there is one, escaped."""
        user, colon, password = self.login.partition(":")
        login = f"{quote(user, safe='')}{colon}{quote(password, safe='')}@" if self.login else ""
        return f"mqtt://{login}127.0.0.1:{self.port}"

    def url_with(self, login: str) -> str:
        """The address with another login, as it is written."""
        return f"mqtt://{login}@127.0.0.1:{self.port}"

    def start(self) -> "Mosquitto":
        """Start, or bring back after `kill` or `stop`, on the same port; returns when it serves."""
        self._folder.mkdir(parents=True, exist_ok=True)
        configuration = self._folder / "mosquitto.conf"
        configuration.write_text("\n".join(self._settings()) + "\n")
        self._process = subprocess.Popen(
            [self.program, "-c", str(configuration)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            wait_until_listening(self.port)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Shut it down in order."""
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """End it without a goodbye; its connections break off."""
        self._end(subprocess.Popen.kill)

    def pause(self) -> None:
        """Stop the process (SIGSTOP): it accepts connections and answers nothing, until `go_on`."""
        self._running.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._running.send_signal(signal.SIGCONT)

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "the broker is not started"
        return self._process

    def _end(self, way: Callable[["subprocess.Popen[bytes]"], None]) -> None:
        if self._process is not None:
            way(self._process)
            self._process.wait()
            self._process = None

    def __enter__(self) -> "Mosquitto":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _settings(self) -> list[str]:
        log = self._folder / "mosquitto.log"
        log.touch()
        common = [
            f"user {getpass.getuser()}",
            f"listener {self.port} 127.0.0.1",
            f"log_dest file {log}",
            f"persistence_location {self._folder}/",
            "persistence true",
        ]
        return [*common, *([f"password_file {self._passwords()}"] if self.login else ["allow_anonymous true"])]

    def _passwords(self) -> Path:
        """A file with the one user, hashed by mosquitto_passwd."""
        path = self._folder / "passwords"
        user, _, password = self.login.partition(":")
        command = ["mosquitto_passwd", "-b", "-c", str(path), user, password]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        return path
