// Tables that sort by mouse and keyboard, and the menu, which phones open at a touch.
'use strict';
(function () {
  for (const table of document.querySelectorAll('table.sorts')) {
    [...table.querySelectorAll('thead tr:last-child th')].forEach((heading, column) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.append(...heading.childNodes);
      heading.append(button);
      heading.setAttribute('aria-sort', 'none');
      button.addEventListener('click', () => sort(table, heading, column));
    });
  }

  // First the side on which figures are interesting: the highest, or A.
  function sort(table, heading, column) {
    const words = heading.classList.contains('words');
    const before = heading.getAttribute('aria-sort');
    const rises = before === 'none' ? words : before === 'descending';
    for (const other of table.querySelectorAll('th[aria-sort]')) other.setAttribute('aria-sort', 'none');
    heading.setAttribute('aria-sort', rises ? 'ascending' : 'descending');
    const body = table.tBodies[0];
    const keyed = [...body.rows].map(row => [key(row.cells[column]), row]);
    keyed.sort(([a], [b]) => compare(a, b, rises));
    body.append(...keyed.map(([, row]) => row));
  }

  function key(cell) {
    const text = cell ? cell.dataset.sort ?? cell.textContent.trim() : '';
    const number = Number(text);
    return text !== '' && !Number.isNaN(number) ? number : text;
  }

  // Where there is no figure (infinity, or words among figures), a row stays at the end.
  function compare(a, b, rises) {
    const last = value => (value === Infinity || value === 'inf' || value === '' ? 1 : 0);
    if (last(a) || last(b)) return last(a) - last(b);
    if (typeof a !== typeof b) return typeof a === 'string' ? 1 : -1;
    const order = typeof a === 'string' ? a.localeCompare(b) : a - b;
    return rises ? order : -order;
  }

  const menu = document.querySelector('details.menu');
  const narrow = matchMedia('(max-width: 60rem)');
  const fold = () => { menu.open = !narrow.matches; };
  narrow.addEventListener('change', fold);
  fold();

  // Paper has no details to open.
  const closed = new Set();
  addEventListener('beforeprint', () => {
    for (const details of document.querySelectorAll('details:not([open], .menu)')) {
      closed.add(details);
      details.open = true;
    }
  });
  addEventListener('afterprint', () => {
    closed.forEach(details => { details.open = false; });
    closed.clear();
  });
})();
