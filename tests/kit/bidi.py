"""Controls browsers over WebDriver BiDi (https://w3c.github.io/webdriver-bidi/).

Firefox implements it itself, Chromium through chromedriver. Both run headless with an empty profile, and verify
certificates.
"""

import base64
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from websocket import WebSocket, create_connection

from tests.kit.wait import TIMEOUT_S, wait_until

WIDTH, HEIGHT = 1100, 800
# https://w3c.github.io/webdriver/#keyboard-actions
ENTER, SHIFT, CONTROL = "\ue007", "\ue008", "\ue009"
# The browsers' own requests to the internet go to a closed port on loopback.
NOWHERE = ("127.0.0.1", 9)
# Another web site, which both browsers resolve to this machine.
BANK = "www.bank.example"
CHROMIUM_ARGUMENTS = (
    ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    + ["--disable-background-networking", "--disable-component-update"]
    + ["--proxy-server={}:{}".format(*NOWHERE), f"--proxy-bypass-list={BANK}"]
    + [f"--host-resolver-rules=MAP {BANK} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"]
)
FIREFOX_PREFERENCES = {
    "network.proxy.type": 1,
    **{f"network.proxy.{kind}": NOWHERE[0] for kind in ("http", "ssl")},
    **{f"network.proxy.{kind}_port": NOWHERE[1] for kind in ("http", "ssl")},
    "network.proxy.no_proxies_on": BANK,
    "network.dns.localDomains": BANK,
    "network.proxy.allow_bypass": False,
    "network.proxy.failover_direct": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "network.trr.mode": 5,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
}
_NUMBERS = itertools.count(1)
MAX_STARTS = 5


class NavigationRefused(Exception):
    """The browser did not open the page; the message is the browser's."""


