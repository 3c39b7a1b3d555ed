const folded = () => document.querySelectorAll("details:not([open])");
let opened = [];
addEventListener("beforeprint", () => { opened = [...folded()]; opened.forEach(each => { each.open = true; }); });
addEventListener("afterprint", () => { opened.forEach(each => { each.open = false; }); opened = []; });
