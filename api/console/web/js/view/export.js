import { h, icon, setText } from '../../shared/dom.js';
import { t } from '../../shared/i18n.js';
import { explain } from './errors.js';
import { popup } from './popup.js';
import { print, TooMany } from './print.js';

/**
 * The menu by which a conversation, or a period of it, is taken along: as a file or on paper.
 * tracker() is the one that is shown.
 */
export function exportMenu({ api, messenger }, tracker) {
  let running = false;
  return popup(icon('download'), t('export.label'), (close) => {
    const from = h('input', { class: 'input', type: 'date', name: 'from' });
    const to = h('input', { class: 'input', type: 'date', name: 'to' });
    const all = h('input', {
      type: 'checkbox',
      name: 'all',
      on: {
        change: () => {
          paper.disabled = all.checked;
        },
      },
    });
    const status = h('p', { class: 'quiet', role: 'status' });
    const period = () => ({
      ...(from.value && { from: `${from.value} 00:00:00` }),
      ...(to.value && { to: `${to.value} 23:59:59` }),
    });
    const item = (words, act) => {
      const button = h(
        'button',
        {
          class: 'choice',
          type: 'button',
          on: {
            click: async () => {
              if (running) return;
              running = true;
              setText(status, t('export.running'));
              try {
                await act();
                close();
              } catch (e) {
                setText(
                  status,
                  e instanceof TooMany ? t('export.tooMany', { n: e.most }) : explain(e),
                );
              }
              running = false;
            },
          },
        },
        words,
      );
      return button;
    };
    const file = (format) => async () => {
      const which = all.checked ? {} : { tracker_id: tracker().id };
      save(await api.download('tracker/chat/export', { ...which, ...period(), format }));
    };
    const paper = item(t('export.print'), () => print(messenger, tracker(), period()));
    return h(
      'div',
      { class: 'menu takeaway' },
      h('label', { class: 'field' }, t('export.from'), from),
      h('label', { class: 'field' }, t('export.to'), to),
      h('label', { class: 'check' }, all, t('export.all')),
      item(t('export.csv'), file('csv')),
      item(t('export.ndjson'), file('ndjson')),
      paper,
      status,
    );
  });
}

/** Has the browser keep a file. */
function save({ blob, name }) {
  const url = URL.createObjectURL(blob);
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser has begun to read it by then
}
