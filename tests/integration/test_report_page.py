"""`dogbreeds report`'s page, as a browser shows it."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from dogbreeds.cli import main
from dogbreeds.entrypoint.report import write_html_report
from dogbreeds.job_output.statistics import wilson_interval
from dogbreeds.monitoring.system_metrics import write_samples
from helpers.browsing import DESKTOP, PHONE, barriers, brightness, look, opened
from helpers.invented import HOSTILE, write_job, write_local_search

pytestmark = pytest.mark.integration

BEGIN = 1_763_840_000.0


def write_monitoring(output: Path) -> None:
    """Add samples, phases and Debugger's findings to a job's output."""
    phases = [{"name": "read photos", "start": BEGIN, "end": BEGIN + 10}]
    for epoch in range(1, 4):
        start = BEGIN + 10 * epoch
        phases.append({"name": f"train {epoch}", "start": start, "end": start + 8})
        phases.append({"name": f"evaluate {epoch}", "start": start + 8, "end": start + 10})
    for second in range(40):
        samples = [
            ("cpu", "cpu0", "CPUUtilization", 80.0),
            ("cpu", "cpu1", "CPUUtilization", 40.0),
            ("gpu", "gpu0", "GPUUtilization", 90.0 - second),
            ("memory", "MemoryUsedPercent", "", 30.0),
            ("i/o", "ReadThroughputInBytesPerSecond", "", 2e6 * second),
        ]
        write_samples(output / "profiler", "algo-1", BEGIN + second, samples)
    rule = {"measure": "a number", "limit": "above 1", "advice": "choose a smaller lr"}
    verdicts = [
        {"step": 10, "value": 0.5, "triggered": False, "where": ""},
        {"step": 20, "value": 7.5, "triggered": True, "where": "fc.weight"},
    ]
    findings = [
        {**rule, "rule": "dead relu", "result": "ok", "verdicts": verdicts[:1]},
        {**rule, "rule": "exploding tensors", "result": "FIRED", "verdicts": verdicts},
    ]
    (output / "phases.json").write_text(json.dumps(phases))
    (output / "debugger.json").write_text(json.dumps(findings))


def report(out: Path, *sources: Path) -> str:
    """Write a report by the command line; return its address."""
    assert main.main(["report", *map(str, sources), "-o", str(out)]) == 0
    return out.as_uri()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Addresses of reports of one job of 133 classes, and of three jobs and a search."""
    folder = tmp_path_factory.mktemp("reports")
    jobs = [
        write_job(folder / "breeds-1"),
        write_job(folder / "breeds-2", seed=1, epochs=6, lr=0.003),
        write_job(folder / "breeds-3", seed=2, classes=9),
    ]
    write_monitoring(jobs[0])
    write_html_report(jobs[0], folder)
    search = write_local_search(folder / "search")
    return {
        "one": report(folder / "one.html", jobs[0]),
        "several": report(folder / "several.html", *jobs, search),
    }


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [("one", DESKTOP, False), ("one", PHONE, True), ("several", PHONE, False),
     ("several", DESKTOP, True)],
)  # fmt: skip
def test_a_report_opens_quickly_and_fits_phones_and_dark_rooms(
    browser: Browser, reports: Mapping[str, str], tmp_path: Path, name: str, width: int, dark: bool
) -> None:
    file = Path(reports[name].removeprefix("file://"))
    assert file.stat().st_size < 8e6
    opening = "performance.getEntriesByType('navigation')[0].loadEventEnd"  # milliseconds
    with opened(browser, reports[name], width=width, dark=dark) as page:
        expect(page.locator("#settings")).to_be_visible()
        # It takes under 2 s where no other test has the processors.
        assert 0 < page.evaluate(opening) < 6000
        picture = look(page, tmp_path / f"{name}.png")
        assert (brightness(picture) < 60) is dark


@pytest.mark.parametrize(("width", "dark"), [(DESKTOP, False), (DESKTOP, True), (PHONE, False)])
@pytest.mark.parametrize("name", ["one", "several"])
def test_a_report_has_no_barriers(
    browser: Browser, reports: Mapping[str, str], name: str, width: int, dark: bool
) -> None:
    with opened(browser, reports[name], width=width, dark=dark) as page:
        expect(page.locator("#curves svg[tabindex]").first).to_be_visible()
        assert barriers(page) == []
        assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("classes", [2, 1000])
