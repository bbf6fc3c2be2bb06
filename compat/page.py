"""The chat page in headless Chromium (Debian's package `chromium`), driven through the DevTools protocol.

    python page.py http://127.0.0.1:8080 [--model NAME] [--api-key KEY] [--screenshot page.png] [--dark dark.png]

A real click-through: keys are typed and the mouse is moved; nothing is called behind the page's back. The page must ask
nothing of any other host.
"""

import argparse
import base64
import itertools
import json
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

import websocket

from report import Report

QUESTION = "Name three animals that live in the desert."
KEYS = {"Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, ""), "Tab": ("Tab", 9, "")}


class Page:
    """A tab of a browser."""

    def __init__(self, url: str):
        self.numbers = itertools.count(1)
        self.events = []
        self.socket = websocket.create_connection(url, timeout=60, suppress_origin=True)
        for domain in ["Page", "Runtime", "Network", "Log"]:
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]
            self.events.append(message)

    def evaluate(self, expression: str):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 60):
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression} has not come true within {seconds} s")
            time.sleep(0.02)
        return value

    def click(self, selector: str):
        # A click beside the element, or on one that something covers, is a fault of the page.
        script = f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            if (!element) return null;
            element.scrollIntoView({{block: "nearest"}});
            const box = element.getBoundingClientRect();
            const place = [box.x + box.width / 2, box.y + box.height / 2];
            return element.contains(document.elementFromPoint(...place)) ? place : null;
        }})()"""
        place = self.evaluate(script)
        if place is None:
            raise RuntimeError(f"{selector} cannot be clicked")
        for kind in ["mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def type(self, text: str):
        self.call("Input.insertText", text=text)

    def press(self, name: str, shift: bool = False):
        key, code, text = KEYS[name]
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def fill(self, selector: str, text: str):
        self.click(selector)
        self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        self.type(text) if text else self.evaluate("document.execCommand('delete')")

    def screenshot(self, path: str | None):
        if path:
            data = self.call("Page.captureScreenshot", format="png")["data"]
            pathlib.Path(path).write_bytes(base64.b64decode(data))

    def size(self, width: int, height: int):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def drain(self):
        """All events so far, without waiting for more."""
        self.evaluate("0")
        return self.events

    def sent(self) -> list[dict]:
        """The bodies of the chat requests so far."""
        requests = [event["params"]["request"] for event in self.drain() if event.get("method") == "Network.requestWillBeSent"]
        return [json.loads(request["postData"]) for request in requests if request["method"] == "POST"]


class Browser:
    """Chromium without a window, with a profile that is thrown away."""

    def __init__(self, program: str):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                 "--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={self.folder.name}"]
        self.process = subprocess.Popen([program, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = pathlib.Path(self.folder.name, "DevToolsActivePort")
        end = time.monotonic() + 60
        while not (port_file.exists() and port_file.read_text().count("\n")):
            if time.monotonic() > end or self.process.poll() is not None:
                self.close()
                raise RuntimeError(f"{program} does not start")
            time.sleep(0.1)
        self.port = port_file.read_text().split()[0]

    def page(self) -> Page:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/json") as answer:
            tabs = json.load(answer)
        return Page(next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"))

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()


LAST = "(document.querySelector('article.assistant:last-of-type .body')?.innerText ?? '')"
DONE = "document.querySelector('#stop').hidden && !!document.querySelector('article.assistant:last-of-type .foot')"


def conversation(page: Page, arguments, report: Report):
    page.size(1100, 760)
    page.call("Page.navigate", url=arguments.url.rstrip("/") + "/")
    page.wait("document.readyState === 'complete'")

    if arguments.api_key:
        with report.case("an API key is asked for and used"):
            page.wait("!document.querySelector('#key').hidden")
            page.fill("#api-key", arguments.api_key)
            page.click("#use-key")
    else:
        report.skipped("an API key is asked for and used", "no --api-key given")
    with report.case("the model's name is shown"):
        name = page.wait("document.querySelector('#model').innerText")
        assert arguments.model in (None, name), f"{name} is shown, {arguments.model} is served"
    with report.case("settings open, a wrong one is named"):
        page.click("#toggle")
        page.fill("[data-parameter=temperature]", "9")
        page.fill("#message", QUESTION)
        page.press("Enter")
        assert "Temperature" in page.wait("document.querySelector('.error')?.innerText")
        assert page.sent() == [], "a request was sent"
        page.click("#clear")
    with report.case("temperature, seed and system message are sent"):
        page.fill("[data-parameter=temperature]", "0.3")
        page.fill("[data-parameter=seed]", "7")
        page.fill("[data-parameter=max_tokens]", "160")
        page.fill("#system", "You are a helpful zoologist.")
        page.click("#message")
        page.type("Hello.")
        page.press("Enter", shift=True)
        page.type(QUESTION)
        assert page.evaluate("document.querySelector('#message').value.includes('\\n')"), "Shift+Enter began no new line"
        page.press("Enter")
        page.wait("!document.querySelector('#stop').hidden")
        body = page.sent()[-1]
        assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.3, 7, 160), body
        assert [message["role"] for message in body["messages"]] == ["system", "user"], body
    with report.case("the answer streams"):
        page.wait(f"{LAST}.length > 0")
        lengths = set()
        while not page.evaluate(DONE):
            lengths.add(page.evaluate(f"{LAST}.length"))
        assert len(lengths) > 3, f"the text was seen at lengths {sorted(lengths)} only"
        note = page.evaluate("document.querySelector('.note').innerText")
        assert "tokens/s" in note and "prompt" in note, note
        print(f"  {note}")
    page.screenshot(arguments.screenshot)
    with report.case("the stop button stops"):
        page.fill("[data-parameter=max_tokens]", "1200")
        page.click("#message")
        page.type("Write a very long story about a lighthouse.")
        page.click("#send")
        page.wait(f"{LAST}.length > 20")
        page.click("#stop")
        assert page.wait("document.querySelector('article.assistant:last-of-type .note')?.innerText", 5).startswith("stopped")
        before = page.evaluate(LAST)
        time.sleep(0.5)
        assert page.evaluate(LAST) == before and before, "text still came after the stop"
    with report.case("an answer can be written again"):
        page.fill("[data-parameter=max_tokens]", "8")
        page.evaluate("document.querySelector('article.assistant:last-of-type').scrollIntoView({block: 'end'})")
        page.click("article.assistant:last-of-type .foot button:nth-of-type(2)")
        page.wait(f"{DONE} && !document.querySelector('article.assistant:last-of-type .note').innerText.startsWith('stopped')")
        assert page.sent()[-1]["messages"][-1]["role"] == "user", page.sent()[-1]
    with report.case("a refusal is shown and can be tried again"):
        page.evaluate("document.querySelector('#system').value = 'much too long '.repeat(20000)")
        page.click("#message")
        page.type("Hello?")
        page.press("Enter")
        error = page.wait("document.querySelector('article:last-of-type .error')?.innerText")
        assert error.startswith("The server answered 4") and "{" not in error, error
        print(f"  {error}")
        page.evaluate("document.querySelector('#system').value = ''")
        page.click("article.assistant:last-of-type .foot button")
        page.wait(f"{DONE} && !document.querySelector('.error') && {LAST}.length > 0")


def appearance(page: Page, arguments, report: Report):
    with report.case("dark and light can be switched"):
        colour = "getComputedStyle(document.body).backgroundColor"
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
        light = page.evaluate(colour)
        page.click("#theme")
        dark = page.evaluate(colour)
        assert light != dark and brightness(dark) < 80 < 200 < brightness(light), (light, dark)
    page.screenshot(arguments.dark)
    with report.case("nothing is too wide at 380 pixels"):
        page.size(380, 700)
        for _ in range(2):
            assert page.evaluate("document.documentElement.scrollWidth") <= 380
            assert page.evaluate("document.documentElement.scrollHeight") <= 700, "the page itself scrolls"
            page.click("#toggle")
        page.click("#toggle")
        page.evaluate("document.querySelector('#log').scrollTop = 1e9")
    page.screenshot(arguments.narrow)


def safety(page: Page, arguments, report: Report):
    with report.case("what a model or a person writes never becomes markup"):
        page.click("#clear")
        script = "markdown('<img src=x onerror=alert(1)> `<b>` **<i>x</i>**\\n```\\n<script>\\n```').map(node => node.outerHTML).join('')"
        html = page.evaluate(script)
        assert "<img" not in html and "<i>" not in html and "<script>" not in html and "<strong>" in html, html
    with report.case("a new chat is empty"):
        assert page.evaluate("document.querySelectorAll('article').length") == 0
        assert page.evaluate("!document.querySelector('#welcome').hidden")
    with report.case("every field and button has a name"):
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        roles = {"button", "textbox", "spinbutton"}
        nameless = [node for node in nodes if node.get("role", {}).get("value") in roles and not node.get("name", {}).get("value")]
        assert not nameless, nameless
    with report.case("no other host is asked, nothing is logged as an error"):
        host = urllib.parse.urlsplit(arguments.url).netloc
        events = page.drain()
        urls = [event["params"]["request"]["url"] for event in events if event.get("method") == "Network.requestWillBeSent"]
        strangers = [url for url in urls if not url.startswith("data:") and urllib.parse.urlsplit(url).netloc != host]
        assert not strangers, strangers
        errors = [event["params"] for event in events if event.get("method") == "Runtime.exceptionThrown"]
        errors += [event["params"]["entry"] for event in events if event.get("method") == "Log.entryAdded"]
        # The browser itself logs the refusals that were provoked above.
        errors = [error for error in errors if "the server responded with a status of 4" not in error.get("text", "")]
        assert not errors, errors


def brightness(colour: str) -> float:
    return sum(float(part) for part in colour[colour.index("(") + 1:-1].split(",")[:3]) / 3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="the server, without a path")
    parser.add_argument("--model", help="the name the page must show")
    parser.add_argument("--api-key")
    parser.add_argument("--browser", default=shutil.which("chromium") or "chromium")
    parser.add_argument("--screenshot", help="where to write a picture of an answer, light")
    parser.add_argument("--dark", help="the same, dark")
    parser.add_argument("--narrow", help="the same, 380 pixels wide")
    arguments = parser.parse_args()
    report = Report("page")
    browser = Browser(arguments.browser)
    try:
        page = browser.page()
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
        for part in [conversation, appearance, safety]:
            part(page, arguments, report)
    finally:
        browser.close()
    report.end()


if __name__ == "__main__":
    main()
