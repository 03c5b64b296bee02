"""The page in a real browser: it draws, can be clicked and searched, and complains of nothing."""

import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from events_at_hand import recording
from ffabric.abi.ffa.uuids import to_pair
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg.generations import V2
from ffabric.abi.virtio_msg.message import build
from ffabric.abi.virtio_msg.transport import EVENT_AVAIL
from ffabric.firmware.state.events import Console
from ffabric.guests.errors import FfaError
from ffabric.machine.events import Call, Record, Return
from ffabric.observe.lines import Header
from ffabric.observe.report.page import page

MARKUP = "<img src=x onerror=document.title=1>"
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-quic", "--window-size=1400,1000",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    programs = {name: shutil.which(name) or "" for name in ("chromium", "chromedriver")}
    missing = [name for name, path in programs.items() if not path]
    assert not missing, f"no {' and '.join(missing)}: apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for each in OPTIONS:
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=programs["chromedriver"])
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def show(browser, tmp_path):
    """Open a page of these lines, and expect at the end that the browser had nothing to say."""

    def show(lines):
        file = tmp_path / "page.html"
        file.write_text(page(lines, title="a run"), encoding="utf-8")
        browser.get(file.as_uri())
        ready = 'return document.documentElement.dataset.ready === "yes"'
        WebDriverWait(browser, 60).until(lambda driver: driver.execute_script(ready))
        return browser

    yield show
    assert browser.get_log("browser") == []


@pytest.fixture
def run(ffabric):
    """A run with a share, and a reclaim that is refused."""
    session = ffabric.boot(sps=["sp"], vms=["vm"])
    end = recording(session)
    vm, sp = session.vm("vm"), session.sp("sp")
    handle = vm.ffa.share("sp", ipa=vm.ram.allocate(1))
    sp.ffa.retrieve(handle, "vm")
    with pytest.raises(FfaError):
        vm.ffa.reclaim(handle)
    return end()


def chosen(browser):
    return browser.find_element(By.ID, "selected").text


def test_a_refusal_is_found_by_a_click_on_its_rule(show, run):
    browser = show(run)
    button = browser.find_element(By.CSS_SELECTOR, "#refusals button")
    assert button.text == "mem.reclaim.retrieved"
    button.click()
    WebDriverWait(browser, 30).until(lambda driver: "refused by" in chosen(driver))
    assert "mem.reclaim.retrieved: DENIED" in chosen(browser)
    assert "DEN0140" in chosen(browser)


def test_a_search_finds_and_goes_on(show, run):
    browser = show(run)
    search = browser.find_element(By.ID, "search")
    search.send_keys("ffa_mem_")
    matches = browser.find_element(By.ID, "matches")
    WebDriverWait(browser, 30).until(lambda _: matches.text.endswith(" found"))
    WebDriverWait(browser, 30).until(lambda driver: "FFA_MEM_SHARE" in chosen(driver))
    search.send_keys(Keys.ENTER)
    WebDriverWait(browser, 30).until(lambda driver: "FFA_MEM_RETRIEVE" in chosen(driver))


def test_an_answer_is_a_click_away_from_its_call(show, run):
    browser = show(run)
    browser.find_element(By.ID, "search").send_keys("FFA_MEM_RECLAIM")
    WebDriverWait(browser, 30).until(lambda driver: "FFA_MEM_RECLAIM" in chosen(driver))
    browser.find_element(By.XPATH, "//dd/button[starts-with(., 'after')]").click()
    WebDriverWait(browser, 30).until(lambda driver: "FFA_ERROR" in chosen(driver))


def test_the_pictures_are_drawn_and_a_click_on_memory_chooses_what_changed_it(show, run):
    browser = show(run)
    painted = """
        const canvas = document.getElementById(arguments[0]);
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return data.some((value) => value > 0);
    """
    assert all(browser.execute_script(painted, name) for name in ("lanes", "overview", "map"))
    click = """
        const canvas = document.getElementById("map");
        const box = canvas.getBoundingClientRect();
        for (let row = 0; row < canvas.clientHeight / 18; row++)
          canvas.dispatchEvent(new MouseEvent("click", {
            bubbles: true, clientX: box.right - 4, clientY: box.top + 18 * row + 10 }));
    """
    browser.execute_script(click)
    WebDriverWait(browser, 30).until(lambda driver: "event" in chosen(driver))


