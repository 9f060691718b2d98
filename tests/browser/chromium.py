"""Find a Chromium for Playwright, or install one: `python tests/browser/chromium.py` prints its path."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

VARIABLE = "RDLIB_CHROMIUM"
COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("chromium", "fonts-dejavu-core")
ADVICE = (
    f"no Chromium was found and none could be installed: install Chromium or Chrome (on Debian and Ubuntu, as root: "
    f"apt-get install {PACKAGES[0]}), or set {VARIABLE} to the program's path"
)


def found() -> str | None:
    """The path in RDLIB_CHROMIUM, a Chromium on the PATH, or the one that `playwright install` put away."""
    named = os.environ.get(VARIABLE)
    if named:
        path = shutil.which(named)
        if path is None:
            raise SystemExit(f"{VARIABLE} names {named}, which is not a program that can be run: correct or unset it")
        return path
    return next(filter(None, map(shutil.which, COMMANDS)), None) or playwrights_own()


def playwrights_own() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def install() -> None:
    """With apt as root (updating its lists where the first try fails), otherwise with Playwright."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        print("installing Chromium with apt-get", file=sys.stderr)
        get = ("apt-get", "install", "-y", "--no-install-recommends", *PACKAGES)
        if ran(*get) or (ran("apt-get", "update") and ran(*get)):
            return
    print("installing Chromium with playwright", file=sys.stderr)
    ran(sys.executable, "-m", "playwright", "install", "chromium")


def ran(*command: str) -> bool:
    """Run a command; its last lines are shown when it fails."""
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        print(f"{' '.join(command)}: not done after 300 s", file=sys.stderr)
        return False
    if done.returncode:
        print(*[" ".join(command) + ":", *(done.stdout + done.stderr).splitlines()[-5:]], sep="\n  ", file=sys.stderr)
    return done.returncode == 0


if __name__ == "__main__":
    if found() is None:
        install()
    path = found()
    if path is None or not ran(path, "--version"):  # a program whose libraries are missing is there and does not run
        sys.exit(ADVICE)
    print(path)
