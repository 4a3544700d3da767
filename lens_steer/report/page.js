"use strict";
// Sorts a table by the column whose head is clicked: rising, then falling. Cells without a value stay at the end.

function keyOf(row, column) {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
}

function compare(first, second) {
  if (first === "" || second === "") return (first === "") - (second === "");
  return typeof first === "number" && typeof second === "number" ? first - second : String(first).localeCompare(String(second));
}

function sort(head) {
  const table = head.closest("table");
  const column = head.cellIndex;
  const falling = head.getAttribute("aria-sort") === "ascending";
  const sign = falling ? -1 : 1;
  const rows = [...table.tBodies[0].rows].map((row) => [keyOf(row, column), row]);
  rows.sort(([a], [b]) => (a === "" || b === "" ? compare(a, b) : sign * compare(a, b)));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

document.addEventListener("click", (event) => {
  const head = event.target.closest("thead th");
  if (head) sort(head);
});

// Shows the texts of the strength at which a slider stands; without this script those of all strengths are shown.

function step(slider) {
  const shown = slider.closest(".strengths").querySelectorAll(".at");
  shown.forEach((place, index) => { place.hidden = index !== Number(slider.value); });
  slider.closest("p").querySelector("output").value = shown[slider.value].dataset.strength;
}

for (const slider of document.querySelectorAll(".strengths input")) {
  slider.addEventListener("input", () => step(slider));
  step(slider);
}
