"""What is drawn is what is stored: the same samples, gaps as gaps, late ones where they belong."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, expect
from ward import SECOND_NS, Scene, Ward

from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import Flag

LEAD = int(Code.ECG_II)
DRAWN = "([device, code, ms]) => window.vitalwire.drawn(device, code, ms)"

COPY = """(device, code) => {
  const canvas = document.querySelector(`[data-device="${device}"] [data-code="${code}"] .trace`);
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const context = copy.getContext('2d', { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  return { context, ratio: canvas.width / canvas.clientWidth, height: canvas.clientHeight };
}"""

COLUMN = """([device, code, points]) => {
  const { context, ratio, height } = (COPY)(device, code);
  return points.map(([ns, value]) => {
    const place = window.vitalwire.place(device, code, ns, value);
    if (!place || place.y < 2 || place.y > height - 2) return null;
    const size = 5;
    const { data } = context.getImageData(
      Math.round(place.x * ratio) - 2, Math.round(place.y * ratio) - 2, size, size);
    let best = 0;
    for (let i = 0; i < data.length; i += 4) if (data[i + 1] > 180 && data[i] < 120) best = Math.max(best, data[i + 3]);
    return best;
  });
}""".replace("(COPY)", f"({COPY})")

TRACE_IN_SPAN = """([device, code, from, to]) => {
  const { context, ratio, height } = (COPY)(device, code);
  const [left, right] = [from, to].map((ns) => window.vitalwire.place(device, code, ns, 0)?.x);
  if (left === undefined || right === undefined || right <= left) return null;
  const { data } = context.getImageData(left * ratio, 0, (right - left) * ratio, height * ratio);
  let trace = 0;
  let hatch = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] > 60 && data[i + 1] > 180 && data[i] < 120) trace += 1;
    else if (data[i + 3] > 20) hatch += 1;
  }
  return { trace, hatch };
}""".replace("(COPY)", f"({COPY})")


AMBER = """([device, code]) => {
  const { context } = (COPY)(device, code);
  const { data } = context.getImageData(0, 0, context.canvas.width, context.canvas.height);
  let found = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] > 100 && data[i] > 140 && data[i + 1] > 100 && data[i + 2] < 100) found += 1;
  }
  return found;
}""".replace("(COPY)", f"({COPY})")


def open_wall(page: Page, scene: Scene) -> None:
    page.goto(scene.server.url)
    expect(page.locator(".tile")).to_have_count(4)
    page.wait_for_function("() => window.vitalwire.connected")


def drawn(page: Page, device: str, ms: int = 10_000) -> list[tuple[int, NDArray[np.float32]]]:
    runs: list[dict[str, Any]] = page.evaluate(DRAWN, [device, LEAD, ms])
    return [(int(run["start_ns"]), np.asarray(run["samples"], dtype=np.float32)) for run in runs]


def stored(ward: Ward, device: str, start_ns: int, count: int) -> NDArray[np.float32]:
    """Stored samples of `count` periods of 4 ms from `start_ns` (both on the grid of the feed)."""
    segments = ward.store.strip(device, LEAD, start_ns - 1000, start_ns + count * 4_000_000 - 2_000_000)
    return np.concatenate([segment.samples for segment in segments])


def test_the_samples_drawn_are_those_of_the_store(page: Page, scene: Scene) -> None:
    open_wall(page, scene)
    page.wait_for_timeout(5000)
    for device in ("chest-1", "chest-4"):
        runs = drawn(page, device)
        assert sum(samples.size for _, samples in runs) > 4 * 250
        for start_ns, samples in runs:
            np.testing.assert_allclose(samples, stored(scene.ward, device, start_ns, samples.size), atol=1e-3)
        joined = [a + b.size * 4_000_000 - c for (a, b), (c, _) in itertools.pairwise(runs)]
        assert all(abs(distance_ns) <= 4_000_000 for distance_ns in joined)


def test_the_trace_on_the_canvas_runs_through_the_samples(page: Page, scene: Scene) -> None:
    """Pixels, not what the page says about itself: at the place of a sample there is the colour of the trace."""
    open_wall(page, scene)
    page.wait_for_timeout(4000)
    runs = drawn(page, "chest-2", 3000)
    points = [
        [str(start_ns + number * 4_000_000), float(samples[number])]
        for start_ns, samples in runs
        for number in range(0, samples.size, 10)
    ]
    seen = [alpha for alpha in page.evaluate(COLUMN, ["chest-2", LEAD, points]) if alpha is not None]
    assert len(seen) > 30
    assert np.mean([alpha > 100 for alpha in seen]) > 0.95


def test_paper_has_true_speed_and_gain(page: Page, scene: Scene) -> None:
    open_wall(page, scene)
    page.wait_for_timeout(2500)
    (start_ns, samples) = max(drawn(page, "chest-1", 4000), key=lambda run: run[1].size)
    step = "([n, v]) => window.vitalwire.place('chest-1', 131330, n, v)"
    middle_ns = start_ns + samples.size // 2 * 4_000_000
    here = page.evaluate(step, [str(middle_ns), 0])
    tenth = page.evaluate(step, [str(middle_ns - 100_000_000), 1000])
    mm = 96 / 25.4
    width = page.locator("[data-device=chest-1] .trace").evaluate("canvas => canvas.clientWidth")
    assert (here["x"] - tenth["x"]) % width == pytest.approx(2.5 * mm, abs=0.01)  # 100 ms at 25 mm/s
    assert here["y"] - tenth["y"] == pytest.approx(10 * mm, abs=0.01)  # 1 mV at 10 mm/mV


def test_a_gap_is_drawn_as_a_gap_and_what_comes_late_fills_it(page: Page, scene: Scene) -> None:
    device = "chest-3"
    open_wall(page, scene)
    page.wait_for_timeout(1500)
    scene.feed.held[device] = []
    page.wait_for_timeout(3200)
    held = list(scene.feed.held[device])
    assert len(held) >= 2
    first_ns = held[0][0].start_ns
    last_ns = first_ns + 2 * SECOND_NS
    # Let the trace run past two of the missing seconds.
    page.wait_for_function(
        "([device, ns]) => window.vitalwire.place(device, 131330, ns, 0) !== null", arg=[device, str(last_ns)]
    )
    span = [device, LEAD, str(first_ns + SECOND_NS // 4), str(last_ns - SECOND_NS // 4)]
    gaps = page.evaluate("([device, code]) => window.vitalwire.gaps(device, code)", [device, LEAD])
    assert any(
        abs(int(start) - first_ns) < 20_000_000 and int(end) >= last_ns - 20_000_000 for start, end in gaps
    )
    assert all(
        start_ns + samples.size * 4_000_000 <= first_ns + 4_000_000 or start_ns >= last_ns
        for start_ns, samples in drawn(page, device)
    )
    seen = page.evaluate(TRACE_IN_SPAN, span)
    if seen is not None:  # None: the span lies across the edge of the canvas
        assert seen["trace"] == 0
        assert seen["hatch"] > 100

    scene.feed.release(device)
    # Both seconds that were held come in messages of their own.
    page.wait_for_function(
        "([device, code, starts]) => starts.every("
        "(ns) => window.vitalwire.drawn(device, code).some((run) => run.start_ns === ns))",
        arg=[device, LEAD, [str(first_ns), str(first_ns + SECOND_NS)]],
    )
    late = [
        (start_ns, samples) for start_ns, samples in drawn(page, device) if first_ns <= start_ns < last_ns
    ]
    assert len(late) == 2
    for start_ns, samples in late:
        np.testing.assert_allclose(samples, stored(scene.ward, device, start_ns, samples.size), atol=1e-3)
    seen = page.evaluate(TRACE_IN_SPAN, span)
    if seen is not None:
        assert seen["trace"] > 100


def test_a_page_that_comes_later_draws_the_past_from_the_store(page: Page, scene: Scene) -> None:
    open_wall(page, scene)
    page.wait_for_function("() => window.vitalwire.drawn('chest-1', 131330, 5000).length > 0")
    (start_ns, samples), *_ = drawn(page, "chest-1", 5000)
    assert samples.size > 2 * 250, "the first trace is the history, in one piece"
    np.testing.assert_allclose(samples, stored(scene.ward, "chest-1", start_ns, samples.size), atol=1e-3)


def test_lead_off_is_marked(page: Page, scene: Scene) -> None:
    open_wall(page, scene)
    strip = page.locator("[data-device=chest-4] .strip")
    scene.feed.flags["chest-4"] = Flag.LEAD_OFF
    try:
        expect(strip).to_have_attribute("data-state", "off", timeout=10_000)
        expect(strip.locator(".strip-state")).to_have_text("Lead off")
        scene.ward.beds["chest-4"].rail = True
        page.wait_for_timeout(3500)
        amber = page.evaluate(AMBER, ["chest-4", LEAD])
        assert amber > 50, "a railed input stays in sight, in a colour of its own"
    finally:
        del scene.feed.flags["chest-4"]
        scene.ward.beds["chest-4"].rail = False
    expect(strip).to_have_attribute("data-state", "ok", timeout=10_000)


def test_the_detail_draws_the_same(page: Page, scene: Scene) -> None:
    open_wall(page, scene)
    page.locator(".tile-name", has_text="chest-2").click()
    expect(page.locator("#detail h2")).to_have_text("chest-2")
    page.wait_for_timeout(3000)
    runs = drawn(page, "chest-2")
    assert sum(samples.size for _, samples in runs) > 2 * 250
    for start_ns, samples in runs:
        np.testing.assert_allclose(samples, stored(scene.ward, "chest-2", start_ns, samples.size), atol=1e-3)
