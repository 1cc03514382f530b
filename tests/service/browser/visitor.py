"""A person with a browser: opens pages, uses the keyboard, and notes whatever goes wrong."""

import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page, Request

WAIT_S = 120  # for what a page must do, on a machine under load
WIDE, NARROW, HEIGHT = 1280, 360, 800  # pixels
VIEWS = [(scheme, width) for scheme in ("light", "dark") for width in (WIDE, NARROW)]
TWO_VIEWS = [("light", WIDE), ("dark", NARROW)]  # of a page that is so long that axe takes seconds
OWN = ("blob:", "data:", "about:")
OFFLINE = "net::ERR_INTERNET_DISCONNECTED"
# Every element that Tab should reach gets a number; a group of radio buttons is one stop.
NUMBER_STOPS = """() => {
  const wanted = 'a[href], button, input, select, textarea, summary, [tabindex]';
  const stops = [...document.querySelectorAll(wanted)].filter(element =>
    element.tabIndex >= 0 && !element.disabled && !element.closest('[inert]')
    && element.checkVisibility({visibilityProperty: true})
    && !(element.type === 'radio' && !element.checked
         && document.querySelector(`input[type=radio][name="${element.name}"]:checked`)));
  stops.forEach((element, number) => { element.dataset.stop = number; });
  return stops.map(element => element.outerHTML.slice(0, 120));
}"""
# The outline may be on the element, its label, or the area around a hidden file input.
FOCUSED = """() => {
  const element = document.activeElement;
  if (!element || element.dataset.stop === undefined) return null;
  const around = [element, ...(element.labels || []), element.parentElement,
                  element.parentElement?.parentElement].filter(Boolean);
  const outlined = around.some(each => {
    const style = getComputedStyle(each);
    return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  });
  const shown = around.some(each => {
    const box = each.getBoundingClientRect();
    return box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0;
  });
  return {stop: Number(element.dataset.stop), outlined, shown};
}"""
OVERFLOWING = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  return [...document.querySelectorAll('body *')]
    .filter(element => element.getBoundingClientRect().right > width + 1)
    .map(element => element.outerHTML.slice(0, 120)).slice(0, 5);
}"""
# What a script of the page does when somebody drops a file from another window.
DROP = """([selector, base64, name, type]) => {
  const bytes = Uint8Array.from(atob(base64), character => character.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, {type}));
  const target = document.querySelector(selector);
  const options = {dataTransfer: transfer, bubbles: true, cancelable: true};
  for (const kind of ['dragenter', 'dragover', 'drop'])
    target.dispatchEvent(new DragEvent(kind, options));
}"""


@dataclass
class Visitor:
    """Somebody in front of a page.

    Attributes:
        page: of Playwright.
        url: of the service.
        problems: errors of scripts, of the content security policy, and requests to other hosts.
    """

    page: Page
    url: str
    problems: list[str] = field(default_factory=list)
    _was_offline: bool = False

    def __post_init__(self) -> None:
        self.page.set_default_timeout(1e3 * WAIT_S)
        self.page.on("console", self._note_message)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("request", self._note_request)

    def _note_message(self, message: ConsoleMessage) -> None:
        late = self._was_offline and OFFLINE in message.text
        if message.type in ("error", "warning") and not late:
            self.problems.append(f"console: {message.text}")

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.url}/", *OWN)):
            self.problems.append(f"another host: {request.url}")

    def forgive(self, text: str) -> None:
        """Forget a problem that had to come; it must have come.

        The browser notes it a moment after the script has its answer. OFFLINE is forgiven from
        then on: other requests may have failed for it, and be noted at any time.
        """
        noted = self.until(lambda: any(text in problem for problem in self.problems))
        assert noted, self.problems
        self.problems[:] = [problem for problem in self.problems if text not in problem]
        self._was_offline = self._was_offline or text == OFFLINE

    def reconnect(self) -> None:
        """End ``set_offline``, and wait until a request arrives: a busy browser takes a while."""
        self.page.context.set_offline(False)
        fetched = "fetch('/healthz').then(() => true, () => false)"
        assert self.until(lambda: self.page.evaluate(fetched)), "the browser stays offline"

    def until(self, done: Callable[[], object]) -> bool:
        """Wait until something is so, while the page goes on; return whether it came to be."""
        deadline = time.monotonic() + WAIT_S
        while not (found := done()) and time.monotonic() < deadline:
            self.page.wait_for_timeout(20)
        return bool(found)

    def open(self, path: str = "/") -> None:
        """Open a page of the service; it must answer 200."""
        answer = self.page.goto(self.url + path)
        assert answer is not None
        assert answer.status == 200, f"{path}: {answer.status}"

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def tab_to(self, selector: str) -> None:
        """Press Tab until an element has the focus."""
        for _ in range(150):
            if self.page.evaluate("s => document.activeElement?.matches(s) ?? false", selector):
                return
            self.press("Tab")
        raise AssertionError(f"Tab does not reach {selector}")

    def axe(self, views: Sequence[tuple[str, int]] = VIEWS) -> list[str]:
        """Return what axe finds, in light and dark mode, wide and narrow."""
        found = []
        for scheme, width in views:
            self.view(scheme, width)
            results = Axe().run(self.page, options={"resultTypes": ["violations"]})
            for rule in results.response["violations"]:
                for node in rule["nodes"]:
                    why = (node["any"] or node["all"] or node["none"])[0]["message"]
                    found.append(f"{scheme} {width}: {rule['id']}: {node['html'][:120]}: {why}")
        return found

    def view(self, scheme: str, width: int) -> None:
        """Change the colour scheme and the width."""
        self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        self.page.set_viewport_size({"width": width, "height": HEIGHT})

    def overflowing(self) -> list[str]:
        """Return what is wider than a page of 360 pixels."""
        self.view("light", NARROW)
        found: list[str] = self.page.evaluate(OVERFLOWING)
        return found

    def unreached_by_tab(self) -> list[str]:
        """Walk through the page by Tab; return what it does not reach, or reaches unseen."""
        self.page.evaluate("() => { document.activeElement?.blur(); scrollTo(0, 0); }")
        stops: list[str] = self.page.evaluate(NUMBER_STOPS)
        seen: set[int] = set()
        faults: list[str] = []
        for _ in range(len(stops) + 2):
            self.press("Tab")
            focused = self.page.evaluate(FOCUSED)
            if focused is None or focused["stop"] in seen:
                continue
            seen.add(focused["stop"])
            if not focused["outlined"]:
                faults.append(f"no outline: {stops[focused['stop']]}")
            if not focused["shown"]:
                faults.append(f"out of view: {stops[focused['stop']]}")
        return faults + [f"not reached: {s}" for n, s in enumerate(stops) if n not in seen]

    def drop(self, selector: str, data: bytes, name: str = "photo.png") -> None:
        """Drop a file on an element."""
        kind = "image/jpeg" if name.endswith(".jpg") else "image/png"
        self.page.evaluate(DROP, [selector, self.encoded(data), name, kind])

    @staticmethod
    def encoded(data: bytes) -> str:
        """Return a file as scripts of a page can be given it."""
        return b64encode(data).decode()
