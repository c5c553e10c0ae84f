"""Uses a page of netatop report in Chromium as a reader would: browser.py PAGE CSV SCREENSHOTS"""

import json
import re
import sys

import duckdb
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

page, recording, screenshots = sys.argv[1:4]
duckdb.sql("set timezone = 'UTC'")
READ = f"read_csv('{recording}', all_varchar = true, header = true, delim = ',', quote = '\"', escape = '\"')"
SENT = "sum(tcp_send_bytes::hugeint + udp_send_bytes::hugeint)"
RECEIVED = "sum(tcp_recv_bytes::hugeint + udp_recv_bytes::hugeint)"


def escaped(name):
    """As netatop shows control characters."""
    return re.sub(r"[\x00-\x1f]", lambda m: {"\n": "\\n"}.get(m[0], "\\u{%x}" % ord(m[0])), name or "-")


def sums(keys, where="true"):
    rows = duckdb.sql(f"select {keys}, {SENT}, {RECEIVED} from {READ} where {where} group by all").fetchall()
    found = {}
    for *key, sent, received in rows:
        found[tuple(escaped(part) for part in key)] = (int(sent), int(received))
    return found


options = webdriver.ChromeOptions()
for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1400"]:
    options.add_argument(argument)
options.binary_location = "/usr/bin/chromium"
options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def get(name):
    return driver.find_element(By.ID, name)


def rows(table):
    """The rows of a table: texts of the cells, and the exact bytes sent and received."""
    return driver.execute_script(
        """return [...document.querySelectorAll('#' + arguments[0] + ' tbody tr')].map(row => [
            [...row.cells].map(cell => cell.textContent),
            row.querySelector('.sent').dataset.bytes, row.querySelector('.received').dataset.bytes])""",
        table,
    )


def shown():
    return {cells[0]: (int(sent), int(received)) for cells, sent, received in rows("rows")}


def span():
    return re.match(r"(.*) to (.*) UTC;", get("shown").text).groups()


def media(**features):
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": features.pop("media", ""), "features": [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]},
    )


