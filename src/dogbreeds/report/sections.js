// The report's parts. Each takes what it shows and returns a section, or null where there is nothing
// to show.

const SPLIT_DASHES = { train: "2 4", valid: "7 4", test: undefined };
const EPOCH_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const TIME_STEPS = [1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600]; // seconds

function section(id, title, ...children) {
  return h("section", { id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), ...children);
}

const note = (...text) => h("p", { class: "note" }, ...text);
const card = (label, value, detail) =>
  h("div", { class: "card" }, h("div", { class: "label" }, label), h("div", { class: "value" }, value), detail ? h("div", { class: "detail" }, detail) : null);

function bar(share, sign = "") {
  const filled = h("div", { class: "fill" });
  filled.style.width = `${100 * (share ?? 0)}%`;
  return h("div", { class: "share" }, h("div", { class: "bar" }, filled), h("span", null, sign + percent(share, 0)));
}

const between = ([low, high]) => `95 % confidence interval: ${percent(low)} to ${percent(high)}`;
const sum = (values) => values.reduce((total, value) => total + value, 0);

function summary(job) {
  const cards = Object.entries(job.splits).flatMap(([name, split]) => [
    card(`${name} accuracy`, percent(split.accuracy), `${between(split.accuracy_interval)} (${plural(split.photos, "photo")})`),
    split.classes.length > 10 ? card(`${name} top 5`, percent(split.top5), between(split.top5_interval)) : null,
    isNumber(split.macro_f1) ? card(`${name} macro F1`, percent(split.macro_f1), "mean of the classes' F1") : null,
    split.confidence ? card(`${name} calibration error`, percent(calibrationError(split.confidence)), isNumber(split.uncalibrated_ece) ? `ECE; ${percent(split.uncalibrated_ece)} without temperature ${split.temperature.toFixed(2)}` : "mean distance of confidence and accuracy (ECE)") : null,
  ]);
  const last = job.history.at(-1) ?? {};
  for (const name of ["valid", "test"]) {
    if (!job.splits[name] && isNumber(last[`${name}_accuracy`])) cards.push(card(`${name} accuracy`, percent(last[`${name}_accuracy`]), "at the last epoch"));
  }
  if (isNumber(last.wise_ft)) {
    const chosen = { 0: "linear probe", 1: "fine-tuned" }[last.wise_ft] ?? `${percent(last.wise_ft, 0)} fine-tuned`;
    cards.push(card("chosen weights", chosen, `${last.wise_ft > 0 && last.wise_ft < 1 ? "the rest is the linear probe; " : ""}valid ${percent(last.valid_accuracy)} against ${percent(last.probe_valid_accuracy)} of the linear probe`));
  }
  const int8 = job.graphs.int8;
  for (const name of ["valid", "test"].filter((split) => isNumber(int8?.accuracy[split]))) {
    cards.push(card(`${name} accuracy in int8`, percent(int8.accuracy[name]), `float32 ${percent(job.graphs.float32.accuracy[name])}, same class on ${percent(int8.agreement[name])}`));
  }
  const epochs = job.history.filter((epoch) => isNumber(epoch.epoch_seconds));
  if (epochs.length) {
    const seconds = sum(epochs.map((epoch) => epoch.epoch_seconds));
    const photos = sum(epochs.map((epoch) => epoch.photos_per_second * epoch.epoch_seconds));
    cards.push(card("fine-tuning", duration(seconds), `${plural(epochs.length, "epoch")}, ${count(photos / seconds)} photos/s`));
    const ends = (job.system?.phases ?? []).map(({ end }) => end);
    const price = job.job.hardware?.usd_per_hour;
    const cost = isNumber(price) ? `, about ${((price * Math.max(...ends)) / 3600).toFixed(2)} USD on demand` : "";
    if (ends.length) cards.push(card("whole job", duration(Math.max(...ends)), `reading, training, evaluating${cost}`));
  }
  return cards.some(Boolean) ? section("summary", "Result", h("div", { class: "cards" }, cards)) : null;
}

