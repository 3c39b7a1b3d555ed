for (const chart of document.querySelectorAll("script[data-chart]")) {
  const {data, layout} = JSON.parse(chart.textContent);
  const settings = {responsive: true, displaylogo: false, displayModeBar: false};
  Plotly.newPlot(document.getElementById(chart.dataset.chart), data, layout, settings);
}
const drawn = () => document.querySelectorAll(".js-plotly-plot");
addEventListener("beforeprint", () => drawn().forEach(p => Plotly.relayout(p, {width: 680})));
addEventListener("afterprint", () => drawn().forEach(p => Plotly.relayout(p, {width: null, autosize: true})));
