"""The console in a browser against a real server: `make console-test`.

The page is used as people do: drawn on, given files, with the keyboard alone, on a phone. What is asserted of time is
that an answer comes; how long it takes is printed.
"""

import csv
import json
import pathlib
import tempfile
import unittest
import urllib.request

from page import CLOTH, FOUR, ONE, ROOT, SAMPLES, Page, chromium, server
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

# Measured in the page: from the pen's lift to the first frame with the verdict.
MEASURE = """
new MutationObserver(() => {
  if (document.querySelector("#overlay") === null) return;
  requestAnimationFrame(() => { window.answered = performance.now(); });
}).observe(document.querySelector("#verdict"), { childList: true, subtree: true });
"""
TOKEN = "a-token-of-the-test"


class Console(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.address = cls.enterClassContext(server())

    def open(self, **options):
        page = self.enterContext(Page(self.address, **options))
        page.ready()
        return page

    def assert_quiet(self, page):
        self.assertEqual(page.errors(), [])

    def score_samples(self, page, others=0):
        files = sorted(SAMPLES.glob("*.png"))
        page.choose_files(files)
        page.wait(lambda: page.count("#table tbody tr") == len(files) + others, "every file has a row")
        return files

    def test_a_drawn_four_is_anomalous_and_shows_where(self):
        page = self.open()
        page.run(MEASURE)
        page.draw(FOUR)
        page.wait(lambda: page.run("return window.answered > window.lifted"), "the overlay of the drawing")
        elapsed = page.run("return window.answered - window.lifted")
        print(f"\nfrom the pen's lift to the verdict and the overlay: {elapsed:.0f} ms")
        self.assertEqual(page.verdict(), "anomalous")
        opaque = """
            const overlay = document.querySelector("#overlay");
            const { data } = overlay.getContext("2d").getImageData(0, 0, overlay.width, overlay.height);
            return [overlay.width, overlay.height, data.filter((value, at) => at % 4 === 3 && value > 64).length];
        """
        width, height, marked = page.run(opaque)
        self.assertEqual((width, height), (28, 28), "the model's size")
        self.assertGreater(marked, 0)
        page.find("#opacity").send_keys(Keys.HOME)
        self.assertEqual(page.run("return getComputedStyle(document.querySelector('#overlay')).opacity"), "0")
        # Both strokes are one drawing.
        page.wait(lambda: page.count("#table tbody tr") == 1, "one row")
        page.find("#pad-clear").click()
        page.draw(ONE)
        page.wait(lambda: page.verdict() == "normal", "the drawn one is normal")
        page.wait(lambda: page.count("#table tbody tr") == 2, "a second row")
        self.assert_quiet(page)

    def test_files_fill_the_histogram_the_table_and_the_csv(self):
        page = self.open()
        files = self.score_samples(page)
        page.screenshot("light")
        page.wait(lambda: f"of these {len(files)}" in page.text("#would-flag"), "the histogram counts them")
        self.assertIn("5 % of normal images", page.text("#would-flag"))
        slider = page.find("#threshold")
        slider.send_keys(Keys.HOME)
        self.assertIn(f"would flag {len(files)} of these {len(files)}", page.text("#would-flag"))
        slider.send_keys(Keys.END)
        self.assertIn(f"would flag 0 of these {len(files)}", page.text("#would-flag"))
        self.assertEqual(page.count("#table tr.flagged"), 0)
        plot = page.find("#histogram")
        ActionChains(page.driver, duration=20).move_to_element(plot).click_and_hold().move_by_offset(
            -plot.size["width"] // 2 + 5, 0
        ).release().perform()
        self.assertIn(f"would flag {len(files)} of these {len(files)}", page.text("#would-flag"))
        page.find("#threshold-reset").click()
        self.assertIn("The model's threshold", page.text("#would-flag"))

        page.find("[data-sorts='Local score']").click()
        names = [name.text for name in page.driver.find_elements("css selector", "#table td.name")]
        page.find("#download").click()
        file = pathlib.Path(page.folder.name, "scores.csv")
        page.wait(file.exists, "the file of the download")
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        self.assertEqual([row["image"] for row in rows], names)
        scores = [float(row["local_score"]) for row in rows]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertEqual({row["verdict"] for row in rows}, {"normal", "anomalous"})

        lowest = page.driver.find_elements("css selector", "#table td.name button")[-1]
        lowest.click()
        page.wait(lambda: page.text("#verdict .headline .name") == names[-1], "the row's image is shown")
        self.assertEqual(page.verdict(), "normal")
        self.assert_quiet(page)

    def test_a_folder_is_scored_and_its_images_removed(self):
        page = self.open()
        page.find("#choose-folder").send_keys(str(SAMPLES))
        files = sorted(f"{SAMPLES.name}/{file.name}" for file in SAMPLES.glob("*.png"))
        page.wait(lambda: page.count("#table tbody tr") == len(files), "every image of the folder has a row")
        names = [name.text for name in page.driver.find_elements("css selector", "#table td.name")]
        self.assertEqual(sorted(names), files)
        page.find("#forget").click()
        page.wait(lambda: page.count("#no-scores:not([hidden])") == 1, "nothing is kept")
        self.assertEqual(page.count("#table tbody tr"), 0)
        self.assert_quiet(page)

    def test_images_are_dropped_and_pasted(self):
        page = self.open()
        # A browser lets no program fill its clipboard or drag a file: the page gets the events of both.
        script = """
            const [name, kind, type] = arguments;
            const canvas = Object.assign(document.createElement("canvas"), { width: 28, height: 28 });
            canvas.getContext("2d").fillRect(0, 0, 28, 28);
            canvas.toBlob((blob) => {
              const data = new DataTransfer();
              data.items.add(new File([blob], name, { type }));
              document.dispatchEvent(kind === "drop"
                ? new DragEvent(kind, { dataTransfer: data, cancelable: true })
                : new ClipboardEvent(kind, { clipboardData: data, cancelable: true }));
              done();
            });
        """
        for rows, (name, kind) in enumerate([("dropped.png", "drop"), ("pasted.png", "paste")], 1):
            self.call(page, script, name, kind, "image/png")
            page.wait(lambda name=name: page.text("#verdict .headline .name") == name, f"{name} is shown")
            page.wait(lambda rows=rows: page.count("#table tbody tr") == rows, f"{name} has a row")
        self.call(page, script, "letter.txt", "drop", "text/plain")
        page.wait(lambda: "No image" in page.text("#error"), "what is no image is refused")
        self.assert_quiet(page)

    def test_names_are_text_and_a_file_that_is_no_image_has_a_reason(self):
        page = self.open()
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "<img src=x onerror=alert(1)>.png")
            file.write_bytes(b"no image")
            page.choose_files([file])
            page.wait(lambda: page.verdict() == "no score", "the error is shown")
            self.assertEqual(page.text("#verdict .headline .name"), file.name)
            self.assertIn("PNG", page.text("#verdict .error"))
        # The browser logs the status; nothing else.
        self.assertEqual([error for error in page.errors() if "400" not in error], [])

    def test_the_keyboard_alone_is_enough(self):
        page = self.open()

        def press(*keys):
            ActionChains(page.driver).send_keys(*keys).perform()

        def focus(selector):
            for _ in range(60):
                if page.run("return document.activeElement.matches(arguments[0])", selector):
                    return
                press(Keys.TAB)
            self.fail(f"Tab does not reach {selector}")

        focus("#pad")
        # The left arm and the bar of a 4, then its stem.
        press(*[Keys.LEFT] * 5, *[Keys.UP] * 8, Keys.SPACE, *[Keys.DOWN] * 9, *[Keys.RIGHT] * 12, Keys.SPACE)
        press(*[Keys.UP] * 6, *[Keys.LEFT] * 4, Keys.SPACE, *[Keys.DOWN] * 14, Keys.SPACE)
        page.wait(lambda: page.verdict() == "anomalous", "a verdict")
        page.wait(lambda: page.count("#table tbody tr") == 1, "a row")
        focus("#threshold")
        press(Keys.END)
        self.assertIn("would flag 0 of these 1", page.text("#would-flag"))
        focus("[data-sorts='Image']")
        press(Keys.ENTER)
        self.assertEqual(page.count("th[aria-sort='ascending']"), 1)
        focus("#table td.name button")
        press(Keys.ENTER)
        page.wait(lambda: page.count("#table tr.shown") == 1, "the row is shown")
        self.assert_quiet(page)

    def test_a_phone_shows_all_without_scrolling_sideways(self):
        page = self.open(width=360, height=740)
        page.draw_by_touch(FOUR)
        page.wait(lambda: page.verdict() == "anomalous", "a verdict")
        self.score_samples(page, others=1)
        width, visible = page.run("return [document.documentElement.scrollWidth, window.innerWidth]")
        self.assertLessEqual(width, visible)
        page.screenshot("phone")
        self.assert_quiet(page)

    def test_texts_have_contrast_in_light_and_dark(self):
        # WCAG 2.1, 1.4.3: 4.5 to 1.
        ratio = """
            const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            const luminance = (colour) => {
              canvas.fillStyle = colour;
              canvas.fillRect(0, 0, 1, 1);
              const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => value / 255);
              const [r, g, b] = parts.map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
              return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const style = getComputedStyle(document.documentElement);
            const [a, b] = arguments[0].map((name) => luminance(style.getPropertyValue(name)));
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        """
        for dark in [False, True]:
            page = self.open(dark=dark)
            for pair in [
                ("--text", "--card"),
                ("--muted", "--card"),
                ("--muted", "--page"),
                ("--accent", "--card"),
                ("--bad", "--bad-soft"),
                ("--good", "--good-soft"),
                ("--on-accent", "--accent"),
            ]:
                self.assertGreaterEqual(page.run(ratio, pair), 4.5, f"{pair}, dark: {dark}")
            self.score_samples(page)
            page.screenshot("dark" if dark else "light-files")
            self.assert_quiet(page)

    def test_models_and_the_server_are_shown(self):
        page = self.open()
        page.wait(lambda: "mnist-not4, version 1" in page.text("#models"), "the model's entry")
        self.assertIn("28 × 28 grey", page.text("#models"))
        page.wait(lambda: "Requests/s" in page.text("#server"), "the server's numbers")
        page.wait(lambda: page.count("#server polyline") == 1, "the rate's line")
        self.assert_quiet(page)

    def test_the_paths_of_rest_are_described(self):
        document = json.loads((ROOT / "src/rest/openapi.json").read_text())
        operations = [operation for item in document["paths"].values() for operation in item.values()]
        page = self.open()
        page.find("footer a[href='docs']").click()
        page.wait(lambda: page.count("#paths details") == len(operations), "every path is there")
        for operation in operations:
            self.assertIn(operation["summary"], page.text("#paths"))
        self.assertEqual(page.count("#schemas details"), len(document["components"]["schemas"]))
        scored = [path for path in page.find_all("#paths details") if "/v1/models/{model}:score" in path.text]
        scored[0].find_element("css selector", "summary").click()
        link = "#paths details[open] a[href='#schema-ScoreRequest']"
        page.find(link).click()
        page.wait(lambda: page.count("#schema-ScoreRequest[open]") == 1, "its schema is open")
        self.assertIn("parameters", page.find("#schema-ScoreRequest").text)
        page.screenshot("docs")
        self.assert_quiet(page)

    def test_refused_bundles_are_named_with_the_reason(self):
        page = self.open()
        script = """
            import("./console/models.js").then(({ showModels }) => {
              showModels([], [{ bundle: "<b>parts</b>", reason: "weights.bin: another checksum" }]);
              done(document.querySelector("#models").textContent);
            });
        """
        shown = self.call(page, script)
        self.assertIn("<b>parts</b> refused", shown)
        self.assertIn("weights.bin: another checksum", shown)

    def call(self, page, script, *arguments):
        """Runs a script that calls the page's modules; what it hands to `done`."""
        page.driver.set_script_timeout(20)
        return page.driver.execute_async_script("const done = arguments[arguments.length - 1];" + script, *arguments)

    def test_maps_and_regions_of_sites_lie_over_the_image(self):
        page = self.open()
        script = """
            const { showVerdict } = await import("./console/verdict.js");
            const canvas = Object.assign(document.createElement("canvas"), { width: 200, height: 100 });
            canvas.getContext("2d").fillRect(0, 0, 200, 100);
            const file = await new Promise((made) => canvas.toBlob(made));
            const bounds = { x: 100, y: 50, width: 100, height: 50 };
            const score = {
              verdict: "anomalous", site_score: 6, site_p_value: 0.01, queue_time_s: 0, compute_time_s: 0.01,
              regions: [{ bounds, area: 5000, peak: 9, peak_p_value: 0.02 }],
              map: {
                rows: 2, columns: 2, values: [0, 0, 0, 9], threshold: 4,
                bounds: { x: 0, y: 0, width: 200, height: 100 },
              },
            };
            const model = { name: "sites", version: 1, decision: "sites", threshold_site_score: 4 };
            await showVerdict({ name: "part.png", file, model, score }, { score }, () => true);
            await showVerdict({ name: "late.png", file, model, score }, { score }, () => false);
            const { data, width } = document.querySelector("#overlay").getContext("2d").getImageData(0, 0, 200, 100);
            const opacity = (x, y) => data[4 * (y * width + x) + 3];
            done([opacity(20, 20), opacity(160, 75)]);
        """
        normal, anomalous = self.call(page, f"(async () => {{ {script} }})();")
        self.assertEqual(normal, 0)
        self.assertGreater(anomalous, 128)
        self.assertEqual(page.text("#verdict .headline .name"), "part.png", "what is no longer wanted is not shown")
        self.assertIn("100 × 50 pixels at 100, 50", page.text("#verdict"))
        self.assertIn("p-value 0.0100", page.text("#verdict"))
        self.assertIn("Threshold: 4.00", page.text("#verdict .decides + .meaning"))
        self.assert_quiet(page)

    def test_the_score_that_decides_is_the_models(self):
        page = self.open()
        script = """
            import("./console/decision.js").then(({ decisionOf }) => {
              const thresholds = { threshold_log_joint: -3, threshold_local_score: 2, threshold_site_score: 4 };
              done(["log_joint", "local", "sites"].map((decision) => {
                const { score, threshold } = decisionOf({ decision, ...thresholds });
                return [score, threshold];
              }));
            });
        """
        expected = [["log_joint", -3], ["local_score", 2], ["site_score", 4]]
        self.assertEqual(self.call(page, script), expected)

    def test_answers_that_end_early_are_errors_after_which_all_goes_on(self):
        page = self.open()
        page.run("""
            const original = window.fetch;
            window.repair = () => (window.fetch = original);
            const broken = () => new ReadableStream({ pull: (body) => body.error(new TypeError("ended early")) });
            window.fetch = async () => new Response(broken());
        """)
        files = self.score_samples(page)
        page.wait(lambda: page.text("#progress") == "", "nothing is left to score")
        self.assertEqual(page.count("#table .badge.none"), len(files))
        page.wait(lambda: "ended early" in page.text("#verdict .error"), "the reason is shown")
        page.wait(lambda: "ended early" in page.text("#server"), "the server's numbers are missing")
        page.run("window.repair()")
        page.wait(lambda: "Requests/s" in page.text("#server"), "the server's numbers are back")
        page.find("#forget").click()
        page.wait(lambda: page.count("#table tbody tr") == 0, "nothing is kept")
        self.score_samples(page)
        self.assertEqual(page.count("#table .badge.none"), 0)
        self.assert_quiet(page)

    def test_an_answer_is_read_exactly_or_is_an_error(self):
        page = self.open()
        script = """
            const { ApiError, models } = await import("./console/api.js");
            const ask = async (body) => {
              window.fetch = async () => new Response(body);
              return models().catch((error) => (error instanceof ApiError ? error.message : String(error)));
            };
            done([await ask('{"models": [{"version": 18446744073709551615}]}'), await ask("<html>")]);
        """
        [model], error = self.call(page, f"(async () => {{ {script} }})();")
        self.assertEqual(model["version"], "18446744073709551615")
        self.assertIn("expected JSON", error)

    def test_a_few_thumbnails_are_made_at_a_time(self):
        page = self.open()
        script = """
            const { thumbnail } = await import("./console/picture.js");
            const original = window.createImageBitmap;
            let [open, most] = [0, 0];
            window.createImageBitmap = async (file) => {
              most = Math.max(most, ++open);
              // All that are let begin before the first ends.
              await new Promise((later) => setTimeout(later));
              open -= 1;
              return original(file);
            };
            const source = Object.assign(document.createElement("canvas"), { width: 40, height: 20 });
            const file = await new Promise((made) => source.toBlob(made));
            const canvases = Array.from({ length: 21 }, () => document.createElement("canvas"));
            for (const canvas of canvases) thumbnail(canvas, file);
            const [gone, ...shown] = canvases;
            document.body.append(...shown);
            while (shown.some(({ width }) => width !== 72)) await new Promise((later) => setTimeout(later));
            done([most, gone.width]);
        """
        most, gone = self.call(page, f"(async () => {{ {script} }})();")
        self.assertLessEqual(most, 4)
        self.assertNotEqual(gone, 72, "what is not on the page is not made")

    def test_a_drawing_has_a_result_of_every_model(self):
        page = self.open()
        # A second name of the model.
        twin = """
            const ask = window.fetch;
            window.fetch = async (address, options) => {
              const response = await ask(address.replace("models/twin/", "models/mnist-not4/"), options);
              if (address !== "v1/models") return response;
              const { models } = await response.json();
              return Response.json({ models: [...models, { ...models[0], name: "twin" }] });
            };
        """
        page.command("Page.addScriptToEvaluateOnNewDocument", source=twin)
        page.driver.refresh()
        page.ready()
        choose = """
            const select = document.querySelector("#model");
            select.value = arguments[0];
            select.dispatchEvent(new Event("change"));
        """
        for rows in [1, 2]:
            page.find("#pad-clear").click()
            page.draw(ONE)
            page.wait(lambda rows=rows: page.count("#table tbody tr") == rows, f"{rows} of the first model")
        page.run(choose, "twin, version 1")
        page.draw(ONE)
        page.wait(lambda: page.count("#table tbody tr") == 1, "the last drawing, of the second model")
        page.run(choose, "mnist-not4, version 1")
        page.wait(lambda: page.count("#table tbody tr") == 2, "both drawings, of the first model")
        self.assert_quiet(page)

    def test_the_share_of_normal_images_comes_from_p_values(self):
        page = self.open()
        script = """
            const modules = ["decision", "numbers"].map((name) => import(`./console/${name}.js`));
            Promise.all(modules).then(([{ decisionOf, normalShare }, { percent }]) => {
              const model = { decision: "local", threshold_local_score: 2, false_positive_rate: 0.05 };
              const scores = [
                { local_score: 0, local_p_value: 0.45 },
                { local_score: 4, local_p_value: 0.01 },
              ];
              const share = (threshold) => normalShare(decisionOf(model), model, scores, threshold, percent);
              done([-1, 0, 1, 2, 3, 5].map(share));
            });
        """
        self.assertEqual(
            self.call(page, script),
            [
                "at least 45 % of normal images",
                "45 % of normal images",
                "about 25 % of normal images",
                "5 % of normal images",
                "about 3.0 % of normal images",
                "at most 1 % of normal images",
            ],
        )