// A share with its confidence interval, on an axis that all jobs have in common.
function whisker(share, [low, high], [from, to], tone) {
  const x = (value) => 6 + (148 * (value - from)) / (to - from || 1);
  return s("svg", { class: `whisker c${tone % SERIES_COLORS}`, width: 160, height: 16, role: "img", "aria-label": `${percent(share)}, ${between([low, high])}` },
    s("line", { class: "track", x1: 0, x2: 160, y1: 8, y2: 8 }),
    s("line", { x1: x(low), x2: x(high), y1: 8, y2: 8 }),
    s("circle", { cx: x(share), cy: 8, r: 4.5 }));
}

function comparison(jobs) {
  if (jobs.length < 2) return null;
  const evaluated = jobs.map((job, index) => ({ job, index, name: Object.keys(job.splits)[0] })).filter(({ name }) => name);
  const names = [...new Set(evaluated.map(({ name }) => name))];
  const intervals = evaluated.flatMap(({ job, name }) => job.splits[name].accuracy_interval);
  const range = [Math.min(...intervals), Math.max(...intervals)];
  const results = table([
    { label: "job", cell: ({ job, index }) => [h("span", { class: `key k${index % SERIES_COLORS}` }), job.name] },
    { label: "on", cell: ({ name }) => name },
    { label: "accuracy", number: true, value: ({ job, name }) => job.splits[name].accuracy, cell: ({ job, name }) => percent(job.splits[name].accuracy) },
    { label: `${percent(range[0], 0)} to ${percent(range[1], 0)}`, value: ({ job, name }) => job.splits[name].accuracy, cell: ({ job, name, index }) => whisker(job.splits[name].accuracy, job.splits[name].accuracy_interval, range, index) },
    { label: "p", number: true, value: ({ job, name }) => job.splits[name].p_value, cell: ({ job, name }) => job.splits[name].p_value === null ? "–" : brief(job.splits[name].p_value) },
    { label: "top 5", number: true, value: ({ job, name }) => job.splits[name].top5, cell: ({ job, name }) => percent(job.splits[name].top5) },
    { label: "loss", number: true, value: ({ job, name }) => job.splits[name].loss, cell: ({ job, name }) => brief(job.splits[name].loss) },
    { label: "epochs", number: true, value: ({ job }) => job.history.length, cell: ({ job }) => job.history.length },
    { label: "time", number: true, value: ({ job }) => sum(job.history.map((e) => e.epoch_seconds ?? 0)), cell: ({ job }) => duration(sum(job.history.map((e) => e.epoch_seconds ?? 0))) },
  ], evaluated, { sortable: true });
  return section("compare", "Jobs side by side",
    note("p: how often chance alone would tell two equally good models apart by as much, on the same photos (McNemar's test, against the most accurate job)."),
    names.length > 1 ? h("p", { class: "warn" }, "These jobs were not measured on the same split.") : null,
    new Set(evaluated.map(({ job, name }) => JSON.stringify(job.splits[name].classes.map((one) => [one.class_id, one.photos])))).size > 1
      ? h("p", { class: "warn" }, "These jobs tell different classes apart, or were measured on different photos: their accuracies cannot be compared.") : null,
    evaluated.length ? scroller("Table of jobs", results, "panel") : null);
}

function settings(jobs) {
  const given = jobs.map((job) => job.job.hyperparameters ?? {});
  const names = [...new Set(given.flatMap(Object.keys))];
  if (!names.length) return null;
  const differs = (name) => new Set(given.map((values) => JSON.stringify(values[name]))).size > 1;
  const ordered = [...names.filter(differs), ...names.filter((name) => !differs(name))];
  const value = (entry) => entry === undefined ? "–" : typeof entry === "boolean" ? (entry ? "yes" : "no") : brief(entry);
  const made = table(
    [{ label: "setting", cell: (name) => name }, ...jobs.map((job, i) => ({ label: jobs.length > 1 ? job.name : "value", cell: (name) => value(given[i][name]) }))],
    ordered, { rowAttributes: (name) => ({ class: differs(name) ? "differs" : undefined }) });
  return section("settings", "Settings",
    jobs.length > 1 ? note("What differs comes first.") : null,
    h("div", { class: "grid" },
      scroller("Table of settings", made, "panel settings"),
      jobs.length === 1 ? madeWith(jobs[0]) : null));
}

