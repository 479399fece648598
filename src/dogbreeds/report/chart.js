// A line chart: curves over a common x axis, a legend that hides and shows them, and a reader that
// follows the pointer, a finger or the arrow keys.

const CHART_HEIGHT = 260;
const SERIES_COLORS = 6;

// At most about that many round values from low to high; steps: the distances to choose from.
function niceTicks(low, high, most, steps = []) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = steps.find((one) => one >= rough) ?? [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) * power;
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-9; tick += step) {
    ticks.push(Math.abs(tick) < step * 1e-9 ? 0 : tick);
  }
  return ticks;
}

// Decades, and between them 2 and 5 where there is room; low and high are logarithms.
function logTicks(low, high) {
  const digits = high - low < 2.5 ? [1, 2, 5] : [1];
  const decades = Array.from({ length: Math.floor(high) - Math.floor(low) + 1 }, (_, i) => Math.floor(low) + i);
  return decades.flatMap((decade) => digits.map((digit) => digit * 10 ** decade)).filter((tick) => Math.log10(tick) >= low && Math.log10(tick) <= high);
}

// series: [{ name, color: 0.., dash: "" | "6 4" | ..., points: [[x, y], ...], band: [[x, low, high], ...] }],
//         x ascending; band is optional, an interval around the points.
// options: xLabel, yLabel (with its unit), format(y), formatX(x), zero: y starts at 0, most: y ends at no more,
//          log: y is logarithmic, steps: distances of ticks on the x axis, marks: [{ x, label }] vertical lines there
function lineChart(title, series, options) {
  const shown = new Set(series);
  const area = h("div", { class: "chart-area" });
  const tip = h("div", { class: "chart-tip", role: "status", hidden: true });
  const hint = "arrow keys read the values";
  const legend = h("div", { class: "legend" }, series.map((one) =>
    h("button", { type: "button", "aria-pressed": "true", click: (event) => toggle(one, event.currentTarget) },
      s("svg", { width: 22, height: 8, "aria-hidden": "true" },
        s("line", { x1: 1, x2: 21, y1: 4, y2: 4, class: `curve c${one.color % SERIES_COLORS}`, "stroke-dasharray": one.dash })),
      one.name)));
  let width = 0;
  const redraw = () => width && draw();

  function toggle(one, button) {
    if (!shown.delete(one)) shown.add(one);
    button.setAttribute("aria-pressed", String(shown.has(one)));
    redraw();
  }

  function draw() {
    const visible = series.filter((one) => shown.has(one));
    const points = visible.flatMap((one) => one.points);
    tip.hidden = true;
    if (!points.length) return area.replaceChildren(h("p", { class: "note" }, "No curve is shown."));
    const xs = [...new Set(points.map(([x]) => x))].sort((a, b) => a - b);
    const scaled = options.log ? (y) => Math.log10(Math.max(y, Number.MIN_VALUE)) : (y) => y;
    const bands = visible.flatMap((one) => one.band ?? []).flatMap(([, from, to]) => [from, to]);
    const ys = [...points.map(([, y]) => y), ...bands].map(scaled).filter(Number.isFinite);
    const zero = options.zero && !options.log;
    let [low, high] = [zero ? 0 : Math.min(...ys), Math.max(...ys)];
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    if (!zero) low = options.log ? low - room : Math.max(Math.min(0, low), low - room);
    high = Math.min(options.most ?? Infinity, high + room);
    if (high <= low) high = low + 1;
    const yTicks = options.log ? logTicks(low, high) : niceTicks(low, high, 5);
    const labels = yTicks.map(options.format);
    const left = 14 + 7.2 * Math.max(...labels.map((label) => label.length));
    const [right, top, bottom] = [14, options.yLabel ? 26 : 12, 40];
    const single = xs.length === 1;
    const [first, last] = [xs[0], xs.at(-1)];
    const px = (x) => single ? (left + width - right) / 2 : left + ((x - first) / (last - first)) * (width - left - right);
    const py = (y) => CHART_HEIGHT - bottom - ((scaled(y) - low) / (high - low)) * (CHART_HEIGHT - top - bottom);
    const most = Math.max(1, Math.floor((width - left - right) / 70));
    const xTicks = single ? xs : niceTicks(first, last, most, options.steps);
    const marks = (options.marks ?? []).filter(({ x }) => x > first && x < last);
    const apart = Math.ceil(marks.length / Math.max(1, (width - left - right) / 44));

    const reader = s("g", { class: "reader", visibility: "hidden" });
    const root = s("svg", { viewBox: `0 0 ${width} ${CHART_HEIGHT}`, width, height: CHART_HEIGHT, role: "img", tabindex: 0, "aria-label": `${title}; ${hint}` },
      yTicks.map((tick, i) => [
        s("line", { class: "grid-line", x1: left, x2: width - right, y1: py(tick), y2: py(tick) }),
        s("text", { x: left - 8, y: py(tick) + 4, "text-anchor": "end" }, labels[i])]),
      marks.map(({ x, label }, i) => [
        s("line", { class: "mark", x1: px(x), x2: px(x), y1: top, y2: CHART_HEIGHT - bottom }),
        i % apart ? null : s("text", { class: "mark-label", x: px(x) + 4, y: top + 9 }, label)]),
      xTicks.map((tick) => s("text", { x: px(tick), y: CHART_HEIGHT - bottom + 18, "text-anchor": "middle" }, (options.formatX ?? brief)(tick))),
      s("text", { class: "axis-label", x: (left + width - right) / 2, y: CHART_HEIGHT - 6, "text-anchor": "middle" }, options.xLabel),
      options.yLabel ? s("text", { class: "axis-label", x: 2, y: 12 }, options.yLabel) : null,
      visible.map((one) => s("g", { class: `c${one.color % SERIES_COLORS}` },
        one.band ? s("polygon", { class: "band", points: [...one.band.map(([x, from]) => [x, from]), ...one.band.map(([x, , to]) => [x, to]).reverse()].map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join(" ") }) : null,
        s("polyline", { class: "curve", points: one.points.map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join(" "), "stroke-dasharray": one.dash }),
        one.points.length <= 40 ? one.points.map(([x, y]) => s("circle", { class: "dot", cx: px(x), cy: py(y), r: single ? 4 : 2.5 })) : null)),
      reader);
    area.replaceChildren(root, tip);

    function interval(one, x) {
      const found = one.band?.find(([at]) => at === x);
      return found ? ` (${options.format(found[1])} to ${options.format(found[2])})` : null;
    }
    let at = -1;
    function read(index) {
      at = Math.max(0, Math.min(xs.length - 1, index));
      const x = xs[at];
      const values = visible.map((one) => [one, nearest(one.points, x)]).filter(([, point]) => point);
      reader.replaceChildren(
        s("line", { x1: px(x), x2: px(x), y1: top, y2: CHART_HEIGHT - bottom }),
        ...values.map(([one, [, y]]) => s("circle", { class: `dot c${one.color % SERIES_COLORS}`, cx: px(x), cy: py(y), r: 4.5 })));
      reader.setAttribute("visibility", "visible");
      tip.replaceChildren(
        h("strong", null, `${options.xLabel} ${(options.formatX ?? brief)(x)}`),
        ...values.map(([one, [, y]]) => h("div", null, h("span", { class: `key k${one.color % SERIES_COLORS}` }), `${one.name} `, h("b", null, options.format(y)), interval(one, x))));
      tip.hidden = false;
      const space = tip.offsetWidth + 14;
      tip.style.left = `${Math.max(0, px(x) + space > width ? px(x) - space : px(x) + 14)}px`;
    }
    function leave() {
      reader.setAttribute("visibility", "hidden");
      tip.hidden = true;
    }
    root.addEventListener("pointermove", (event) => {
      const x = event.clientX - root.getBoundingClientRect().left;
      read(xs.reduce((best, value, i) => (Math.abs(px(value) - x) < Math.abs(px(xs[best]) - x) ? i : best), 0));
    });
    root.addEventListener("pointerleave", leave);
    root.addEventListener("blur", leave);
    root.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
      if (event.key === "Escape") return leave();
      if (step === undefined) return;
      event.preventDefault();
      read(at < 0 && step > 0 && step < Infinity ? 0 : at + step);
    });
  }

  onWidth(area, (now) => { width = now; draw(); });
  return h("figure", { class: "chart panel" }, h("figcaption", null, h("h3", null, title)), series.length > 1 ? legend : null, area);
}

// The point at x, or the last before it; none where the curve has not begun.
function nearest(points, x) {
  let [low, high] = [0, points.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] <= x) low = middle + 1;
    else high = middle;
  }
  return points[low - 1];
}
