// The confusion matrix: one row per right class, one column per predicted class. Right answers are
// green and wrong ones red, the stronger the larger their share of the row. On canvas, because 133
// classes have 17,689 cells.

const LONGEST_NAME = 26; // signs beside the matrix

const ORDERS = {
  "by class": (matrix) => matrix.classes.map((_, i) => i),
  "lowest recall first": (matrix) =>
    matrix.classes.map((_, i) => i).sort((a, b) => (matrix.classes[a].recall ?? 2) - (matrix.classes[b].recall ?? 2)),
  "mixed-up classes together": (matrix) => grouped(matrix),
};

// Chains classes so that those that are most mixed up stand side by side: the strongest pairs are
// joined first, each at a free end of its chain.
function grouped({ classes, cells }) {
  const chains = classes.map((_, i) => [i]);
  const chainOf = [...chains];
  const both = new Map();
  for (const { row, column, photos } of cells) {
    if (row === column) continue;
    const key = row < column ? `${row},${column}` : `${column},${row}`;
    both.set(key, (both.get(key) ?? 0) + photos);
  }
  for (const [key] of [...both].sort((a, b) => b[1] - a[1])) {
    const [a, b] = key.split(",").map(Number);
    const [one, other] = [chainOf[a], chainOf[b]];
    if (one === other) continue;
    if (one.at(-1) !== a) one.reverse();
    if (other[0] !== b) other.reverse();
    if (one.at(-1) !== a || other[0] !== b) continue;
    one.push(...other);
    for (const member of other) chainOf[member] = one;
  }
  return [...new Set(chainOf)].sort((a, b) => b.length - a.length).flat();
}

