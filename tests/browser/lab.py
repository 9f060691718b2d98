"""A JupyterLab server of its own: its own settings, its own data, and a root folder that is a copy of the notebooks."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
SETTINGS = {  # a toast that asks about news covers a corner of every screenshot
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false", "checkForUpdates": False},
}
UP_WITHIN = 180  # seconds; 4 to 6 are usual


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Lab:
    """Started on entry, stopped on exit. `root` is the folder it shows, `log` what the server and its kernels print."""

    def __init__(self, place: Path, notebooks: list[Path]):
        self.place, self.root, self.log = place, place / "root", place / "server.log"
        self.root.mkdir(parents=True)
        self.notebooks = {notebook.name: notebook for notebook in notebooks}
        for name in self.notebooks:
            self.lay(name)
        for name, settings in SETTINGS.items():
            file = place / "config" / "lab" / "user-settings" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(settings))
        own = {f"JUPYTER_{kind.upper()}_DIR": str(place / kind) for kind in ("config", "data", "runtime")}
        own |= {"IPYTHONDIR": str(place / "ipython"), "PYTHONPATH": str(ROOT)}  # PYTHONPATH: this tree's rdlib
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
        self.environment = inherited | own
        self.token, self.port = "browser-tests", 0

    def __enter__(self) -> "Lab":
        for _ in range(3):  # another process may take the port between our look and the server's start
            self.port = free_port()
            with self.log.open("a") as log:
                self.process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
                        *(f"--port={self.port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={self.root}"),
                        *(f"--IdentityProvider.token={self.token}", "--expose-app-in-browser"),
                    ],
                    cwd=self.root,
                    env=self.environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            if self.answers():
                return self
            self.__exit__()
        raise RuntimeError(f"JupyterLab did not start: {self.log.read_text()[-2000:]}")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def answers(self) -> bool:
        until = time.monotonic() + UP_WITHIN
        while time.monotonic() < until and self.process.poll() is None:
            try:
                self.ask("api/status")
            except OSError:
                time.sleep(0.1)
            else:
                return True
        return False

    def ask(self, path: str, method: str = "GET") -> Any:
        """A call of the server's REST interface; raises OSError where there is no answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{path}", method=method, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def stop_kernels(self) -> None:
        for session in self.ask("api/sessions"):
            self.ask(f"api/sessions/{session['id']}", "DELETE")

    def url(self, notebook: str) -> str:
        """A workspace of its own, so that no tab of an earlier page is opened again."""
        return f"http://127.0.0.1:{self.port}/lab/workspaces/w{time.monotonic_ns()}/tree/{notebook}?token={self.token}"

    def lay(self, name: str) -> None:
        """The notebook as committed, whatever has been saved over it."""
        shutil.copy(self.notebooks[name], self.root)

    def read(self, notebook: str) -> Any:
        """The notebook as the server saved it."""
        return nbformat.read(self.root / notebook, 4)