// What it takes to make the model again: facts, versions, hardware, photos, and the command.
function madeWith({ job, card: text }) {
  const flat = (given) => Object.entries(given).filter(([, fact]) => typeof fact !== "object");
  const facts = [...flat(job), ...flat(job.hardware ?? {}), ...flat(job.packages ?? {})].filter(([name]) => name !== "name" && name !== "command");
  const data = Object.entries(job.data ?? {});
  return facts.length ? h("div", { class: "panel" }, h("h3", null, "Made with"),
    h("dl", { class: "facts" }, facts.map(([name, fact]) => [h("dt", null, readable(name)), h("dd", null, typeof fact === "number" ? count(fact) : fact)])),
    data.length ? scroller("Table of photos", table([
      { label: "photos", cell: ([split]) => split },
      { label: "number", number: true, cell: ([, found]) => count(found.photos) },
      { label: "MB", number: true, cell: ([, found]) => count(found.bytes / 1e6) },
      { label: "SHA-256 of names and sizes", cell: ([, found]) => h("code", { title: found.sha256 }, found.sha256.slice(0, 12)) },
    ], data)) : null,
    job.command ? [h("h3", null, "To make it again"), h("pre", { class: "code", tabindex: 0, role: "region", "aria-label": "Command" }, job.command)] : null,
    text ? h("details", null, h("summary", null, "Model card"),
      note("model_card.md is part of the artifact, in Hugging Face's format."), h("pre", { class: "code card-text", tabindex: 0, role: "region", "aria-label": "Model card" }, text)) : null) : null;
}

// Wilson's interval of a share, at 95 % confidence, as in job_output/statistics.py.
function wilson(share, photos) {
  const z = 1.959964;
  const spread = (z * z) / photos;
  const center = (share + spread / 2) / (1 + spread);
  const half = (z * Math.sqrt((share * (1 - share)) / photos + spread / (4 * photos))) / (1 + spread);
  return [Math.max(0, center - half), Math.min(1, center + half)];
}

// The least cross-entropy that labels smoothed by that share over C classes allow: their entropy.
function leastLoss(smoothing, classes) {
  const others = smoothing / classes;
  const entropy = (p) => (p > 0 ? -p * Math.log(p) : 0);
  return entropy(1 - smoothing + others) + (classes - 1) * entropy(others);
}

function trainLossNote(jobs) {
  const { label_smoothing: smoothing, augmentation } = jobs[0].job.hyperparameters ?? {};
  const { classes } = jobs[0].job;
  const smooth = jobs.length === 1 && smoothing > 0 && classes > 1;
  return note("The train loss is higher than it would be on the other photos: it is the mean over an epoch",
    augmentation === "none" ? "" : `, of photos after augmentation${augmentation ? ` (${augmentation})` : ""}`,
    smooth ? `, against labels smoothed by ${smoothing}, which no model can bring below ${brief(leastLoss(smoothing, classes))}. ` : ", against smoothed labels. ",
    jobs.length === 1 ? "Shaded: the 95 % confidence interval. " : "",
    jobs.some((job) => isNumber(job.history.at(-1)?.probe_valid_loss)) ? "Epoch 0 is the linear probe, from before fine-tuning; the last epoch shows the weights that were chosen." : "");
}

