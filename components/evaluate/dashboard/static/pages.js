// Hands the page's data to TFMA's components, and again when a choice above them changes.
'use strict';
(function () {
  const data = JSON.parse(document.getElementById('data').textContent);
  const choices = [...document.querySelectorAll('.controls select')];
  const chosen = () => choices.reduce((part, select) => part[select.value], data);

  function show() {
    const table = document.querySelector('tfma-nb-slicing-metrics, tfma-nb-time-series');
    if (table) {
      table.config = {weightedExamplesColumn: 'example_count', isModelCentric: true};
      table.data = chosen();
      widen(table);
    } else {
      showPlots(chosen());
    }
  }

  // TFMA leaves 120 pixels free on either side of a slices' table: 13 classes need them.
  function widen(component) {
    const browser = component.shadowRoot.querySelector('tfma-slicing-metrics-browser');
    if (browser) browser.shadowRoot.getElementById('table').style.cssText = 'width: auto; margin: 0;';
  }

  function showPlots(classes) {
    const parent = document.querySelector('.plots');
    parent.textContent = '';
    for (const [name, plot] of Object.entries(classes)) {
      parent.appendChild(document.createElement('h3')).textContent = name;
      if (plot.matrices.length) {
        add(parent, 'tfma-roc-curve', {data: plot.matrices});
        add(parent, 'tfma-precision-recall-curve', {data: plot.matrices});
      } else {
        for (const curve of ['ROC', 'precision-recall']) {
          add(parent, 'p', {textContent: `No ${curve} curve: all images are positive or all negative.`});
        }
      }
      add(parent, 'tfma-calibration-plot', {buckets: plot.buckets});
    }
  }

  function add(parent, name, properties) {
    const box = parent.appendChild(document.createElement('div'));
    Object.assign(box.appendChild(document.createElement(name)), properties);
  }

  choices.forEach(select => select.addEventListener('change', show));
  show();
})();
