// Parallel coordinates of a hyperparameter search: one axis per hyperparameter, one line per job, the
// best ones strongest. A few values are placed at equal distances, numbers that span decades on a
// logarithmic axis.

const PARALLEL_HEIGHT = 320;
const FEW_VALUES = 6;

function axisOf(values, continuous) {
  const given = values.filter((value) => value !== null);
  const numbers = given.filter(isNumber);
  if (numbers.length < given.length || (!continuous && new Set(numbers).size <= FEW_VALUES)) {
    const inOrder = numbers.length === given.length ? (a, b) => a - b : (a, b) => collator.compare(a, b);
    const stops = [...new Set(given)].sort(inOrder);
    const at = (value) => stops.length === 1 ? 0.5 : stops.indexOf(value) / (stops.length - 1);
    return { at, ticks: stops.map((value) => ({ at: at(value), text: brief(value) })) };
  }
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  if (low > 0 && high / low > 20) {
    const [from, to] = [Math.log10(low), Math.log10(high)];
    const at = (value) => (Math.log10(value) - from) / (to - from);
    const decades = niceTicks(from, to, 4).filter(Number.isInteger).map((tick) => 10 ** tick);
    return { at, ticks: [...new Set([low, ...decades, high])].map((value) => ({ at: at(value), text: brief(value) })) };
  }
  const at = (value) => (high > low ? (value - low) / (high - low) : 0.5);
  return { at, ticks: niceTicks(low, high, 4).map((value) => ({ at: at(value), text: brief(value) })) };
}

// onHover(index or null): which row of the table a pointed-at line is.
function parallelCoordinates(tuning, onHover) {
  const names = [...tuning.hyperparameters, tuning.objective];
  const index = names.map((name) => tuning.columns.indexOf(name));
  const jobs = tuning.rows.map((row, i) => ({ i, values: index.map((c) => row[c]) })).filter((job) => isNumber(job.values.at(-1)));
  const axes = names.map((_, a) => axisOf(jobs.map((job) => job.values[a]), a === names.length - 1));
  const area = scroller("Jobs as lines", null, "chart-area");
  const lines = new Map();

  function highlight(row) {
    for (const [i, line] of lines) line.classList.toggle("on", i === row);
    if (lines.has(row)) lines.get(row).parentNode.append(lines.get(row));
  }

  onWidth(area, (width) => {
    const wide = Math.max(width, 110 * names.length);
    const [left, right, top, bottom] = [40, 70, 34, 14];
    const px = (a) => left + (a / Math.max(1, names.length - 1)) * (wide - left - right);
    const py = (share) => PARALLEL_HEIGHT - bottom - share * (PARALLEL_HEIGHT - top - bottom);
    lines.clear();
    // The table has the best first; it is drawn last, over the others.
    const drawn = [...jobs].reverse().map((job) => {
      const points = job.values.map((value, a) => (value === null ? null : `${px(a).toFixed(1)},${py(axes[a].at(value)).toFixed(1)}`));
      const rank = jobs.length > 1 ? 1 - jobs.indexOf(job) / (jobs.length - 1) : 1;
      const line = s("polyline", { class: "job", points: points.filter(Boolean).join(" "), "stroke-opacity": 0.15 + 0.85 * rank ** 2,
        pointerenter: () => { highlight(job.i); onHover(job.i); }, pointerleave: () => { highlight(null); onHover(null); } },
        s("title", null, names.map((name, a) => `${readable(name)}: ${brief(job.values[a])}`).join("\n")));
      lines.set(job.i, line);
      return line;
    });
    area.replaceChildren(s("svg", { width: wide, height: PARALLEL_HEIGHT, viewBox: `0 0 ${wide} ${PARALLEL_HEIGHT}`, role: "img",
      "aria-label": "Parallel coordinates of the jobs; the table below has the same numbers" },
      s("g", null, drawn),
      axes.map((axis, a) => s("g", { class: "axis" },
        s("line", { x1: px(a), x2: px(a), y1: top, y2: PARALLEL_HEIGHT - bottom }),
        s("text", { class: "axis-label", x: px(a), y: 16, "text-anchor": a ? "middle" : "start", dx: a ? 0 : -30 }, readable(names[a])),
        axis.ticks.map(({ at, text }) => s("text", { class: "halo", x: px(a) + 6, y: py(at) + 4 }, text))))));
  });
  return { element: h("figure", { class: "chart panel parallel" }, area), highlight };
}