class Page:
    """The only window of a browser."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._context = send(socket, "browsingContext.getTree")["contexts"][0]["context"]
        self._in_window("browsingContext.setViewport", viewport={"width": WIDTH, "height": HEIGHT})

    def open(self, url: str) -> None:
        """Open a page. Raises NavigationRefused with the browser's error, such as an unknown certificate."""
        self._in_window("browsingContext.navigate", url=url, wait="complete")

    def reload(self) -> None:
        """Press F5."""
        self._in_window("browsingContext.reload", wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, if it is a string, a number or a boolean."""
        answer = send(
            self._socket,
            "script.evaluate",
            expression=expression,
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        assert answer["type"] == "success", answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The value of a JavaScript expression, once it is truthy. The page may reload meanwhile."""
        values: list[Any] = []

        def holds() -> bool:
            with contextlib.suppress(NavigationRefused):
                values[:] = [self.evaluate(expression)]
            return any(values)

        try:
            wait_until(holds, expression)
        except AssertionError as error:
            error.add_note(str(self.evaluate("document.location + '\\n' + document.body.innerText")))
            raise
        return values[0]

    def click(self, selector: str, text: str = "") -> None:
        """Click on the first visible element that matches the selector and contains the text, once it exists."""
        element = (
            f"[...document.querySelectorAll({json.dumps(selector)})]"
            f".find(element => element.checkVisibility() && element.textContent.includes({json.dumps(text)}))"
        )
        self.wait_for(f"!!{element}")
        x = round(self.evaluate(f"(box => box.x + box.width / 2)({element}.getBoundingClientRect())"))
        y = round(self.evaluate(f"(box => box.y + box.height / 2)({element}.getBoundingClientRect())"))
        button: list[dict[str, Any]] = [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
        self._act("pointer", [{"type": "pointerMove", "x": x, "y": y}, *button])

    def type(self, text: str) -> None:
        """Type a text, key by key."""
        keys = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._act("key", keys)

    def press(self, *keys: str) -> None:
        """Press keys together, as in Ctrl+S."""
        down = [{"type": "keyDown", "value": key} for key in keys]
        self._act("key", down + [{"type": "keyUp", "value": key} for key in reversed(keys)])

    def screenshot(self, file: Path) -> None:
        """Save a screenshot as PNG."""
        answer = self._in_window("browsingContext.captureScreenshot")
        file.write_bytes(base64.b64decode(answer["data"]))

    def _act(self, kind: str, actions: list[dict[str, Any]]) -> None:
        self._in_window("input.performActions", actions=[{"type": kind, "id": kind, "actions": actions}])

    def _in_window(self, method: str, **parameters: Any) -> dict[str, Any]:
        return send(self._socket, method, context=self._context, **parameters)


def send(socket: WebSocket, method: str, **parameters: Any) -> dict[str, Any]:
    """Send a command and wait for its result. Raises NavigationRefused."""
    number = next(_NUMBERS)
    socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
    while True:
        answer = json.loads(socket.recv())
        if answer.get("id") != number:
            continue  # an event
        if answer["type"] == "error":
            raise NavigationRefused(f"{method}: {answer['message']}")
        result: dict[str, Any] = answer["result"]
        return result


@contextlib.contextmanager
def chromium(environment: dict[str, str], profile: Path) -> Iterator[Page]:
    """A Chromium with this profile, for the user of this environment."""
    profile.mkdir(parents=True, exist_ok=True)
    command = ["chromedriver", "--port=0"]
    arguments = [*CHROMIUM_ARGUMENTS, f"--user-data-dir={profile}"]
    capabilities = {"webSocketUrl": True, "goog:chromeOptions": {"args": arguments}}
    with (
        _start_driver(command, environment, profile, r"successfully on port (\d+)") as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=TIMEOUT_S) as driver,
    ):
        answer = driver.post("/session", json={"capabilities": {"alwaysMatch": capabilities}}).json()["value"]
        assert "sessionId" in answer, answer
        try:
            with _connected(answer["capabilities"]["webSocketUrl"]) as socket:
                yield Page(socket)
        finally:
            driver.delete(f"/session/{answer['sessionId']}")


@contextlib.contextmanager
def firefox(environment: dict[str, str], profile: Path) -> Iterator[Page]:
    """A Firefox with this profile, for the user of this environment."""
    profile.mkdir(parents=True, exist_ok=True)
    lines = [
        f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
        for name, value in FIREFOX_PREFERENCES.items()
    ]
    (profile / "user.js").write_text("".join(lines))
    command = ["firefox-esr", "--headless", "--no-remote", "--profile", str(profile)]
    command += ["--remote-debugging-port", "0"]
    with (
        _start_driver(command, environment, profile, r"WebDriver BiDi listening on (ws://\S+)") as url,
        _connected(f"{url}/session") as socket,
    ):
        send(socket, "session.new", capabilities={})
        yield Page(socket)


def _connected(url: str) -> contextlib.closing[WebSocket]:
    # The drivers refuse pages of web sites, which have an Origin.
    return contextlib.closing(create_connection(url, TIMEOUT_S, suppress_origin=True))


@contextlib.contextmanager
def _start_driver(
    command: list[str], environment: dict[str, str], profile: Path, ready: str
) -> Iterator[str]:
    """Run a program in its own process group; yields the first group of `ready` in its output."""
    log = profile.with_suffix(".log")
    # chromedriver chooses a port that is free on ::1, and exits if it is taken on 127.0.0.1.
    for _ in range(MAX_STARTS):
        process = _launch(command, environment, log, ready)
        if "port not available" not in _text(log):
            break
    try:
        match = re.search(ready, _text(log))
        assert match, _text(log)
        yield match[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(TIMEOUT_S)


def _launch(
    command: list[str], environment: dict[str, str], log: Path, ready: str
) -> subprocess.Popen[bytes]:
    """Run the program until its output matches `ready`, or it has exited."""
    with log.open("wb") as log_file:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(
            lambda: re.search(ready, _text(log)) or process.poll() is not None, f"{command[0]} is ready"
        )
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT_S)
        raise
    return process


def _text(log: Path) -> str:
    return log.read_text("utf-8", "replace")
