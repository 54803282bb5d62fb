"""Debian's Chromium, driven without a screen."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}


@contextmanager
def browser(size: str = "desktop", *, dark: bool = False) -> Iterator[Any]:
    """A selenium driver. Skips the test, and says so in the summary, where there is no browser."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        warnings.warn("THE PAGE WAS NOT TESTED: no chromium here. Run `make setup-browser`.", stacklevel=2)
        pytest.skip("no chromium and chromedriver: run `make setup-browser`")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    width, height = WIDTHS[size]
    options = Options()
    # Root, as CI is, may not use the sandbox; and containers have little shared memory.
    words = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
    for word in (*words, f"--window-size={width},{height}", "--disable-background-networking"):
        options.add_argument(word)
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"}
        found.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        found.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        yield found
    finally:
        found.quit()


def asked_for(driver: Any) -> list[str]:
    """Every address that pages have asked for so far."""
    messages = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def complaints(driver: Any) -> list[str]:
    """What stands on the console."""
    return [entry["message"] for entry in driver.get_log("browser")]
