// A hyperparameter search beyond parallel coordinates: the best so far, the objective over each
// hyperparameter, and how much each of them mattered.

const SCATTER_HEIGHT = 220;

// The jobs that ended with an objective: { i: row of the table, name, value, given: by hyperparameter }.
function finishedJobs(tuning) {
  const column = (name) => tuning.columns.indexOf(name);
  return tuning.rows.map((row, i) => ({
    i, name: String(row[0]), value: row[column(tuning.objective)],
    given: Object.fromEntries(tuning.hyperparameters.map((name) => [name, row[column(name)]])),
  })).filter(({ value }) => isNumber(value));
}

const isShare = (objective) => /accuracy|top5|ece/.test(objective);
const objectiveText = (tuning) => (value) => (isShare(tuning.objective) ? percent(value) : brief(value));

// The table has the best job first; jobs are numbered in the order of their start.
function bestSoFar(tuning, jobs) {
  const smaller = jobs[0].value < jobs.at(-1).value;
  let best = jobs[0].value;
  const started = [...jobs].sort((a, b) => collator.compare(a.name, b.name));
  const points = started.map(({ value }, i) => [i + 1, (best = i === 0 ? value : smaller ? Math.min(best, value) : Math.max(best, value))]);
  return lineChart("Best so far", [
    { name: "best so far", color: 0, points },
    { name: "job", color: 1, dash: "2 4", points: started.map(({ value }, i) => [i + 1, value]) },
  ], { xLabel: "finished job, by start", yLabel: readable(tuning.objective), formatX: String, steps: EPOCH_STEPS, format: objectiveText(tuning) });
}

function scatter(tuning, jobs, name) {
  const x = axisOf(jobs.map(({ given }) => given[name]), false);
  const y = axisOf(jobs.map(({ value }) => value), true);
  const area = h("div", { class: "chart-area small" });
  onWidth(area, (width) => {
    const [left, right, top, bottom] = [56, 24, 26, 40];
    const px = (value) => left + x.at(value) * (width - left - right);
    const py = (share) => SCATTER_HEIGHT - bottom - share * (SCATTER_HEIGHT - top - bottom);
    const room = Math.max(1, Math.floor((width - left - right) / 52));
    const every = Math.ceil(x.ticks.length / room);
    area.replaceChildren(s("svg", { width, height: SCATTER_HEIGHT, viewBox: `0 0 ${width} ${SCATTER_HEIGHT}`, role: "img",
      "aria-label": `${readable(tuning.objective)} by ${readable(name)}; the table below has the same numbers` },
      y.ticks.map(({ at, text }) => [
        s("line", { class: "grid-line", x1: left, x2: width - right, y1: py(at), y2: py(at) }),
        s("text", { x: left - 8, y: py(at) + 4, "text-anchor": "end" }, text)]),
      x.ticks.filter((_, i) => i % every === 0).map(({ at, text }) =>
        s("text", { x: left + at * (width - left - right), y: SCATTER_HEIGHT - bottom + 18, "text-anchor": "middle" }, text)),
      s("text", { class: "axis-label", x: 2, y: 12 }, readable(tuning.objective)),
      s("text", { class: "axis-label", x: (left + width - right) / 2, y: SCATTER_HEIGHT - 6, "text-anchor": "middle" }, readable(name)),
      [...jobs].reverse().filter(({ given }) => given[name] !== null).map(({ i, value, given, name: job }) => s("circle", { class: i === 0 ? "spot best" : "spot", cx: px(given[name]), cy: py(y.at(value)), r: i === 0 ? 6 : 4 },
        s("title", null, `job ${job}: ${readable(name)} ${brief(given[name])}, ${readable(tuning.objective)} ${objectiveText(tuning)(value)}`)))));
  });
  return h("figure", { class: "chart panel scatter" }, h("figcaption", null, h("h3", null, readable(name))), area);
}

function ranks(values) {
  const order = [...values].sort((a, b) => (isNumber(a) && isNumber(b) ? a - b : collator.compare(a, b)));
  return values.map((value) => (order.indexOf(value) + order.lastIndexOf(value)) / 2);
}

// Spearman's rank correlation, -1 to 1; null where all values are equal.
function rankCorrelation(xs, ys) {
  const mean = (xs.length - 1) / 2;
  const [a, b] = [ranks(xs), ranks(ys)].map((found) => found.map((rank) => rank - mean));
  const size = Math.sqrt(sum(a.map((v) => v * v)) * sum(b.map((v) => v * v)));
  return size ? sum(a.map((v, i) => v * b[i])) / size : null;
}

// Optuna's importance where the search kept it, otherwise the rank correlation of what has an order.
function importance(tuning, jobs) {
  const found = tuning.importance ?? Object.fromEntries(tuning.hyperparameters
    .filter((name) => jobs.every(({ given }) => isNumber(given[name])))
    .map((name) => [name, rankCorrelation(jobs.map(({ given }) => given[name]), jobs.map(({ value }) => value))]));
  const shares = Object.entries(found).filter(([, value]) => isNumber(value)).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  if (!shares.length) return null;
  const rows = table([
    { label: "hyperparameter", cell: ([name]) => readable(name) },
    { label: tuning.importance ? "importance" : "rank correlation", number: true, cell: ([, value]) => [bar(Math.abs(value), value < 0 ? "–" : "")] },
  ], shares);
  return h("div", { class: "panel" }, h("h3", null, tuning.importance ? "Importance" : `Rank correlation with ${readable(tuning.objective)}`),
    h("p", { class: "note" }, tuning.importance ? "Optuna's PED-ANOVA: how differently the best jobs chose; the sum is 1."
      : "Spearman's, which sees no optimum in the middle and nothing without an order."),
    scroller("Table of hyperparameters", rows));
}

function searchCharts(tuning) {
  const jobs = finishedJobs(tuning);
  if (jobs.length < 2) return null;
  return h("div", { class: "grid" }, bestSoFar(tuning, jobs), importance(tuning, jobs),
    tuning.hyperparameters.filter((name) => new Set(jobs.map(({ given }) => given[name])).size > 1).map((name) => scatter(tuning, jobs, name)));
}
