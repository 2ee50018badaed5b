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
      setTimeout(name, 100, table);
    } else {
      showPlots(chosen());
    }
  }

  // TFMA leaves 120 pixels free on either side of a slices' table: 13 classes need them.
  function widen(component) {
    const browser = component.shadowRoot.querySelector('tfma-slicing-metrics-browser');
    if (browser) browser.shadowRoot.getElementById('table').style.cssText = 'width: auto; margin: 0;';
  }

  // What TFMA leaves without a name for those who don't see it.
  const NAMES = {
    'paper-slider': 'least number of examples',
    'input[type="number"]': 'least number of examples',
    'paper-icon-button': 'change the chart',
  };
  function name(root) {
    for (const child of root.querySelectorAll('*')) {
      for (const [selector, words] of Object.entries(NAMES)) {
        if (child.matches(selector) && !child.getAttribute('aria-label')) {
          child.setAttribute('aria-label', words);
        }
      }
      if (child.shadowRoot) name(child.shadowRoot);
    }
    if (root.shadowRoot) name(root.shadowRoot);
  }

  function showPlots(classes) {
    const parent = document.querySelector('.plots');
    parent.textContent = '';
    for (const plot of Object.values(classes)) {
      parent.appendChild(document.createElement('h2')).textContent = plot.title;
      addCurve(parent, plot, 'ROC', 'tfma-roc-curve', {});
      addCurve(parent, plot, 'precision-recall', 'tfma-precision-recall-curve', {steps: true});
      add(parent, 'tfma-calibration-plot', {buckets: plot.buckets});
    }
  }

  // A curve whose both axes go from 0 to 1, or words in its place.
  function addCurve(parent, plot, kind, name, options) {
    const words = plot.missing[kind];
    if (words) return add(parent, 'p', {textContent: words});
    const curve = add(parent, name, {data: plot.matrices});
    curve.options_ = {...curve.options_, rates: true, ...options};
  }

  function add(parent, name, properties) {
    const made = parent.appendChild(document.createElement('div'))
        .appendChild(document.createElement(name));
    return Object.assign(made, properties);
  }

  choices.forEach(select => select.addEventListener('change', show));
  show();
})();
