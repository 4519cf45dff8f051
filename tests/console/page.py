"""A real server, a real browser, and the console's page in it."""

import base64
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "deploy/samples"
BUNDLE = ROOT / "models/mnist-not4"
CLOTH = ROOT / "models/cloth"
START_S = 60
WAIT_S = 20

# Strokes of digits, in parts of the pad.
FOUR = [[(0.36, 0.18), (0.28, 0.55), (0.74, 0.55)], [(0.62, 0.3), (0.6, 0.88)]]
ONE = [[(0.52, 0.15), (0.5, 0.4), (0.48, 0.85)]]

# Collected from the page's first moment on.
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""
# When the pen was lifted.
LIFTED = "document.querySelector('#pad').addEventListener('pointerup', () => { window.lifted = performance.now(); })"


def chromium():
    """The paths of the browser and of its driver."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        sys.exit(
            "chromium is needed, and chromedriver: apt-get install --no-install-recommends chromium chromium-driver"
        )
    return browser, driver


@contextlib.contextmanager
def server(*flags, bundle=BUNDLE):
    """Serves a bundle; the address of HTTP."""
    with tempfile.TemporaryDirectory() as folder:
        ready = pathlib.Path(folder) / "ready"
        command = [os.environ["LFBM_SERVER"], "--bundle", bundle, "--ready-file", ready]
        command += ["--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0", *flags]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + START_S
            while "http=" not in (ready.read_text() if ready.exists() else ""):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the server did not start within {START_S} s")
                time.sleep(0.05)
            lines = ready.read_text().splitlines()
            yield next(line[len("http=") :] for line in lines if line.startswith("http="))
        finally:
            process.kill()
            process.wait()


class Page:
    """The console in a browser of its own."""

    def __init__(self, address, width=1280, height=1000, dark=False):
        browser, driver = chromium()
        options = Options()
        options.binary_location = browser
        # CI runs as root in a container, where chromium's own sandbox cannot start.
        for flag in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.folder = tempfile.TemporaryDirectory()
        options.add_experimental_option("prefs", {"download.default_directory": self.folder.name})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.command("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.command("Emulation.setTouchEmulationEnabled", enabled=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.driver.get(f"http://{address}/")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()
        self.folder.cleanup()

    def command(self, name, **parameters):
        return self.driver.execute_cdp_cmd(name, parameters)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def count(self, selector):
        return len(self.find_all(selector))

    def text(self, selector):
        """An element's text, shown or not."""
        return self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def wait(self, condition, what):
        WebDriverWait(self.driver, WAIT_S, poll_frequency=0.02).until(lambda _: condition(), what)

    def ready(self):
        """Waits until a model is chosen."""
        self.wait(lambda: self.text("#model-summary").startswith("Scores"), "a model is chosen")

    def draw(self, strokes):
        """Draws with the mouse; when the pen was lifted, by the page's clock."""
        pad = self.find("#pad")
        self.run("arguments[0].scrollIntoView({block: 'center'})", pad)
        size = pad.size["width"]
        self.run(LIFTED)
        mouse = ActionChains(self.driver, duration=20)
        for (x, y), *others in strokes:
            mouse.move_to_element_with_offset(pad, (x - 0.5) * size, (y - 0.5) * size).click_and_hold()
            for x, y in others:
                mouse.move_to_element_with_offset(pad, (x - 0.5) * size, (y - 0.5) * size)
            mouse.release()
        mouse.perform()

    def draw_by_touch(self, strokes):
        """Draws with a finger."""
        self.run("document.querySelector('#pad').scrollIntoView({block: 'center'})")
        place = "const { left, top, width } = document.querySelector('#pad').getBoundingClientRect();"
        left, top, size = self.run(place + "return [left, top, width]")
        for stroke in strokes:
            kind = "touchStart"
            for x, y in stroke:
                point = {"x": left + x * size, "y": top + y * size}
                self.command("Input.dispatchTouchEvent", type=kind, touchPoints=[point])
                kind = "touchMove"
            self.command("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def choose_files(self, files):
        self.find("#choose-images").send_keys("\n".join(str(file) for file in files))

    def verdict(self):
        return self.text("#verdict .headline .badge")

    def errors(self):
        """What the browser complained of, and what the policy forbade."""
        logged = [entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        return [entry["message"] for entry in logged] + self.run("return window.violations")

    def screenshot(self, name):
        """A picture of the whole page, where LFBM_SCREENSHOTS names a folder."""
        folder = os.environ.get("LFBM_SCREENSHOTS")
        if folder:
            picture = self.command("Page.captureScreenshot", captureBeyondViewport=True)
            pathlib.Path(folder, f"{name}.png").write_bytes(base64.b64decode(picture["data"]))