// Returns the element that shows the matrix of a split's evaluation, with the photos of the cell
// that is chosen.
function confusionMatrix(evaluation) {
  const { classes, worst } = evaluation;
  const size = classes.length;
  const cells = evaluation.confusion.map(([row, column, photos]) => ({ row, column, photos }));
  const lookup = new Map(cells.map((cell) => [cell.row * size + cell.column, cell.photos]));
  const photosAt = (row, column) => lookup.get(row * size + column) ?? 0;
  const name = (index) => readable(classes[index].class_name);
  const shortName = (index) => name(index).length > LONGEST_NAME ? `${name(index).slice(0, LONGEST_NAME - 1)}…` : name(index);
  const matrix = { classes, cells };
  let order = ORDERS["by class"](matrix);
  let place = inverse(order);
  let cursor = [0, 0]; // row and column on the screen
  let pointed = false; // nothing is highlighted before a cell is pointed at
  let chosen = null; // row and column by class
  let geometry = null;

  const canvas = h("canvas", { tabindex: 0, role: "img", "aria-describedby": "matrix-reading",
    "aria-label": "Confusion matrix. Arrow keys move, with Shift to the next cell that is not empty, Enter chooses." });
  const holder = h("div", { class: "matrix-holder" }, canvas);
  const reading = h("p", { id: "matrix-reading", class: "reading", "aria-live": "polite" });
  const photos = h("div", { class: "pair-photos", tabindex: 0, role: "region", "aria-label": "Photos of the chosen cell" },
    h("span", null, "Choose a cell to see its photos."));
  const sort = h("select", { "aria-label": "Order", change: (event) => reorder(event.target.value) },
    Object.keys(ORDERS).map((label) => h("option", { value: label }, label)));

  function reorder(label) {
    const [row, column] = cursor.map((at) => order[at]);
    order = ORDERS[label](matrix);
    place = inverse(order);
    cursor = [place[row], place[column]];
    draw();
  }

  function sentence(row, column) {
    const [photos, all] = [photosAt(row, column), classes[row].photos];
    const share = all ? ` (${percent(photos / all, 0)})` : "";
    const what = row === column ? "are recognised" : `are taken for ${name(column)}`;
    return `${photos} of ${plural(all, "photo")} of ${name(row)}${share} ${what}`;
  }

  function draw() {
    const width = holder.clientWidth;
    if (!width) return;
    const longest = Math.max(...classes.map((_, index) => shortName(index).length));
    let margin = Math.min(150, 8 + 6.2 * longest);
    let cell = (width - margin) / size;
    const named = cell >= 8.5;
    if (!named) [margin, cell] = [18, (width - 18) / size];
    cell = Math.min(cell, 56);
    const side = margin + cell * size;
    geometry = { margin, cell };
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(side * scale);
    canvas.height = Math.round(side * scale);
    canvas.style.width = `${side}px`;
    canvas.style.height = `${side}px`;
    const paint = canvas.getContext("2d");
    paint.scale(scale, scale);
    const [right, wrong, text, muted, raised, accent] = ["good", "bad", "text", "muted", "raised", "accent"].map(color);
    paint.fillStyle = raised;
    paint.fillRect(margin, margin, cell * size, cell * size);
    const gap = cell > 6 ? 1 : cell > 3 ? 0.5 : 0;
    for (const { row, column, photos } of cells) {
      paint.fillStyle = row === column ? right : wrong;
      // The root lets one photo of eight be seen.
      paint.globalAlpha = 0.3 + 0.7 * Math.sqrt(photos / Math.max(1, classes[row].photos));
      paint.fillRect(margin + place[column] * cell, margin + place[row] * cell, cell - gap, cell - gap);
    }
    paint.globalAlpha = 1;
    if (cell >= 22) {
      paint.font = `${Math.min(14, cell / 2)}px system-ui, sans-serif`;
      paint.textAlign = "center";
      paint.textBaseline = "middle";
      for (const { row, column, photos } of cells) {
        paint.fillStyle = photos / Math.max(1, classes[row].photos) > 0.4 ? color("surface") : text;
        paint.fillText(String(photos), margin + (place[column] + 0.5) * cell - gap / 2, margin + (place[row] + 0.5) * cell);
      }
    }
    paint.fillStyle = muted;
    if (named) drawNames(paint, { margin, cell, text, muted });
    else {
      paint.font = "12px system-ui, sans-serif";
      paint.textAlign = "left";
      paint.textBaseline = "alphabetic";
      paint.fillText("predicted →", margin, 12);
      paint.save();
      paint.translate(12, margin);
      paint.rotate(-Math.PI / 2);
      paint.textAlign = "right";
      paint.fillText("← right class", 0, 0);
      paint.restore();
    }
    if (pointed) drawCursor(paint, accent);
  }

  function drawNames(paint, { margin, cell, text, muted }) {
    paint.font = `${Math.max(8.5, Math.min(12, cell - 0.5))}px system-ui, sans-serif`;
    paint.textBaseline = "middle";
    for (let at = 0; at < size; at++) {
      const middle = margin + (at + 0.5) * cell;
      paint.fillStyle = pointed && at === cursor[0] ? text : muted;
      paint.textAlign = "right";
      paint.fillText(shortName(order[at]), margin - 6, middle, margin - 8);
      paint.save();
      paint.translate(middle, margin - 6);
      paint.rotate(-Math.PI / 2);
      paint.fillStyle = pointed && at === cursor[1] ? text : muted;
      paint.textAlign = "left";
      paint.fillText(shortName(order[at]), 0, 0, margin - 8);
      paint.restore();
    }
  }

  function drawCursor(paint, accent) {
    const { margin, cell } = geometry;
    const [y, x] = cursor.map((at) => margin + at * cell);
    paint.fillStyle = accent;
    paint.globalAlpha = 0.12;
    paint.fillRect(margin, y, cell * size, cell);
    paint.fillRect(x, margin, cell, cell * size);
    paint.globalAlpha = 1;
    paint.strokeStyle = accent;
    paint.lineWidth = 2;
    paint.strokeRect(x - 1, y - 1, Math.max(4, cell) + 1, Math.max(4, cell) + 1);
  }

  function look(row, column) {
    if (pointed && row === cursor[0] && column === cursor[1]) return;
    pointed = true;
    cursor = [row, column];
    reading.textContent = sentence(order[row], order[column]);
    draw();
  }

  function choose(row = order[cursor[0]], column = order[cursor[1]]) {
    chosen = [row, column];
    pointed = true;
    cursor = [place[row], place[column]];
    reading.textContent = sentence(row, column);
    draw();
    showPhotos(row, column);
  }

  function showPhotos(row, column) {
    const [is, said] = [classes[row].class_name, classes[column].class_name];
    const pair = worst.filter((mistake) => mistake.class_name === is && mistake.predicted === said && mistake.thumbnail);
    const none = row === column ? "Photos are kept of mistakes only." : `None of these is among the ${worst.length} worst mistakes.`;
    photos.replaceChildren(...(pair.length ? pair.map((mistake) => mistakePhoto(mistake)) : [h("span", null, none)]));
  }

  // The cell under a pointer; where cells are tiny, the nearest within reach that is not empty.
  function cellAt(event, reach) {
    const box = canvas.getBoundingClientRect();
    const at = [event.clientY - box.top, event.clientX - box.left].map((v) => Math.floor((v - geometry.margin) / geometry.cell));
    if (at.some((v) => v < 0 || v >= size)) return null;
    const most = Math.floor(reach / geometry.cell);
    if (most < 1 || photosAt(order[at[0]], order[at[1]])) return at;
    let best = null;
    for (const { row, column } of cells) {
      const [r, c] = [place[row], place[column]];
      const distance = Math.hypot(r - at[0], c - at[1]);
      if (distance <= most && (!best || distance < best.distance)) best = { at: [r, c], distance };
    }
    return best?.at ?? at;
  }

  canvas.addEventListener("pointermove", (event) => {
    const at = cellAt(event, event.pointerType === "touch" ? 16 : 4);
    if (at) look(...at);
  });
  canvas.addEventListener("pointerleave", () => chosen && look(place[chosen[0]], place[chosen[1]]));
  canvas.addEventListener("click", (event) => {
    const at = cellAt(event, event.pointerType === "touch" ? 16 : 4);
    if (!at) return;
    look(...at);
    choose();
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      return choose();
    }
    if (!step) return;
    event.preventDefault();
    let next = cursor;
    do {
      next = next.map((v, i) => v + step[i]);
      if (next.some((v) => v < 0 || v >= size)) return;
    } while (event.shiftKey && !photosAt(order[next[0]], order[next[1]]));
    look(...next);
  });
  onWidth(holder, draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  // Both directions of a confusion count as one.
  const mistakes = cells.filter(({ row, column }) => row !== column && (row < column || !photosAt(column, row)))
    .map(({ row, column }) => ({ row, column, photos: photosAt(row, column) + photosAt(column, row), all: classes[row].photos + classes[column].photos }))
    .sort((a, b) => b.photos - a.photos || b.photos / b.all - a.photos / a.all);
  const pairs = h("ol", { class: "pairs" }, mistakes.slice(0, 9).map(({ row, column, photos, all }) =>
    h("li", null, h("button", { type: "button", click: () => photosAt(row, column) >= photosAt(column, row) ? choose(row, column) : choose(column, row) },
      h("b", null, `${photos} of ${all}`),
      h("span", null, name(row), h("span", { class: "muted" }, " and "), name(column))))));
  reading.textContent = "Point at a cell to read it.";
  return h("div", { class: "matrix panel" },
    h("div", null, h("label", { class: "choice" }, "Order ", sort), holder),
    h("div", null, reading, photos, h("h3", null, mistakes.length ? "Most often mixed up" : "Nothing is mixed up"), pairs));
}

function inverse(order) {
  const place = [];
  order.forEach((index, at) => { place[index] = at; });
  return place;
}