function curves(jobs) {
  const pointsOf = (job, name) => [
    [0, job.history.at(-1)?.[`probe_${name}`]],
    ...job.history.map((epoch, i) => [i + 1, epoch[name]]),
  ].filter(([, y]) => isNumber(y));
  const drawn = (kind, splits) => jobs.flatMap((job, index) => splits.map((split, tone) => {
    const points = pointsOf(job, `${split}_${kind}`);
    const photos = job.splits[split]?.photos ?? job.job[`${split}_photos`];
    return {
      name: jobs.length > 1 ? `${job.name}: ${split}` : split,
      color: jobs.length > 1 ? index : tone,
      dash: SPLIT_DASHES[split],
      points,
      band: kind === "accuracy" && jobs.length === 1 && photos ? points.map(([x, y]) => [x, ...wilson(y, photos)]) : undefined,
    };
  })).filter((one) => one.points.length);
  const axis = { xLabel: "epoch", formatX: brief, steps: EPOCH_STEPS };
  const losses = drawn("loss", ["train", "valid", "test"]);
  if (jobs.length === 1 && jobs[0].step_losses.length > 1) losses.push({ name: "train, by step", color: 3, points: jobs[0].step_losses });
  const values = losses.flatMap((one) => one.points.map(([, y]) => y)).filter((y) => y > 0);
  const rates = jobs.map((job, color) => ({ name: job.name, color, points: pointsOf(job, "learning_rate") })).filter((one) => one.points.length);
  const charts = [
    ["Loss", losses, { ...axis, yLabel: "cross-entropy, nats", zero: true, log: Math.max(...values) > 30 * Math.min(...values), format: brief }],
    ["Accuracy", drawn("accuracy", ["train", "valid", "test"]), { ...axis, yLabel: "photos recognized, %", most: 1, format: (y) => percent(y) }],
    ["Learning rate of the head", rates, { ...axis, yLabel: "at the last step of an epoch", zero: true, format: brief }],
  ].filter(([, series]) => series.length);
  if (!charts.length) return null;
  if (charts.every(([, series]) => series.every((one) => one.points.length < 2))) {
    return section("curves", "Learning curves", note("There was one evaluation only, so there is no curve to draw."));
  }
  return section("curves", "Learning curves", trainLossNote(jobs),
    h("div", { class: "grid" }, charts.map((chart) => lineChart(...chart))));
}

function inspection(photos) {
  const splits = Object.entries(photos).filter(([, split]) => split && typeof split === "object" && "broken" in split);
  if (!splits.length) return null;
  const list = (title, lines) => lines.length ? h("details", null, h("summary", null, `${title} (${count(lines.length)})`),
    h("ul", null, lines.slice(0, 500).map((line) => h("li", null, line)))) : null;
  const rows = table([
    { label: "split", cell: ([name]) => name },
    { label: "photos", number: true, cell: ([, split]) => count(split.photos) },
    { label: "broken", number: true, cell: ([, split]) => count(Object.keys(split.broken).length) },
    { label: "very small", number: true, cell: ([, split]) => count(Object.keys(split.small).length) },
    { label: "left out", number: true, cell: ([, split]) => count(Object.keys(split.left_out ?? {}).length) },
    { label: "other files", number: true, cell: ([, split]) => count(split.ignored.length) },
  ], splits);
  const duplicates = photos.duplicates ?? [];
  return section("photos", "Photos",
    photos.leaks ? h("p", { class: "bad" }, `In another split as well: ${plural(photos.leaks, "photo")}. The accuracy measured on them is too good.`) : null,
    photos.conflicts ? h("p", { class: "bad" }, `In another class as well: ${plural(photos.conflicts, "photo")}. One label must be wrong.`) : null,
    h("div", { class: "panel" }, scroller("Table of splits", rows),
      list("Broken", splits.flatMap(([, split]) => Object.entries(split.broken).map(([file, reason]) => `${shortPath(file)}: ${reason}`))),
      list("Very small", splits.flatMap(([, split]) => Object.entries(split.small).map(([file, [w, hgt]]) => `${shortPath(file)}: ${w} x ${hgt} pixels`))),
      list("The same photo several times", duplicates.map((group) => group.files.map(shortPath).join(" = "))),
      list("Left out", splits.flatMap(([, split]) => Object.entries(split.left_out ?? {}).map(([file, reason]) => `${shortPath(file)}: ${reason}`))),
      list("Other files", splits.flatMap(([, split]) => split.ignored.map(shortPath)))));
}

