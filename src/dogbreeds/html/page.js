// Sorts the tables of class "sortable" by a click on a column's header.

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

function sortKey(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  return { text, number: text === "" ? NaN : Number(text) };
}

// Numbers by value, before texts; empty cells last, whatever the direction.
function compare(a, b, sign) {
  if (a.text === "" || b.text === "") return (a.text === "") - (b.text === "");
  if (Number.isNaN(a.number) || Number.isNaN(b.number)) return sign * collator.compare(a.text, b.text);
  return sign * (a.number - b.number);
}

function sortTable(table, column, descending) {
  const sign = descending ? -1 : 1;
  for (const body of table.tBodies) {
    const rows = [...body.rows].map((row) => ({ row, key: sortKey(row, column) }));
    rows.sort((a, b) => compare(a.key, b.key, sign));
    body.append(...rows.map(({ row }) => row));
  }
  [...table.tHead.rows[0].cells].forEach((cell, index) => {
    if (index === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => {
      const before = cell.getAttribute("aria-sort");
      // Numbers are first shown with the highest on top, as one mostly wants them.
      const descending = before ? before === "ascending" : cell.classList.contains("number");
      sortTable(table, column, descending);
    });
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
