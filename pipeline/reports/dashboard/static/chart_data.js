// The tables that charts.js draws, with Google's interface.
'use strict';
(function () {
  const valueOf = cell => (cell !== null && typeof cell === 'object' && 'v' in cell ? cell.v : cell);
  const textOf = cell => {
    if (cell !== null && typeof cell === 'object' && 'f' in cell) return String(cell.f);
    const value = valueOf(cell);
    return value === null || value === undefined ? '' : String(value);
  };
  const COUNTS = ['example_count', 'positives', 'negatives'];
  // What a table's cell shows; TFMA formats every number with five digits, counts too.
  const cellText = (cell, label) => {
    const value = valueOf(cell), text = textOf(cell);
    if (typeof value !== 'number' || !/^-?\d+\.\d+(e[-+]\d+)?$/.test(text)) return text;
    if (COUNTS.includes(label)) return String(Math.round(value));
    return value && Math.abs(value) < 0.001 ? value.toPrecision(2) : value.toFixed(3);
  };

  class DataTable {
    constructor(data) {
      this.cols = ((data && data.cols) || []).map(
          col => typeof col === 'string' ? {label: col} : col);
      this.rows = [];
    }
    addRows(rows) { this.rows.push(...rows); }
    getNumberOfRows() { return this.rows.length; }
    getNumberOfColumns() { return this.cols.length; }
    getColumnLabel(col) { return this.cols[col].label || ''; }
    getColumnRole(col) { return this.cols[col].role || ''; }
    getValue(row, col) { return valueOf(this.rows[row][col]); }
    getFormattedValue(row, col) { return textOf(this.rows[row][col]); }
    sort(keys) {
      const col = keys[0].column;
      this.rows.sort((a, b) => compare(valueOf(a[col]), valueOf(b[col])));
    }
  }

  class DataView extends DataTable {
    constructor(table) {
      super({cols: table.cols});
      this.rows = table.rows;
      this.source = table;
    }
    setColumns(columns) {
      this.cols = columns.map(c => typeof c === 'number' ? this.source.cols[c] : c);
      this.rows = this.source.rows.map(row => columns.map(
          c => typeof c === 'number' ? row[c] : textOf(row[c.sourceColumn])));
    }
  }

  function arrayToDataTable(rows) {
    const table = new DataTable({cols: rows[0]});
    table.addRows(rows.slice(1));
    return table;
  }

  function compare(a, b) {
    if (a === b) return 0;
    if (a === null || a === undefined || Number.isNaN(a)) return 1;
    if (b === null || b === undefined || Number.isNaN(b)) return -1;
    if (typeof a !== typeof b) return typeof a === 'string' ? 1 : -1;  // words in place of a number
    return a < b ? -1 : 1;
  }

  window.chartData = {DataTable, DataView, arrayToDataTable, cellText, compare, textOf, valueOf};
})();
