import { h } from '../../shared/dom.js';

/**
 * A button that shows something above or below itself. content(close) makes it each time. Escape,
 * and a click elsewhere, closes it; the focus goes back to the button, or to what open was given.
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
      on: { click: () => (panel.hidden ? open(button) : close()) },
    },
    face,
  );
  const element = h('div', { class: 'popup', on: { keydown: key } }, button, panel);

  let back = button;

  function open(from) {
    back = from;
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
    if (inside) back.focus();
  }

  function outside(event) {
    if (!element.contains(event.target)) close();
  }

  function key(event) {
    if (panel.hidden) return;
    const { target, key: name } = event;
    const step = { ArrowDown: 1, ArrowUp: -1 }[name];
    const search = target.type === 'search';
    const choice = target.closest('.choice');
    const all = [...panel.querySelectorAll('.choice')];
    if (name === 'Escape') {
      event.stopPropagation();
      close();
    } else if (step && (search || choice)) {
      const at = choice ? all.indexOf(choice) : step < 0 ? all.length : -1;
      all[(at + step + all.length) % all.length]?.focus();
    } else if (name === 'Enter' && search && !event.isComposing)
      panel.querySelector('.choice:not(.edit)')?.click();
    else return;
    event.preventDefault();
  }

  return { element, open, close };
}