def test_a_click_on_a_virtqueue_chooses_what_told_of_its_buffers(show):
    sent = build(EVENT_AVAIL, V2, index=1, next=0)
    words = (0xC400008D, 0x18001, *to_pair(ffa.DEVICE_UUID), *ffa.to_registers(sent))
    browser = show([Header(2, "run", None, True, {MARKUP: 1}, {}), Call(0, MARKUP, 0, words)])
    click = """
        const canvas = document.getElementById("rings");
        const box = canvas.getBoundingClientRect();
        canvas.dispatchEvent(new MouseEvent("click", {
            bubbles: true, clientX: box.right - 4, clientY: box.top + 10 }));
    """
    assert MARKUP in browser.find_element(By.ID, "queues").text
    assert browser.find_element(By.ID, "facts").text.startswith("run: 2 events")
    browser.execute_script(click)
    WebDriverWait(browser, 30).until(lambda driver: "EVENT_AVAIL of device 0" in chosen(driver))


def test_kinds_can_be_hidden_and_keys_move(show, run):
    browser = show(run)
    rows = 'return document.querySelectorAll(".row.calls").length'
    assert browser.execute_script(rows) > 0
    browser.find_element(By.XPATH, "//button[.='calls']").click()
    WebDriverWait(browser, 30).until(lambda driver: driver.execute_script(rows) == 0)
    browser.find_element(By.ID, "lanes").send_keys(Keys.ARROW_RIGHT)
    WebDriverWait(browser, 30).until(lambda driver: "event" in chosen(driver))


def test_times_along_the_axis_differ_or_are_said_once(show, run):
    browser = show(run)

    def said(*times):
        return browser.execute_script("return scale([...arguments])", *times)

    assert said(0, 1_000_000, 2_500_000) == ["0 µs", "1 ms", "2.5 ms"]
    assert said(1_000_000, 1_000_000, 1_000_100) == ["1 ms", "", "1.0001 ms"]
    assert said(17_378_228_146, 17_378_228_646) == ["17.3782281 s", "17.3782286 s"]
    assert said(5, 5) == ["0.005 µs", ""]


def test_on_paper_every_refusal_is_there_and_no_hint(show, run):
    browser = show(run)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    table = browser.find_element(By.CSS_SELECTOR, "#refusals .long")
    assert table.value_of_css_property("max-height") == "none"
    assert not browser.find_element(By.CSS_SELECTOR, "aside").is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_markup_in_names_and_consoles_is_text(show):
    browser = show([
        Header(2, MARKUP, 1, True, {MARKUP: 1}, {}),
        Call(0, MARKUP, 0, (0x84000069, *[0] * 17)),
        Console(MARKUP, f"\x1b[31m{MARKUP}"),
    ])  # fmt: skip
    assert browser.title == "a run"
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert MARKUP in browser.find_element(By.ID, "facts").text


def test_a_hundred_thousand_events_fit_and_move(show, tmp_path):
    words, answer = (0x84000069, *[0] * 17), (0x84000061, 0, 1, *[0] * 15)
    lines: list[Record] = [Header(2, "long", 1, True, {"vm": 1}, {})]
    for number in range(50_000):
        lines += Call(0, "vm", number % 8, words, t=number), Return(0, "vm", 0, answer, t=number)
    browser = show(lines)
    assert (tmp_path / "page.html").stat().st_size < 10_000_000
    assert "100,001 events" in browser.find_element(By.ID, "facts").text
    assert browser.execute_script('return document.querySelectorAll(".row").length') < 100
    browser.find_element(By.ID, "zoom-in").click()
    browser.find_element(By.ID, "search").send_keys("FFA_ID_GET")
    matches = browser.find_element(By.ID, "matches")
    WebDriverWait(browser, 60).until(lambda _: matches.text == "50000 found")