def test_few_and_many_classes_fit_a_phone_and_8_mb(
    browser: Browser, tmp_path: Path, classes: int
) -> None:
    output = write_job(tmp_path / "job", classes=classes)
    address = report(tmp_path / "report.html", output)
    assert (tmp_path / "report.html").stat().st_size < 8e6
    with opened(browser, address, width=PHONE, dark=True) as page:
        assert page.locator("#classes tbody tr").count() == classes
        look(page, tmp_path / "page.png")


def test_one_jobs_report_has_all_there_is_to_know(
    browser: Browser, reports: Mapping[str, str]
) -> None:
    with opened(browser, reports["one"]) as page:
        links = page.locator("nav a").all_inner_texts()
        assert links == [
            "Result", "Learning curves", "Confusion matrix", "Confidence", "Worst mistakes",
            "Classes", "Photos", "Augmentation", "Machine", "Debugger", "Settings",
        ]  # fmt: skip
        expect(page.locator("#summary")).to_contain_text("95 % confidence interval")
        expect(page.locator("#summary")).to_contain_text("about 0.02 USD on demand")
        expect(page.locator("#photos")).to_contain_text("In another split as well: 1 photo")
        machine = page.locator("#system")
        expect(machine.locator("figure")).to_have_count(3)
        assert machine.locator(".mark-label").first.text_content() == "1"
        fired = page.locator("#debugger tbody tr").first
        expect(fired).to_contain_text("exploding tensors")
        expect(fired).to_contain_text("step 20 fc.weight")
        assert page.locator("#mistakes .photos img").count() == 24
        page.get_by_role("button", name="more").click()
        assert page.locator("#mistakes .photos img").count() > 24


def test_a_mistake_is_enlarged_with_the_right_classs_probability(
    browser: Browser, reports: Mapping[str, str], tmp_path: Path
) -> None:
    with opened(browser, reports["one"], width=PHONE) as page:
        first = page.locator("#mistakes figure").first
        probability = float(first.locator(".right").inner_text().split()[-1].strip("%"))
        assert 0 < probability < 100
        first.get_by_role("button").focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text(first.locator(".right").inner_text())
        width = dialog.locator("img").evaluate("image => image.clientWidth")
        assert width > 2 * first.locator("img").evaluate("image => image.clientWidth") * 0.9
        page.keyboard.press("ArrowRight")
        second = page.locator("#mistakes figure").nth(1)
        expect(dialog).to_contain_text(second.locator(".file").inner_text())
        page.screenshot(path=tmp_path / "dialog.png")
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        assert page.evaluate("document.activeElement.className") == "enlarge"


def test_mistakes_show_where_the_model_looked(browser: Browser, reports: Mapping[str, str]) -> None:
    with opened(browser, reports["one"]) as page:
        pictures = page.locator("#mistakes .photos img")
        before = [picture.get_attribute("src") for picture in pictures.all()]
        page.get_by_label("Where the model looked").check()
        after = [picture.get_attribute("src") for picture in pictures.all()]
        assert len(before) == len(after) == 24
        assert not set(before) & set(after)
        pictures.first.click()
        assert page.get_by_role("dialog").locator("img").get_attribute("src") == after[0]


def test_training_photos_are_shown_with_their_augmentations(
    browser: Browser, reports: Mapping[str, str]
) -> None:
    with opened(browser, reports["one"]) as page:
        shown = page.locator("#augmentation")
        expect(shown).to_contain_text("augmentation=light")
        assert shown.locator("figure").count() == 6
        assert shown.locator("img[alt='the photo itself']").count() == 6
        assert shown.locator("img").count() == 24


