# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The report in a headless Chromium, as somebody without a mouse and with a phone sees it."""

import json
import shutil

import pytest

pytest.importorskip("selenium")

from selenium import webdriver
from selenium.webdriver import ActionChains, Keys

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium here (apt-get install chromium chromium-driver)"
)
SIZES = {
    "desktop": dict(width=1280, height=900, deviceScaleFactor=1, mobile=False),
    "phone": dict(width=390, height=844, deviceScaleFactor=2, mobile=True),
}


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def open_page(browser, page, size: str) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SIZES[size])
    browser.get(page.path.as_uri())


def test_it_opens_without_a_word_in_the_console_and_fetches_nothing(browser, pair):
    browser.get_log("performance"), browser.get_log("browser")
    open_page(browser, pair, "desktop")
    assert browser.get_log("browser") == []
    messages = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    asked = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:")] == [pair.path.as_uri()]


@pytest.mark.parametrize("size", SIZES)
def test_every_figure_is_seen_and_nothing_sticks_out(browser, pair, size):
    open_page(browser, pair, size)
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('figure')].map(f => {"
        " const pictures = [...f.querySelectorAll('svg, img')].map(p => p.getBoundingClientRect());"
        " return [f.id, pictures.length, Math.min(...pictures.map(p => p.width)),"
        "  Math.min(...pictures.map(p => p.height)), Math.max(...pictures.map(p => p.right))]})"
    )
    assert len(sizes) == len(pair.of("figure"))
    for name, pictures, width, height, right in sizes:
        assert pictures > 0, name
        assert min(width, height) > 20, name
        assert right <= SIZES[size]["width"], name
    assert browser.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    assert browser.execute_script(
        "return [...document.images].every(i => i.complete && i.naturalWidth > 0)"
    )


def test_letters_in_charts_are_large_enough_on_a_phone(browser, pair):
    open_page(browser, pair, "phone")
    heights = browser.execute_script(
        "return [...document.querySelectorAll('svg text')].map(t => {"
        " const m = t.getScreenCTM();"
        " return Math.hypot(m.a, m.b) * parseFloat(getComputedStyle(t).fontSize)})"
    )
    assert heights
    assert min(heights) > 9  # CSS pixels


def test_tab_reaches_the_links_and_every_folded_table_and_enter_unfolds_them(browser, single):
    open_page(browser, single, "desktop")
    stops = browser.execute_script(
        "window.reached = []; addEventListener('focusin', e => window.reached.push(e.target));"
        "return document.querySelectorAll('a, summary, details[open] .scroll, section > .scroll,"
        " article > .scroll').length"
    )
    ActionChains(browser).send_keys(Keys.TAB * stops).perform()
    assert browser.execute_script("return window.reached[0].textContent") == "Skip to the report"
    missed = browser.execute_script(
        "return [...document.querySelectorAll('a, summary')]"
        ".filter(e => !window.reached.includes(e)).map(e => e.textContent)"
    )
    assert missed == []
    browser.execute_script("document.querySelector('figure summary').focus()")
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert browser.execute_script("return document.querySelector('figure details').open")


def test_it_prints(browser, single):
    open_page(browser, single, "desktop")
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(printed["data"]) > 50_000
