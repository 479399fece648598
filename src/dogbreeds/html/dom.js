// Making elements, and writing numbers. Texts from outside only ever become text nodes.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const count = (value) => whole.format(value);
const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

function percent(share, digits = 1) {
  return isNumber(share) ? `${(100 * share).toFixed(digits)}%` : "–";
}

// Four digits, without a tail of zeros: 0.0003, 1.234, 12,300.
function brief(value) {
  if (!isNumber(value)) return value === null || value === undefined || value === "" ? "–" : String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(2);
  return new Intl.NumberFormat("en", { maximumSignificantDigits: size >= 1000 ? 6 : 4 }).format(value);
}

function duration(seconds) {
  if (!isNumber(seconds)) return "–";
  const total = Math.round(seconds);
  if (total < 60) return `${seconds < 10 ? seconds.toFixed(1) : total} s`;
  const [hours, minutes] = [Math.floor(total / 3600), Math.floor((total % 3600) / 60)];
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${total % 60} s`;
}

// The same in a few signs, for an axis: 45 s, 3:20, 2:05:00.
function clock(seconds) {
  if (Math.abs(seconds) < 60) return `${brief(seconds)} s`;
  const parts = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), Math.round(seconds % 60)];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, i) => (i ? String(part).padStart(2, "0") : part)).join(":");
}

const readable = (name) => String(name).replaceAll("_", " ");
const shortPath = (path) => String(path).split("/").slice(-3).join("/");

// The value of a colour of page.css, as it is in light or dark mode now.
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// Calls back now and whenever the width that an element has changes.
function onWidth(element, draw) {
  let before = 0;
  new ResizeObserver(() => {
    const width = Math.floor(element.clientWidth);
    if (width && width !== before) draw((before = width));
  }).observe(element);
}

// What may be wider than a phone, or high: it can be scrolled by keys.
const scroller = (label, made, also = "") =>
  h("div", { class: `scroll ${also}`.trim(), tabindex: 0, role: "region", "aria-label": label }, made);

// A table; a column is { label, number or prose, cell(row) -> text or node, value(row) to sort by }.
function table(columns, rows, { sortable = false, rowAttributes } = {}) {
  const kind = (column) => (column.number ? "number" : column.prose ? "prose" : undefined);
  const made = h(
    "table",
    { class: sortable ? "sortable" : undefined },
    h("thead", null, h("tr", null, columns.map((c) => h("th", { scope: "col", class: kind(c) }, c.label)))),
    h("tbody", null, rows.map((row, index) =>
      h("tr", rowAttributes?.(row, index), columns.map((c, position) =>
        h(position ? "td" : "th",
          { class: kind(c), scope: position ? undefined : "row", "data-value": c.value?.(row) ?? (c.value ? "" : undefined) },
          c.cell(row)))))),
  );
  if (sortable) makeSortable(made);
  return made;
}
