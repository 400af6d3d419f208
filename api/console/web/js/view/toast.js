import { h } from '../../shared/dom.js';

const SHOWN = 6000; // ms
const MOST = 3;

/** Says something for a few seconds; screen readers hear it. */
export function toast(text, bad = false) {
  const place = document.getElementById('toasts');
  const el = h('div', { class: bad ? 'toast bad' : 'toast' }, text);
  place.append(el);
  while (place.children.length > MOST) place.firstChild.remove();
  setTimeout(() => el.remove(), SHOWN);
}
