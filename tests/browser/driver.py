"""What a reader does in JupyterLab, as Python: open a notebook, run it, press keys on sliders, look.

`chromium` finds or installs the browser, `serve` starts JupyterLab, `Lab` drives it, `Explorer` is one on the page.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
ERRORS = (
    '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]',
    '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]:has-text("Traceback")',
    ".explorer-error",
)
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "docmanager-extension/plugin": {"autosave": False},
}


class NoBrowser(RuntimeError):
    """There is no Chromium here and it could not be installed."""


def chromium() -> str:
    """The path of a Chromium. Debian's root installs it where it is missing."""
    if found := os.environ.get("RLCORE_CHROMIUM") or _on_path():
        return found
    if not shutil.which("apt-get") or os.getuid() != 0:
        raise NoBrowser(f"none of {', '.join(NAMES)} is on PATH, and only root on Debian can install one here")
    install = "apt-get install -y --no-install-recommends chromium fonts-dejavu-core"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        f"apt-get update && {install}", shell=True, capture_output=True, text=True, env=environment, timeout=900
    )
    if done.returncode or not _on_path():
        raise NoBrowser(f"{install} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return _on_path()


def _on_path() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def serve(folder: Path, home: Path) -> Iterator[str]:
    """JupyterLab on `folder`, with a new `home` for settings, workspaces and kernels' files. Yields address and token.

    It listens on this machine alone, at a free port, with a token, and asks the internet for nothing.
    """
    runtime = home / "runtime"
    for name, setting in SETTINGS.items():
        file = home / "lab" / "user-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(setting))
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(home),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "IPYTHONDIR": str(home / "ipython"),
        "OMP_NUM_THREADS": "1",
    }
    options = {
        "ServerApp.root_dir": str(folder),
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": _free_port(),
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "Application.log_level": "ERROR",
        "IdentityProvider.token": os.urandom(16).hex(),
        "LabApp.news_url": "None",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.extension_manager": "readonly",
        "LabApp.user_settings_dir": str(home / "lab" / "user-settings"),
        "LabApp.workspaces_dir": str(home / "lab" / "workspaces"),
    }
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    log = home / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(command, env=environment, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield _address(server, runtime, log)
    finally:
        server.terminate()  # the server takes its kernels along
        server.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _address(server: subprocess.Popen, runtime: Path, log: Path) -> str:
    """The server says in a file which port it got at last, should another program have been quicker."""

    def answers() -> str | None:
        if server.poll() is not None:
            raise RuntimeError(f"jupyter lab ended with {server.returncode}:\n{log.read_text()[-3000:]}")
        for file in runtime.glob("jpserver-*.json"):
            told = json.loads(file.read_text() or "{}")
            if told and _get(f"{told['url']}api/status?token={told['token']}"):
                return f"{told['url']}?token={told['token']}"
        return None

    return until(answers, 90, "JupyterLab answers")


def _get(url: str, method: str = "GET") -> Any:
    """What this machine's server answers, no proxy between; None when it does not."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, method=method), timeout=10) as answer:
            text = answer.read()
            return json.loads(text) if text else True
    except OSError:
        return None


def until(happens: Callable[[], Any], seconds: float, what: str) -> Any:
    """Ask again and again until the answer is true; give it back. TimeoutError says what did not happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := happens():
            return answer
        time.sleep(0.1)
    raise TimeoutError(f"waited {seconds:g} s until {what}")


class Lab:
    """One browser window on a running JupyterLab, and what a reader does there."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.browser = browser
        self.url, self.token = address.split("?token=")
        self.page: Page | None = None

    def open(self, notebook: str) -> None:
        """Open a notebook in a fresh window with a fresh kernel, and wait until the kernel is idle."""
        self.close()
        self.page = self.browser.new_page(viewport={"width": 1400, "height": 1300})
        self.page.goto(f"{self.url}lab/tree/{notebook}?reset&token={self.token}", wait_until="domcontentloaded")
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=90_000)
        until(self.idle, 90, f"the kernel of {notebook} is idle")

    def close(self) -> None:
        """Close the window and shut down every kernel."""
        if self.page:
            self.page.close()
        for session in self._api("sessions") or []:
            self._api(f"sessions/{session['id']}", "DELETE")
        self.page = None

    def idle(self) -> bool:
        """True where there is a kernel that has nothing to do, and the page knows it."""
        kernels = self._api("kernels") or []
        known = self.page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').count()
        return bool(kernels and known and all(kernel["execution_state"] == "idle" for kernel in kernels))

    def run_all(self, seconds: float = 300) -> None:
        """Run all cells; click again if nothing started. Ends when all have run, or one has stopped the run."""
        before = self._prompts()
        for _ in range(3):
            self._menu("Run", "Run All Cells")
            try:
                until(lambda: self._prompts() != before, 5, "Run All Cells starts")
                break
            except TimeoutError:
                continue
        until(lambda: self._prompts() != before and self._done(), seconds, "all cells have run")

    def restart(self) -> None:
        """A new kernel, and no outputs."""
        self._menu("Kernel", "Restart Kernel and Clear Outputs of All Cells")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        until(lambda: not any(any(c.isdigit() for c in p) for p in self._prompts()), 30, "the outputs are cleared")
        until(self.idle, 90, "the restarted kernel is idle")

    def outputs_with_errors(self) -> list[str]:
        """The text of everything on the page that reports an error."""
        return [text for where in ERRORS for text in self.page.locator(where).all_inner_texts()]

    def explorers(self) -> list["Explorer"]:
        """Every explorer on the page, from top to bottom."""
        return [Explorer(self.page, root) for root in self.page.locator(".explorer").all()]

    def explorer(self, n: int) -> "Explorer":
        """The n-th explorer of the page, in view: once its picture is there and its texts can be read."""
        root = self.page.locator(".explorer").nth(n)
        root.locator("img.widget-image").wait_for(timeout=60_000)
        root.scroll_into_view_if_needed()
        explorer = Explorer(self.page, root)
        until(lambda: explorer.caption, 10, f"explorer {n} is in view")
        return explorer

    def quizzes(self) -> list[Locator]:
        """Every quiz on the page; a choice within an explorer is none."""
        return self.page.locator(".widget-vbox:has(> .widget-radio):not(.explorer *)").all()

    def screenshot(self, path: str | Path) -> None:
        """The window as PNG."""
        self.page.screenshot(path=path)

    def _api(self, path: str, method: str = "GET") -> Any:
        return _get(f"{self.url}api/{path}?token={self.token}", method)

    def _prompts(self) -> list[str]:
        return self.page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()

    def _done(self) -> bool:
        waiting = any("*" in prompt for prompt in self._prompts())
        return not waiting and self.idle()

    def _menu(self, menu: str, entry: str) -> None:
        self.page.locator(".lm-MenuBar-itemLabel", has_text=menu).get_by_text(menu, exact=True).click()
        self.page.locator(".lm-Menu-itemLabel").get_by_text(re.compile(f"^{entry}…?$")).click()


_WATCH = """([root, target]) => {
  const image = root.querySelector("img.widget-image"), start = {};
  const said = () => root.querySelector(".explorer-caption, .explorer-error");
  window.changed = new Promise((resolve, reject) => {
    target.addEventListener("keydown", () => {
      Object.assign(start, {time: performance.now(), src: image.src, text: said().textContent});
    }, {once: true, capture: true});
    const look = async () => {
      if (!start.time || !said() || said().textContent === start.text) return;
      if (said().className === "explorer-error") reject(new Error(said().textContent));
      if (image.src === start.src) return;
      watch.disconnect();
      await image.decode();
      requestAnimationFrame(() => resolve(performance.now() - start.time));
    };
    const watch = new MutationObserver(look);
    watch.observe(root, {subtree: true, childList: true, characterData: true, attributeFilter: ["src"]});
    setTimeout(() => reject(new Error("picture or caption did not change in 20 s")), 20000);
  });
  window.changed.catch(() => {});
}"""


class Explorer:
    """One explorer on the page: sliders, toggle buttons, picture, caption."""

    def __init__(self, page: Page, root: Locator) -> None:
        self.page, self.root = page, root

    @property
    def name(self) -> str:
        """The module that draws it."""
        classes = self.root.get_attribute("class").split()
        return next(c.removeprefix("explorer-") for c in classes if c.startswith("explorer-"))

    @property
    def caption(self) -> str:
        return self.root.locator(".explorer-caption").inner_text()

    @property
    def labels(self) -> list[str]:
        """The labels of the sliders."""
        return self.root.locator(".widget-slider .widget-label").all_inner_texts()

    def reading(self, slider: int) -> str:
        """The value that stands beside a slider."""
        return self.root.locator(".widget-slider .widget-readout").nth(slider).inner_text()

    def press(self, slider: int | str, key: str) -> float:
        """Press a key on a slider (its number or label). Milliseconds until picture and caption have changed."""
        number = self.labels.index(slider) if isinstance(slider, str) else slider
        before = self.reading(number)
        self._send(self.root.locator(".widget-slider .noUi-handle").nth(number), key)
        try:  # the page moves the slider by itself, at once: no need to wait for a picture that will not come
            expect(self.root.locator(".widget-slider .widget-readout").nth(number)).not_to_have_text(
                before, timeout=2000
            )
        except AssertionError:
            raise AssertionError(f"slider {self.labels[number]} still reads {before} after {key}") from None
        return self.page.evaluate("window.changed")

    def toggle(self, button: int, key: str = "Space") -> float:
        """Press a key on a toggle button. Milliseconds until picture and caption have changed."""
        return self.press_on(self.root.locator(".widget-toggle-button").nth(button), key)

    def choose_and_tick(self) -> list[float]:
        """The next option of every list, the other state of every box. Milliseconds of each."""
        times = []
        for one in self.root.locator(".widget-dropdown select").all():
            now, many = one.evaluate("s => [s.selectedIndex, s.options.length]")
            self._watch(one)
            one.dispatch_event("keydown")  # starts the clock; headless, keys do not walk through a list
            one.select_option(index=(now + 1) % many)
            times.append(self.page.evaluate("window.changed"))
        return times + [self.press_on(box, "Space") for box in self.root.locator(".widget-checkbox input").all()]

    def press_on(self, target: Locator, key: str) -> float:
        self._send(target, key)
        return self.page.evaluate("window.changed")

    def _send(self, target: Locator, key: str) -> None:
        target.focus()
        self._watch(target)
        self.page.keyboard.press(key)

    def _watch(self, target: Locator) -> None:
        self.page.evaluate(_WATCH, [self.root.element_handle(), target.element_handle()])