class Sites(unittest.TestCase):
    def test_the_nearest_normal_images_are_named(self):
        names = json.loads((CLOTH / "names.json").read_text())
        address = self.enterContext(server(bundle=CLOTH))
        page = self.enterContext(Page(address))
        page.ready()
        page.choose_files([SAMPLES / "strokes-4-0.png"])
        page.wait(lambda: page.verdict() == "anomalous", "a digit is no cloth")
        self.assertEqual(page.count("#opacity"), 1, "the map lies over the image")
        page.screenshot("nearest")
        self.assertIn("Nearest normal images", page.text("#verdict"))
        row = page.find("#verdict div:last-child tbody tr")
        self.assertIn(row.find_element("css selector", "th").text, names.values())
        self.assertIn("at the peak of the map", row.text)
        page.find("#download").click()
        file = pathlib.Path(page.folder.name, "scores.csv")
        page.wait(file.exists, "the file of the download")
        with file.open(newline="") as lines:
            (written,) = csv.DictReader(lines)
        with urllib.request.urlopen(f"http://{address}/openapi.json") as document:
            fields = json.load(document)["components"]["schemas"]["Score"]["properties"]
        numbers = [name for name, field in fields.items() if "number" in field.get("type", "")]
        self.assertIn("site_score", numbers)
        for name in numbers:
            # A model of sites has no local score.
            self.assertEqual(written[name] == "", name.startswith("local_"), name)
        self.assertEqual(page.errors(), [])


class Tokens(unittest.TestCase):
    def test_a_token_is_asked_for_and_kept_in_memory_only(self):
        with tempfile.TemporaryDirectory() as folder:
            tokens = pathlib.Path(folder, "tokens")
            tokens.write_text(TOKEN)
            address = self.enterContext(server("--auth-tokens-file", str(tokens)))
            page = self.enterContext(Page(address))
            page.wait(lambda: page.count("#token-form:not([hidden])") == 1, "the form")
            page.find("#token").send_keys("another", Keys.ENTER)
            page.wait(lambda: "did not accept" in page.text("#token-reason"), "the wrong token is refused")
            page.find("#token").send_keys(TOKEN, Keys.ENTER)
            page.ready()
            page.draw(FOUR)
            page.wait(lambda: page.verdict() == "anomalous", "a verdict")
            self.assertEqual(page.count("#token-form:not([hidden])"), 0)
            stored = page.run("return [localStorage.length, sessionStorage.length, document.cookie]")
            self.assertEqual(stored, [0, 0, ""])
            self.assertEqual([error for error in page.errors() if "401" not in error], [])


if __name__ == "__main__":
    chromium()
    unittest.main(verbosity=2)