def test_a_report_says_how_to_make_the_model_again(
    browser: Browser, reports: Mapping[str, str]
) -> None:
    with opened(browser, reports["one"]) as page:
        made = page.locator("#settings")
        expect(made).to_contain_text("dogbreeds train PHOTOS --on local --set seed=0")
        for fact in ("NVIDIA A10G", "ml.g5.xlarge", "2.14.1", "0123456789abcdef", "abababababab"):
            expect(made).to_contain_text(fact)
        page.get_by_text("Model card", exact=True).click()
        expect(made).to_contain_text("pipeline_tag: image-classification")


def test_the_matrix_and_the_curves_are_read_by_keyboard(
    browser: Browser, reports: Mapping[str, str]
) -> None:
    with opened(browser, reports["one"]) as page:
        reading = page.locator("#matrix-reading")
        page.locator("canvas").focus()
        page.keyboard.press("Shift+ArrowDown")  # from the first class to the next filled cell
        page.keyboard.press("ArrowRight")
        expect(reading).to_contain_text("of 6 photos of")
        before = reading.inner_text()
        page.keyboard.press("ArrowDown")
        assert reading.inner_text() != before
        page.get_by_label("Order").select_option("mixed-up classes together")
        pair = page.locator(".pairs button").first
        pair.focus()
        page.keyboard.press("Enter")
        expect(reading).to_contain_text("2 of 6 photos of")
        expect(reading).to_contain_text("are taken for")
        assert page.locator(".pair-photos img").count() >= 1
        page.locator(".pair-photos img").first.click()
        page.locator("#curves svg[tabindex]").first.focus()
        page.keyboard.press("End")
        tip = page.locator("#curves .chart-tip").first
        expect(tip).to_contain_text("epoch 10")
        page.keyboard.press("ArrowLeft")
        expect(tip).to_contain_text("epoch 9")


def test_curves_begin_with_the_linear_probe_and_have_intervals_and_units(
    browser: Browser, reports: Mapping[str, str]
) -> None:
    with opened(browser, reports["one"]) as page:
        loss, accuracy, rate = page.locator("#curves figure").all()
        expect(loss.get_by_role("button", name="train, by step")).to_be_visible()
        loss.locator("svg[tabindex]").focus()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        expect(loss.locator(".chart-tip")).to_contain_text("epoch 0.05")
        assert accuracy.locator("polygon.band").count() == 2
        accuracy.locator("svg[tabindex]").focus()
        page.keyboard.press("Home")
        tip = accuracy.locator(".chart-tip")
        low, high = wilson_interval(0.72, 798)
        expect(tip).to_have_text(f"epoch 0valid 72.0% ({low:.1%} to {high:.1%})")
        page.keyboard.press("End")
        expect(tip).to_contain_text("epoch 10")
        labels = [c.locator(".axis-label").all_text_contents() for c in (loss, accuracy, rate)]
        assert labels == [
            ["epoch", "cross-entropy, nats"],
            ["epoch", "photos recognized, %"],
            ["epoch", "at the last step of an epoch"],
        ]
        rate.locator("svg[tabindex]").focus()
        page.keyboard.press("Home")
        expect(rate.locator(".chart-tip")).to_contain_text("0.00027")
        # The entropy of labels smoothed by 0.1 over 133 classes
        expect(page.locator("#curves .note")).to_contain_text("below 0.808")


def test_losses_over_decades_have_a_logarithmic_axis(browser: Browser, tmp_path: Path) -> None:
    output = write_job(tmp_path / "steep", classes=3)
    history = json.loads((output / "history.json").read_text())
    for epoch, values in enumerate(history):
        values["valid_loss"] = 190 * 0.5**epoch
    (output / "history.json").write_text(json.dumps(history))
    with opened(browser, report(tmp_path / "report.html", output)) as page:
        texts = page.locator("#curves figure").first.locator("text").all_text_contents()
        assert {"1", "10", "100"} <= set(texts)


def test_the_first_keys_lead_through_the_links_to_the_sections(
    browser: Browser, reports: Mapping[str, str]
) -> None:
    with opened(browser, reports["one"]) as page:
        for _ in range(3):
            page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        page.keyboard.press("Enter")
        assert page.evaluate("location.hash") == "#confusion"


