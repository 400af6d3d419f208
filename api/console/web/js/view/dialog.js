import { h, icon } from '../../shared/dom.js';
import { t } from '../../shared/i18n.js';

/** Shows a dialog over the page until it is closed. */
export function dialog(title, ...content) {
  const el = h(
    'dialog',
    {
      class: 'dialog',
      'aria-labelledby': 'dialog-title',
      on: {
        close: () => el.remove(),
        click: (e) => {
          if (e.target === el) el.close();
        },
      },
    },
    h(
      'div',
      { class: 'card' },
      h(
        'header',
        {},
        h('h2', { id: 'dialog-title' }, title),
        h(
          'button',
          {
            class: 'iconbutton',
            type: 'button',
            'aria-label': t('dialog.close'),
            on: { click: () => el.close() },
          },
          icon('close'),
        ),
      ),
      ...content,
    ),
  );
  document.body.append(el);
  el.showModal();
  return el;
}