try:
    media(prefers_color_scheme="light")
    driver.get("file://" + page)
    driver.save_screenshot(f"{screenshots}-light.png")

    # The sums of rows and remote ends, and names as text.
    wanted = {key[0]: value for key, value in sums("comm").items()}
    assert shown() == wanted, (shown(), wanted)
    assert any("<img" in name for name in wanted), "the recording has a hostile name"
    assert not driver.find_elements(By.TAG_NAME, "img")
    ends = sums("comm, protocol, role, remote_addr, coalesce(local_port, remote_port)", "remote_addr is not null")
    total = tuple(sum(value[side] for value in ends.values()) for side in (0, 1))
    found = rows("remotes")
    assert len(found) == len(ends), (found, ends)
    assert (sum(int(row[1]) for row in found), sum(int(row[2]) for row in found)) == total
    foot = driver.execute_script("return [...document.querySelectorAll('#rows tfoot [data-bytes]')].map(c => c.dataset.bytes)")
    assert [int(value) for value in foot] == [sum(value[side] for value in wanted.values()) for side in (0, 1)]

    # What needs attention is said first, with its time and remote end, and the sums last.
    found = [p.text for p in driver.find_elements(By.CSS_SELECTOR, ".findings p")]
    wanted_end = "failed to connect 100 times, from 16:59 to 18:39 UTC, most often at 16:59 (1 in 1 min); all of them with [2001:db8::30]:8080."
    assert found[0].endswith(wanted_end), found
    order = ["failed to connect", "retransmitted 5.", "Traffic was highest", "rsync made", "processes named", "In all,"]
    places = [next(i for i, text in enumerate(found) if part in text) for part in order]
    assert places == sorted(places) and len(found) == len(order), found

    # Header, timeline and table agree on the times.
    head = driver.find_element(By.CSS_SELECTOR, ".span").text
    assert head.startswith(" to ".join(span()) + " UTC, "), (head, span())
    seen = driver.execute_script("return [...document.querySelectorAll('#rows tbody tr')].map(r => [r.cells[7].title, r.cells[8].title])")
    assert min(first for first, _ in seen) == span()[0] + " UTC" and max(last for _, last in seen) == span()[1] + " UTC", (seen, span())

    # So do its rows with the recording, whose intervals are bins here: some begin without bytes.
    minute = "strftime(time_bucket(interval '1 minute', time::timestamptz - interval '30 seconds'), '%H:%M')"
    peak = f"arg_max(m, (b, -epoch(t))), min(m), strftime(max(t) + interval '1 minute', '%H:%M')"
    inner = f"select comm, {minute} m, min(time_bucket(interval '1 minute', time::timestamptz - interval '30 seconds')) t, {SENT} + {RECEIVED} b from {READ} group by all"
    truth = {escaped(name): tuple(times) for name, *times in duckdb.sql(f"select comm, {peak} from ({inner}) group by all").fetchall()}
    found = driver.execute_script("return [...document.querySelectorAll('#rows tbody tr')].map(r => [0, 6, 7, 8].map(c => r.cells[c].textContent))")
    assert {name: tuple(times) for name, *times in found} == truth, (found, truth)

    # Both sides have a scale, and rows that are too small for it have a lane.
    scales = driver.execute_script("return [...document.querySelectorAll('#chart .scale')].map(t => [+t.getAttribute('y'), t.textContent])")
    zero = next(y for y, text in scales if text == "0")
    assert any(y < zero for y, _ in scales) and any(y > zero for y, _ in scales), scales
    lanes = driver.execute_script("return [...document.querySelectorAll('#chart .lane title')].map(t => t.textContent)")
    assert any("<img" in lane for lane in lanes), lanes

    # The time zone is that of the reader after a click, also in the sentences.
    driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})
    texts = lambda: [driver.find_element(By.CSS_SELECTOR, place).text for place in (".findings", ".span", "#shown", "#rows", "#tcps")]
    utc, zones = texts(), driver.find_elements(By.CSS_SELECTOR, "#zone button")
    zones[1].click()
    assert [zone.get_attribute("aria-pressed") for zone in zones] == ["false", "true"]
    local = texts()
    assert all(a != b for a, b in zip(utc, local)), local
    assert not any("UTC" in text for text in local), local
    zones[0].click()
    assert texts() == utc
    driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "UTC"})

    # The pointer shows time and values.
    chart = get("chart")
    ActionChains(driver).move_to_element_with_offset(chart, 100, 0).perform()
    tip = get("tip")
    assert tip.is_displayed() and re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d", tip.text) and "bps" in tip.text, tip.text

    # Dragging zooms, and the table follows the span.
    whole = span()
    ActionChains(driver).move_to_element_with_offset(chart, -60, 20).click_and_hold().move_by_offset(150, 0).release().perform()
    part = span()
    assert part != whole and whole[0] <= part[0] < part[1] <= whole[1], (part, whole)
    middle = "(epoch(time::timestamptz) - interval::double / 2)"
    inside = " and ".join(f"{middle} {sign} epoch('{time}Z'::timestamptz)" for sign, time in zip([">=", "<"], part))
    wanted_part = {key[0]: value for key, value in sums("comm", inside).items()}
    assert 0 < len(wanted_part) and shown() == wanted_part, (part, shown(), wanted_part)
    get("whole").click()
    assert span() == whole and shown() == wanted

    # The same with keys.
    driver.execute_script("document.getElementById('chart').focus()")
    keys = ActionChains(driver).send_keys(Keys.ARROW_RIGHT).key_down(Keys.SHIFT)
    for _ in range(5):
        keys.send_keys(Keys.ARROW_RIGHT)
    keys.key_up(Keys.SHIFT).perform()
    assert "sent" in get("readout").text, get("readout").text
    ActionChains(driver).send_keys(Keys.ENTER).perform()
    assert span() != whole
    driver.execute_script("document.getElementById('chart').focus()")
    ActionChains(driver).send_keys(Keys.ESCAPE).perform()
    assert span() == whole

    # Titles sort.
    def order():
        return [int(row[1]) for row in rows("rows") if row[0][0] not in ("(other)", "(unattributed)")]

    driver.find_element(By.CSS_SELECTOR, "[data-key=sent]").click()
    assert order() == sorted(order(), reverse=True)
    driver.find_element(By.CSS_SELECTOR, "[data-key=sent]").click()
    assert order() == sorted(order())
    sorted_by = driver.find_elements(By.CSS_SELECTOR, "th[aria-sort=ascending]")
    assert [head.text for head in sorted_by] == ["Sent ↑"]

    # The filter works as one types.
    get("filter").send_keys("RSYNC")
    assert list(shown()) == ["rsync"], shown()
    get("filter").send_keys(Keys.CONTROL, "a")
    get("filter").send_keys(Keys.DELETE)
    assert shown() == wanted

    # A name that is selected stands alone, in the timeline and among the remote ends.
    driver.find_element(By.XPATH, "//button[@class='pick'][contains(., 'rsync')]").click()
    kinds = driver.execute_script("return new Set([...document.querySelectorAll('#chart path')].map(p => p.getAttribute('class'))).size")
    assert kinds == 1
    assert {row[0][0] for row in rows("remotes")} == {"rsync"}
    pressed = driver.find_elements(By.CSS_SELECTOR, ".pick[aria-pressed=true]")
    assert [button.text for button in pressed] == ["rsync"]
    get("clear").click()
    assert len(rows("remotes")) == len(ends)

    # Dark, narrow and on paper.
    background = "return getComputedStyle(document.body).backgroundColor"
    light = driver.execute_script(background)
    media(prefers_color_scheme="dark")
    assert driver.execute_script(background) != light
    driver.save_screenshot(f"{screenshots}-dark.png")
    media(media="print")
    assert not get("filter").is_displayed() and get("rows").is_displayed()
    pdf = driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert len(pdf) > 10_000
    media(prefers_color_scheme="light")
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 1400, "deviceScaleFactor": 1, "mobile": True})
    driver.refresh()
    wide = driver.execute_script("return document.documentElement.scrollWidth")
    assert wide <= 390, f"{wide} pixels wide"
    driver.save_screenshot(f"{screenshots}-phone.png")

    # Nothing was loaded, and nothing went wrong.
    assert driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    requests = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert requests and set(requests) == {"file://" + page}, requests

    # The policy forbids requests and other scripts.
    blocked = driver.execute_async_script(
        """const done = arguments[arguments.length - 1];
        const policies = [];
        document.addEventListener('securitypolicyviolation', event => policies.push(event.effectiveDirective));
        const script = document.createElement('script');
        script.textContent = 'window.ran = true';
        document.body.append(script);
        new Image().src = 'http://127.0.0.1:9/x.png';
        fetch('http://127.0.0.1:9/').catch(() => setTimeout(() => done([policies.sort(), window.ran === true]), 100));"""
    )
    assert blocked == [["connect-src", "img-src", "script-src-elem"], False], blocked
finally:
    driver.quit()
print("ok")
