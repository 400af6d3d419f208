// Elements are made here and nowhere else; text only ever becomes a text node, never markup.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * Makes an element. Of props, `class`, `dataset` and `on` (listeners by event) are special; a value
 * that is a property of the element is set as one, everything else is an attribute. null, undefined
 * and false mean absent, for props and for children alike.
 */
export function h(tag, props, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'class') el.className = value;
    else if (name === 'dataset') Object.assign(el.dataset, value);
    else if (name === 'on')
      for (const [event, f] of Object.entries(value)) el.addEventListener(event, f);
    else if (name in el && !name.startsWith('aria') && name !== 'list' && name !== 'role')
      el[name] = value;
    else el.setAttribute(name, value === true ? '' : value);
  }
  el.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return el;
}

const PATHS = {
  tick: 'M3 8.6l3.2 3.2L13 5',
  ticks: 'M1 8.6l3.2 3.2L11 5M7.6 11.6l.2.2L15 5',
  clock: 'M8 2.2a5.8 5.8 0 100 11.6A5.8 5.8 0 008 2.2zM8 5v3.2l2.2 1.4',
  alert: 'M8 2.2l6.4 11.4H1.6L8 2.2zM8 6.6v3.2M8 11.8v.1',
  urgent: 'M8 2.4v7.4M8 13.2v.1',
  cancel: 'M8 2.2a5.8 5.8 0 100 11.6A5.8 5.8 0 008 2.2zM3.9 3.9l8.2 8.2',
  back: 'M10 3L5 8l5 5',
  close: 'M4 4l8 8M12 4l-8 8',
  send: 'M2.2 8h11.2M9 3.6L13.4 8 9 12.4',
  menu: 'M8 3.4v.1M8 8v.1M8 12.6v.1',
  search: 'M7 2.6a4.4 4.4 0 100 8.8 4.4 4.4 0 000-8.8zM10.2 10.2l3.4 3.4',
  list: 'M2.6 4h10.8M2.6 8h10.8M2.6 12h6.8',
  download: 'M8 2.4v7M4.8 6.4L8 9.6l3.2-3.2M2.8 12.8h10.4',
  down: 'M8 3v9.6M3.8 8.6L8 12.8l4.2-4.2',
  broadcast:
    'M8 8v.1M5.4 10.8a3.8 3.8 0 010-5.6M10.6 5.2a3.8 3.8 0 010 5.6M3.3 12.9a6.8 6.8 0 010-9.8M12.7 3.1a6.8 6.8 0 010 9.8',
  timer: 'M8 4.2a5 5 0 100 10 5 5 0 000-10zM8 6.6v2.8M6.2 1.8h3.6',
  incoming: 'M12.4 3.6L4 12M4 5.6V12h6.4',
  reply: 'M6.4 3.4L2.6 7.2l3.8 3.8M2.8 7.2h6.4a4.2 4.2 0 014.2 4.2v1.4',
};

/**
 * Makes a line icon of one em. It is decoration: what it means stands beside it or in its parent's
 * label.
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 16 16');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', PATHS[name]);
  svg.append(path);
  return svg;
}

/**
 * Makes parent's children those of items, in order. An item's element is kept as long as its key is
 * there: create(item) makes it, update(element, item) is called each time. known is a Map of the
 * caller's that lives as long as parent.
 */
export function reconcile(parent, known, items, key, create, update) {
  const gone = new Map(known);
  let next = parent.firstChild;
  for (const item of items) {
    const k = key(item);
    let el = known.get(k);
    if (!el) {
      el = create(item);
      known.set(k, el);
    }
    gone.delete(k);
    update(el, item);
    if (el === next) next = next.nextSibling;
    else parent.insertBefore(el, next);
  }
  for (const [k, el] of gone) {
    known.delete(k);
    el.remove();
  }
}

/** Sets a text only if it is another one, so that screen readers are not told the same twice. */
export function setText(el, text) {
  if (el.textContent !== text) el.textContent = text;
}
