const folded = () => document.querySelectorAll("details:not([open])");
let opened = [];
addEventListener("beforeprint", () => { opened = [...folded()]; opened.forEach(each => { each.open = true; }); });
addEventListener("afterprint", () => { opened.forEach(each => { each.open = false; }); opened = []; });
const valueOf = cell => cell.dataset.value ?? cell.textContent;
const before = (a, b) => {
  if (a === "" || b === "") return (a === "") - (b === "");
  return isNaN(a) || isNaN(b) ? String(a).localeCompare(String(b)) : a - b;
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === (column ? "descending" : "ascending") ? !column : !!column;
      heads.forEach(each => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [x, y] = [valueOf(a.cells[column]), valueOf(b.cells[column])];
        return x === "" || y === "" || !down ? before(x, y) : before(y, x);
      });
      table.tBodies[0].append(...rows);
    });
  });
}
