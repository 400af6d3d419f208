import { h } from '../../shared/dom.js';

/**
 * A button that shows something above or below itself. content(close) makes it each time. Escape,
 * and a click elsewhere, closes it; the focus goes back to the button.
 */
export function popup(face, label, content) {
  const panel = h('div', { class: 'panel', hidden: true });
  const button = h(
    'button',
    {
      class: 'iconbutton',
      type: 'button',
      title: label,
      'aria-label': label,
      'aria-expanded': 'false',
      on: { click: () => (panel.hidden ? open() : close()) },
    },
    face,
  );
  const element = h('div', { class: 'popup', on: { keydown: key } }, button, panel);

  function open() {
    panel.replaceChildren(content(close));
    panel.hidden = false;
    button.setAttribute('aria-expanded', 'true');
    document.addEventListener('pointerdown', outside);
    panel.querySelector('button, select, textarea, input')?.focus();
  }

  function close() {
    if (panel.hidden) return;
    const inside = panel.contains(document.activeElement);
    panel.hidden = true;
    button.setAttribute('aria-expanded', 'false');
    document.removeEventListener('pointerdown', outside);
    if (inside) button.focus();
  }

  function outside(event) {
    if (!element.contains(event.target)) close();
  }

  function key(event) {
    if (panel.hidden) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === 'Escape') {
      event.stopPropagation();
      close();
    } else if (step && event.target.closest('.choice')) {
      const all = [...panel.querySelectorAll('.choice')];
      all[(all.indexOf(event.target.closest('.choice')) + step + all.length) % all.length].focus();
      event.preventDefault();
    }
  }

  return { element, close };
}
