"use strict";
// Sorts and filters rows that are there already. It takes texts from the page, and makes no markup of them.
const table = document.querySelector("table");
if (table) {
  const body = table.tBodies[0], rows = [...body.rows];
  const find = document.querySelector("#find"), said = document.querySelector("output");
  const number = new Intl.NumberFormat("en");
  const order = new Intl.Collator("en", {numeric: true}).compare;
  let texts;

  const count = () => {
    const state = document.querySelector(".tiles :target")?.id;  // the style hides the rows of others
    const shown = rows.filter(row => !row.hidden && (!state || row.className === state)).length;
    said.textContent = shown === rows.length ? "" : `${number.format(shown)} of ${number.format(rows.length)} shown`;
  };
  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    texts ??= rows.map(row => row.textContent.toLowerCase());
    rows.forEach((row, at) => { row.hidden = !words.every(word => texts[at].includes(word)); });
    count();
  };
  find.addEventListener("input", filter);
  addEventListener("hashchange", count);
  addEventListener("load", filter);  // a browser that comes back may have kept what was asked for
  find.parentElement.hidden = false;

  const heads = [...table.tHead.rows[0].cells].slice(0, -1);
  const key = (row, column) => row.cells[column].querySelector("data")?.value ?? row.cells[column].textContent;
  heads.forEach((head, column) => {
    const written = head.ariaSort !== null;  // the rows came in this order
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const first = rows.some(row => row.cells[column].querySelector("data, time")) ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const way = head.ariaSort === first ? second : first;
      heads.forEach(other => { other.ariaSort = other === head ? way : null; });
      const keyed = rows.map((row, at) => ({row, key: written ? String(at) : key(row, column)}));
      keyed.sort((a, b) => !a.key - !b.key || (way === "ascending" ? order(a.key, b.key) : order(b.key, a.key)));
      body.remove();  // out of the document the rows move at once
      body.append(...keyed.map(each => each.row));
      table.append(body);
    });
  });
}