// What the machine did while the job ran, with the epochs' beginnings.
function system(found) {
  if (!found) return null;
  const marks = found.phases.filter(({ name }) => /^train \d+$/.test(name)).map(({ name, start }) => ({ x: start, label: name.slice(6) }));
  const charts = found.charts.map(({ title, curves: drawn }) => lineChart(title,
    drawn.map((curve, index) => ({ ...curve, color: index, dash: index < SERIES_COLORS ? undefined : "5 3" })),
    { xLabel: "time, min:s", yLabel: title.split(", ").at(-1), formatX: clock, steps: TIME_STEPS, format: brief, zero: true, most: title.includes("%") ? 100 : undefined, marks }));
  const times = new Map();
  for (const { name, start, end } of found.phases) {
    const kind = name.replace(/ \d+$/, "");
    times.set(kind, (times.get(kind) ?? 0) + end - start);
  }
  const all = sum([...times.values()]);
  const spent = table([
    { label: "phase", cell: ([kind]) => kind },
    { label: "share", number: true, cell: ([, seconds]) => bar(seconds / all) },
    { label: "time", number: true, cell: ([, seconds]) => duration(seconds) },
  ], [...times].sort((a, b) => b[1] - a[1]));
  return section("system", "Machine",
    found.verdicts.map((verdict) => h("p", null, verdict)),
    marks.length ? note("Dashed lines: where an epoch begins.") : null,
    h("div", { class: "grid" }, charts, times.size ? h("div", { class: "panel" }, h("h3", null, "Where the time went"), scroller("Table of times", spent)) : null));
}

// What Debugger's rules say, those that fired first.
function debuggerFindings(findings) {
  if (!findings.length) return null;
  const ordered = [...findings].sort((a, b) => Boolean(b.first) - Boolean(a.first));
  const tone = ({ first, last }) => (first ? "tag bad" : last ? "tag good" : "tag");
  const made = table([
    { label: "rule", cell: (finding) => readable(finding.rule) },
    { label: "result", cell: (finding) => h("span", { class: tone(finding) }, finding.last ? finding.result : "not judged") },
    { label: "first seen", cell: ({ first }) => (first ? `step ${first.step} ${first.where}` : "") },
    { label: "last judged", cell: ({ last }) => (last ? `step ${last.step}` : "the job is too short, or has no such tensors") },
    { label: "value", number: true, cell: ({ first, last }) => brief((first ?? last)?.value) },
    { label: "what it measures", prose: true, cell: ({ measure, limit }) => `${measure}; triggered if ${limit}` },
    { label: "what to do", prose: true, cell: ({ first, advice }) => (first ? advice : "") },
  ], ordered);
  return section("debugger", "Debugger", h("div", { class: "panel" }, scroller("Table of rules", made)));
}

function tuningSection(tuning, index) {
  const at = (name) => tuning.columns.indexOf(name);
  const numeric = (column) => tuning.rows.every((row) => row[column] === null || isNumber(row[column]));
  const made = table(tuning.columns.map((label, column) => ({
    label: readable(label), number: numeric(column),
    cell: (row) => brief(row[column]), value: (row) => row[column],
  })), tuning.rows, { sortable: true });
  const rows = [...made.tBodies[0].rows];
  const finished = tuning.rows.filter((row) => isNumber(row[at(tuning.objective)])).length;
  let plot = null;
  if (finished > 1) {
    plot = parallelCoordinates(tuning, (hovered) => rows.forEach((row, i) => row.classList.toggle("on", i === hovered)));
    rows.forEach((row, i) => {
      row.addEventListener("pointerenter", () => plot.highlight(i));
      row.addEventListener("pointerleave", () => plot.highlight(null));
    });
  }
  return section(`tuning${index || ""}`, "Search for hyperparameters",
    note(`${tuning.name}: ${plural(tuning.rows.length, "job")}, ${finished} with a result. A line is a job; the best are strongest.`),
    plot?.element, searchCharts(tuning), h("div", { class: "panel" }, scroller("Jobs", made, "tall")));
}
