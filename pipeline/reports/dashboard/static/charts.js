// What TFMA's components use of Google Charts, drawn with plain DOM and SVG.
//
// TFMA draws its tables and charts with Google Charts, which comes only from Google's servers. This
// file defines the same interface (google.charts, google.visualization) before TFMA's script looks
// for it, so that a page opens without a network. Interface: DataTable, DataView, ChartWrapper,
// events; Table, LineChart, BubbleChart, ColumnChart, with the options that TFMA sets, and two that
// pages.js adds: `rates`, both axes from 0 to 1; `steps`, a curve in steps.
'use strict';
(function () {
  const COLORS = ['#9aa0a6', '#1a5fb4', '#c0392b', '#2e7d32'];
  const RATES = {min: 0, max: 1};
  const MARGIN = {top: 28, right: 16, bottom: 46, left: 56};  // pixels

  const {
    DataTable, DataView, arrayToDataTable, cellText, compare, textOf, valueOf,
  } = window.chartData;

  // --- events ---

  const listeners = new WeakMap();
  function addListener(target, name, callback) {
    if (!listeners.has(target)) listeners.set(target, []);
    const entry = {name, callback};
    listeners.get(target).push(entry);
    return entry;
  }
  function addOneTimeListener(target, name, callback) {
    const entry = addListener(target, name, data => {
      listeners.set(target, listeners.get(target).filter(other => other !== entry));
      callback(data);
    });
    return entry;
  }
  function trigger(target, name, data) {
    (listeners.get(target) || []).filter(entry => entry.name === name)
        .forEach(entry => entry.callback(data));
  }

  // --- charts ---

  class Chart {
    constructor(container) {
      this.container = container;
      this.selection = [];
    }
    getSelection() { return this.selection; }
    setSelection(selection) {
      this.selection = selection || [];
      this.mark();
    }
    select(selection) {
      this.setSelection(selection);
      trigger(this, 'select');
    }
    mark() {}
    draw(table, options) {
      this.table = table;
      this.options = options || {};
      this.container.textContent = '';
      if (table.getNumberOfColumns()) this.render();
      this.mark();
      trigger(this, 'ready');
    }
  }

  class Table extends Chart {
    render() {
      const sorted = this.sorted || {};
      const order = this.table.rows.map((_, i) => i);
      if (sorted.column !== undefined) {
        const sign = sorted.ascending ? 1 : -1;
        order.sort((a, b) => sign * compare(
            this.table.getValue(a, sorted.column), this.table.getValue(b, sorted.column)));
      }
      const root = element('div', 'google-visualization-table', this.container);
      root.style.overflowX = 'auto';
      root.tabIndex = 0;  // wide tables scroll by keyboard
      root.setAttribute('role', 'region');
      root.setAttribute('aria-label', 'Scores');
      const table = element('table', 'google-visualization-table-table', root);
      table.style.cssText = 'border-collapse: collapse; width: 100%;';
      const head = element('tr', 'google-visualization-table-tr-head',
                           element('thead', '', table));
      this.table.cols.forEach((_, column) => {
        const th = element('th', 'google-visualization-table-th', head);
        th.scope = 'col';
        th.style.cssText = 'padding: 0 7px; color: #424242;';  // TFMA's 24px would hide classes
        th.setAttribute('aria-sort', sorted.column !== column ? 'none' :
                                     sorted.ascending ? 'ascending' : 'descending');
        const button = element('button', '', th);
        button.style.cssText = 'background: none; border: 0; padding: 0; font: inherit; ' +
                               'color: inherit; cursor: pointer;';
        button.textContent = this.table.getColumnLabel(column);
        const sign = element('span', 'google-visualization-table-sortind', button);
        if (sorted.column === column) sign.textContent = sorted.ascending ? ' ▲' : ' ▼';
        button.addEventListener('click', () => {
          const ascending = sorted.column === column ? !sorted.ascending : true;
          this.sorted = {column, ascending};
          this.draw(this.table, this.options);
          this.container.querySelectorAll('th button')[column].focus();
          trigger(this, 'sort', {column, ascending, sortedIndexes: this.order});
        });
      });
      const body = element('tbody', '', table);
      this.order = order;
      this.lines = new Map(order.map(row => {
        const tr = element('tr', 'google-visualization-table-tr-odd', body);
        tr.addEventListener('click', () => this.select(
            tr.classList.contains('google-visualization-table-tr-sel') ? [] : [{row}]));
        this.table.cols.forEach((_, column) => {
          const td = element('td', 'google-visualization-table-td', tr);
          td.style.padding = '0 7px';
          // Words in place of a number may take two lines: 13 classes need the width.
          const words = column && typeof this.table.getValue(row, column) === 'string';
          td.style.whiteSpace = words ? 'normal' : 'nowrap';
          if (words) td.style.lineHeight = '1.2';
          const text = cellText(this.table.rows[row][column], this.table.getColumnLabel(column));
          if (this.options.allowHtml) td.innerHTML = text; else td.textContent = text;
        });
        return [row, tr];
      }));
    }
    mark() {
      const marked = new Set(this.selection.map(item => item.row));
      for (const [row, tr] of this.lines || []) {
        tr.classList.toggle('google-visualization-table-tr-sel', marked.has(row));
      }
    }
  }

  class SvgChart extends Chart {
    // Draws frame, grid, titles; leaves this.x and this.y, from data to pixels, and this.svg.
    frame(xRange, yRange) {
      const host = this.container.getRootNode().host || this.container;
      const width = this.options.width || host.clientWidth || 400;
      const height = this.options.height || host.clientHeight || 300;
      const {top, right, bottom, left} = MARGIN;
      const h = this.options.hAxis || {}, v = this.options.vAxis || {};
      const x0 = view(h, xRange), y0 = view(v, yRange);
      this.x = value => left + (width - left - right) * (value - x0.min) / (x0.max - x0.min);
      this.y = value => height - bottom - (height - top - bottom) * (value - y0.min) / (y0.max - y0.min);
      this.svg = svg('svg', {width, height, viewBox: `0 0 ${width} ${height}`}, this.container);
      this.svg.style.cssText = 'display: block; font: 12px sans-serif;';
      const yTicks = (v.ticks || ticks(y0)).map(valueOf);
      for (const tick of yTicks) {
        const y = this.y(tick);
        svg('line', {x1: left, x2: width - right, y1: y, y2: y, stroke: '#e0e0e0'}, this.svg);
        text(short(tick), {x: left - 6, y: y + 4, 'text-anchor': 'end'}, this.svg);
      }
      for (const tick of h.ticks || ticks(x0)) {
        text(typeof tick === 'object' ? tick.f : short(tick),
             {x: this.x(valueOf(tick)), y: height - bottom + 16, 'text-anchor': 'middle'}, this.svg);
      }
      svg('path', {d: `M${left},${top}V${height - bottom}H${width - right}`, stroke: '#757575',
                   fill: 'none'}, this.svg);
      const title = this.options.title || '';
      text(title, {x: left, y: 16, 'font-weight': 'bold'}, this.svg);
      text(h.title || '', {x: (left + width - right) / 2, y: height - 8, 'text-anchor': 'middle'},
           this.svg);
      const middle = (top + height - bottom) / 2;
      text(v.title || '', {transform: `translate(14 ${middle}) rotate(-90)`,
                           'text-anchor': 'middle'}, this.svg);
    }
    // Columns that hold data, each with those that describe it (tooltip, annotation).
    series() {
      const found = [];
      this.table.cols.forEach((col, i) => {
        if (i === 0) return;
        if (!col.role) found.push({column: i, roles: {}});
        else (found.length ? found[found.length - 1].roles : this.domain ||= {})[col.role] = i;
      });
      return found;
    }
    values(column) {
      return this.table.rows.map(row => valueOf(row[column])).filter(Number.isFinite);
    }
  }

  class LineChart extends SvgChart {
    render() {
      this.domain = {};
      const series = this.series();
      const runs = 'annotation' in this.domain;  // a time series, whose points are runs
      this.frame(this.options.rates ? RATES : spread(this.values(0), runs),
                 this.options.rates ? RATES : spread(series.flatMap(s => this.values(s.column)), runs));
      this.points = [];
      series.forEach((s, i) => {
        const options = (this.options.series || {})[i] || {};
        const color = options.color || COLORS[series.length > 1 ? i : 1];
        const points = this.table.rows
            .map((row, index) => ({index, x: valueOf(row[0]), y: valueOf(row[s.column]), row}))
            .filter(p => Number.isFinite(p.x) && Number.isFinite(p.y));
        if (!points.length) return;
        svg('path', {
          d: this.path(this.options.steps ? steps(points) : points),
          fill: 'none', stroke: color, 'stroke-width': 2,
          'stroke-dasharray': (options.lineDashStyle || []).join(' '),
        }, this.svg);
        if (options.lineDashStyle) return;  // a reference line: nothing to read off
        points.forEach(p => this.dot(p, s, color, runs));
      });
    }
    path(points) {
      return 'M' + points.map(p => `${this.x(p.x).toFixed(2)},${this.y(p.y).toFixed(2)}`).join('L');
    }
    dot(point, series, color, visible) {
      const {row, index} = point;
      const dot = svg('circle', {cx: this.x(point.x), cy: this.y(point.y), r: visible ? 4 : 5,
                                 fill: color, opacity: visible ? 1 : 0}, this.svg);
      const of = role => textOf(row[series.roles[role] ?? this.domain[role]]);
      const tip = of('tooltip') ||
          [textOf(row[0]), `${this.table.getColumnLabel(series.column)}: ${textOf(row[series.column])}`].join('\n');
      text(tip, {}, dot, 'title');
      if (visible) {
        text(of('annotation'), {x: this.x(point.x), y: this.y(point.y) - 8,
                                'text-anchor': 'middle'}, this.svg);
      }
      const where = {row: index, column: series.column};
      dot.addEventListener('mouseover', () => trigger(this, 'onmouseover', where));
      dot.addEventListener('mouseout', () => trigger(this, 'onmouseout', where));
      this.points.push({dot, index, radius: visible ? 4 : 5});
    }
    mark() {
      const marked = new Set(this.selection.map(item => item.row));
      for (const {dot, index, radius} of this.points || []) {
        dot.setAttribute('r', marked.has(index) ? radius + 4 : radius);
      }
    }
  }

  class BubbleChart extends SvgChart {
    // Columns: id, x, y, colour, size. The diagonal is where x and y agree.
    render() {
      this.frame(RATES, RATES);
      svg('line', {x1: this.x(0), y1: this.y(0), x2: this.x(1), y2: this.y(1), stroke: '#9aa0a6',
                   'stroke-dasharray': '3 2'}, this.svg);
      const size = this.options.sizeAxis || {}, color = this.options.colorAxis || {};
      for (const row of this.table.rows) {
        const [, x, y, tone, weight] = row.map(valueOf);
        if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
        const dot = svg('circle', {
          cx: this.x(x), cy: this.y(y), stroke: '#0a47a4', 'fill-opacity': 0.85,
          r: between(size.minSize ?? 3, size.maxSize ?? 12, share(weight, size)),
          fill: blend(color.colors || ['#f0f0f0', '#0a47a4'], share(tone, color)),
        }, this.svg);
        const names = [1, 2, 3, 4].map(i => `${this.table.getColumnLabel(i)} ${short(row[i])}`);
        text(names.join('\n'), {}, dot, 'title');
      }
    }
  }

  class ColumnChart extends SvgChart {
    render() {
      const series = this.series();
      const rows = this.table.rows;
      const h = this.options.hAxis || {};
      if (h.ticks && h.ticks.length === rows.length + 1) {  // a histogram's: bounds of its columns
        h.ticks = h.ticks.map((tick, i) => ({v: i, f: textOf(tick)}));
      }
      this.frame({min: 0, max: Math.max(rows.length, 1)},
                 spread([0, ...series.flatMap(s => this.values(s.column))]));
      // TFMA's histogram looks for its bars and their labels by this nesting of groups.
      const clip = svg('g', {'clip-path': 'none'}, this.svg);
      const [, bars] = [svg('g', {}, clip), svg('g', {}, clip)];
      const [, , labels] = [1, 2, 3].map(() => svg('g', {}, this.svg));
      const width = (this.x(1) - this.x(0)) * 0.75 / series.length;
      this.bars = [];
      series.forEach((s, i) => rows.forEach((row, index) => {
        const value = valueOf(row[s.column]);
        const x = this.x(index + 0.125) + i * width;
        const y = this.y(Number.isFinite(value) ? value : 0);
        const bar = svg('rect', {x, y, width, height: this.y(0) - y, fill: COLORS[i + 1]}, bars);
        const tip = `${textOf(row[0])}\n${this.table.getColumnLabel(s.column)}: ${short(value)}`;
        text(tip, {}, bar, 'title');
        const label = s.roles.annotation ? textOf(row[s.roles.annotation]) : '';
        text(label === '0' ? '' : label, {x: x + width / 2, y: y - 4, 'text-anchor': 'middle'},
             svg('g', {}, labels));
        bar.addEventListener('click', () => this.select([{row: index, column: s.column}]));
        this.bars.push({bar, index});
      }));
      const names = series.map(s => this.table.getColumnLabel(s.column)).join(', ');
      text(names, {x: MARGIN.left, y: 14, 'font-weight': 'bold'}, this.svg);
    }
    mark() {
      const marked = new Set(this.selection.map(item => item.row));
      for (const {bar, index} of this.bars || []) {
        bar.setAttribute('stroke', marked.has(index) ? '#212121' : 'none');
        bar.setAttribute('stroke-width', 2);
      }
    }
  }

  // --- drawing ---

  function element(name, className, parent) {
    const made = document.createElement(name);
    made.className = className;
    parent.appendChild(made);
    return made;
  }
  function svg(name, attributes, parent) {
    const made = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.appendChild(made);
    return made;
  }
  function text(content, attributes, parent, name = 'text') {
    svg(name, {fill: '#424242', ...attributes}, parent).textContent = content;
  }
  const between = (low, high, part) => low + (high - low) * part;
  const short = value => typeof value === 'number' ? String(Number(value.toPrecision(4))) : String(value ?? '');
  function share(value, axis) {
    const min = axis.minValue ?? 0, max = axis.maxValue ?? 1;
    return Number.isFinite(value) ? Math.min(1, Math.max(0, (value - min) / (max - min))) : 0;
  }
  function blend([from, to], part) {
    const channel = (hex, i) => parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
    return `rgb(${[0, 1, 2].map(
        i => Math.round(between(channel(from, i), channel(to, i), part))).join(',')})`;
  }
  // The range of some values; `padded` leaves room around the outermost.
  function spread(values, padded = false) {
    if (!values.length) return {min: 0, max: 1};
    const min = Math.min(...values), max = Math.max(...values);
    const room = min === max ? Math.abs(min) * 0.1 || 1 : padded ? (max - min) * 0.1 : 0;
    return {min: min - room, max: max + room};
  }
  function view(axis, range) {
    const window_ = axis.viewWindow || {};
    return {min: window_.min ?? axis.minValue ?? range.min,
            max: window_.max ?? axis.maxValue ?? range.max};
  }
  // A precision-recall curve, by falling recall, as the steps whose area is the average precision:
  // from the recall of the next point up to its own, precision is a point's own.
  function steps(points) {
    const corners = points.slice(0, 1);
    for (let i = 1; i < points.length && points[i - 1].x > 0; i++) {
      corners.push({x: points[i].x, y: points[i - 1].y});
      if (points[i].x > 0) corners.push(points[i]);
    }
    return corners;
  }
  // Four to ten round values in a range.
  function ticks({min, max}) {
    const raw = (max - min) / 5;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map(f => f * power).find(s => s >= raw);
    const found = [];
    for (let i = Math.ceil(min / step - 1e-9); i * step <= max + step * 1e-9; i++) {
      found.push(Number((i * step).toPrecision(12)));
    }
    return found;
  }

  // --- what google-chart, the element in TFMA's script, drives ---

  const CHARTS = {Table, LineChart, BubbleChart, ColumnChart};

  class ChartWrapper {
    constructor({container}) { this.container = container; }
    setChartType(type) {
      if (type !== this.type) this.chart = undefined;
      this.type = type;
    }
    getChart() { return this.chart; }
    setDataTable(table) { this.table = table; }
    setOptions(options) { this.options = options; }
    draw() {
      if (!this.chart) {
        const Kind = CHARTS[this.type];
        if (!Kind) return;  // a tab that these pages don't show
        this.chart = new Kind(this.container);
        addListener(this.chart, 'select', data => trigger(this, 'select', data));
        addListener(this.chart, 'ready', data => trigger(this, 'ready', data));
      }
      this.chart.draw(this.table, this.options);
    }
  }

  window.polymerSkipLoadingFontRoboto = true;  // TFMA's own switch: no web fonts
  window.google = {
    charts: {load: () => Promise.resolve()},
    visualization: {
      ...CHARTS, ChartWrapper, DataTable, DataView, arrayToDataTable,
      events: {addListener, addOneTimeListener, trigger},
    },
  };
})();
