import { h } from '../../shared/dom.js';
import { t } from '../../shared/i18n.js';
import { dayKey, dayName, exact, zoneName } from '../time.js';
import { outcome } from './bubble.js';

const MOST = 10_000; // messages on paper

/** Says that a period has more messages than are printed. */
export class TooMany extends Error {
  most = MOST;
}

/**
 * Prints the messages of a period, {from, to} as the API takes them, and not what the page shows
 * now: the style sheet for paper leaves everything else out.
 */
export async function print(messenger, tracker, period) {
  const messages = [];
  for await (const page of messenger.period(tracker.id, period)) {
    messages.push(...page);
    if (messages.length > MOST) throw new TooMany();
  }
  document.querySelector('.printout')?.remove();
  const sheet = printout(tracker, messages);
  document.body.append(sheet);
  addEventListener('afterprint', () => sheet.remove(), { once: true });
  window.print();
}

function printout(tracker, messages) {
  const words =
    messages.length > 0
      ? [exact(messages[0].at), exact(messages.at(-1).at)].join(' – ')
      : t('print.none');
  const lines = [];
  let day = '';
  for (const m of messages) {
    if (dayKey(m.at) !== day) {
      day = dayKey(m.at);
      lines.push(h('h2', {}, dayName(m.at, 0, '', '')));
    }
    lines.push(
      h(
        'article',
        { class: m.incoming ? 'in' : 'out' },
        h(
          'p',
          { class: 'about' },
          exact(m.at),
          ' · ',
          m.incoming
            ? t('find.from')
            : [t('find.to'), m.author?.name, outcome(m)].filter(Boolean).join(' · '),
        ),
        h('p', { class: 'words', dir: 'auto' }, m.text),
        m.choices?.length > 0 && h('p', { class: 'about' }, m.choices.join(' / ')),
      ),
    );
  }
  return h(
    'section',
    { class: 'printout' },
    h('h1', {}, h('bdi', {}, tracker.label)),
    h('p', {}, [words, zoneName(), t('print.messages', { n: messages.length })].join(' · ')),
    ...lines,
  );
}