def test_the_table_of_classes_is_sorted_and_searched(
    browser: Browser, reports: Mapping[str, str]
) -> None:
    with opened(browser, reports["one"]) as page:
        table = page.locator("#classes table")
        recall = table.get_by_role("button", name="recall")
        recall.focus()
        page.keyboard.press("Enter")
        expect(table.locator("tbody tr").first).to_contain_text("100%")
        page.keyboard.press("Enter")
        shares = [float(t.strip("%")) for t in table.locator("td:nth-child(4)").all_inner_texts()]
        assert shares == sorted(shares)
        assert shares[0] < 100
        page.get_by_label("Find").fill("snow hound")
        assert table.locator("tbody tr:visible").count() >= 1
        assert table.locator("tbody tr:visible").count() < 10


def test_jobs_stand_side_by_side_with_what_differs_on_top(
    browser: Browser, reports: Mapping[str, str]
) -> None:
    with opened(browser, reports["several"]) as page:
        assert page.locator("#compare tbody tr").count() == 3
        assert page.locator("#compare svg.whisker").count() == 3
        different = page.locator("#settings tr.differs th").all_inner_texts()
        assert sorted(different) == ["epochs", "lr", "seed"]
        assert page.locator("#curves figure").first.locator("polyline").count() == 9
        page.get_by_label("Job", exact=True).select_option("breeds-3")
        assert page.locator("#classes tbody tr").count() == 9
        assert page.locator("#tuning .parallel polyline").count() >= 10
        best = page.locator("#tuning table.sortable tbody tr").first
        best.hover()
        expect(page.locator("#tuning polyline.on")).to_have_count(1)


def test_a_search_shows_the_best_so_far_and_each_hyperparameter(
    browser: Browser, reports: Mapping[str, str], tmp_path: Path
) -> None:
    with opened(browser, reports["several"]) as page:
        search = page.locator("#tuning")
        finished = len(_objectives(search))
        assert search.locator("figure.scatter h3").all_inner_texts() == [
            "lr", "batch size", "optimizer"
        ]  # fmt: skip
        for figure in search.locator("figure.scatter").all():
            assert figure.locator("circle").count() == finished
            assert figure.locator("circle.best").count() == 1
            assert figure.locator(".axis-label").first.text_content() == "valid accuracy"
        best = search.locator("figure", has=page.get_by_role("heading", name="Best so far"))
        values = []
        best.locator("svg[tabindex]").focus()
        for _ in range(finished):
            page.keyboard.press("ArrowRight")
            values.append(float(best.locator(".chart-tip b").first.inner_text().strip("%")))
        assert values == sorted(values)
        assert values[-1] == pytest.approx(100 * max(_objectives(search)), abs=0.06)
        expect(search).to_contain_text("Rank correlation with valid accuracy")
    given = write_local_search(tmp_path / "search", importance={"lr": 0.9, "batch_size": 0.1})
    with opened(browser, report(tmp_path / "report.html", given), width=PHONE, dark=True) as page:
        rows = page.locator("#tuning .panel", has_text="PED-ANOVA").locator("tbody tr")
        assert [" ".join(text.split()) for text in rows.all_inner_texts()] == [
            "lr 90%", "batch size 10%"
        ]  # fmt: skip
        look(page, tmp_path / "page.png")


def _objectives(search: Locator) -> list[float]:
    cells = search.locator("tbody td:nth-child(3)").all_inner_texts()
    return [float(text) for text in cells if text[0].isdigit()]


def test_hostile_names_stay_text(browser: Browser, tmp_path: Path) -> None:
    output = write_job(tmp_path / HOSTILE.replace("/", "|"), classes=7)
    for file in output.glob("*.json"):
        text = file.read_text().replace("Snow_striper", json.dumps(HOSTILE)[1:-1])
        file.write_text(text.replace("Thumbs.db", json.dumps(HOSTILE + "\udcff")[1:-1]))
    with opened(browser, report(tmp_path / "report.html", output)) as page:
        assert page.title().endswith("training report")
        shown = HOSTILE.replace("_", " ")
        assert page.locator("#classes tbody th", has_text=shown).count() == 1
        assert "Żółty pies 狗" in page.locator("#classes").inner_text()
        assert page.locator("img[src=x]").count() == 0
        look(page, tmp_path / "page.png")
