import { h } from '../../shared/dom.js';

const SHOWN = 6000; // ms
const MOST = 3;

/**
 * Says something for a few seconds; screen readers hear it. With act it is a button that does so.
 */
export function toast(text, bad = false, act = null) {
  const place = document.getElementById('toasts');
  const el = h(
    act ? 'button' : 'div',
    {
      class: bad ? 'toast bad' : 'toast',
      type: act ? 'button' : null,
      on: {
        click: () => {
          el.remove();
          act?.();
        },
      },
    },
    text,
  );
  place.append(el);
  while (place.children.length > MOST) place.firstChild.remove();
  setTimeout(() => el.remove(), SHOWN);
}
