import { h, setText } from './shared/dom.js';
import { count, seconds } from './format.js';
import { buckets, parse, quantile, total } from './metrics.js';
import {
  auditTable,
  errorTable,
  histogram,
  nodeTable,
  protocolTable,
  refusalTable,
  refusedTable,
  silentTable,
  upstreamTable,
} from './panels.js';

const EVERY = 5000; // ms
const TOKEN = 'trackchat.admin'; // in this tab only
const KEPT = 61; // samples: five minutes of rates
const AUDIT = 1000; // entries, as many as the service has

/**
 * The operations view of one process. It only reads: /metrics, /readyz and, where it may, /admin/.
 */
class View {
  #samples = [];
  #latest = null;
  #audit = [];
  #auditShown = auditTable([]);

  constructor() {
    this.ready = h('span', { class: 'pill', role: 'status' }, '…');
    this.note = h('span', {});
    this.tiles = h('dl', { class: 'tiles' });
    this.sessions = panel('Sessions by protocol', 'Of this process.');
    this.latency = panel('Delivery latency', 'From submitted to acknowledged by the device.');
    this.refusals = panel(
      'Refused',
      'What a bound or a check has turned away since the start, and how much of it in the last minutes.',
    );
    this.nodes = panel('Nodes', 'Processes that serve devices.');
    this.upstreams = panel(
      'Upstreams',
      'Tracking servers that devices of this process are relayed to; bytes since the start.',
      true,
    );
    this.upstreams.element.hidden = true;
    this.silent = panel(
      'Not acknowledging',
      'Devices that left the last texts unacknowledged; whoever acknowledges again is gone from here.',
      true,
    );
    this.refused = panel(
      'Last refused',
      'Devices that this process did not let in, of the last day; times in UTC.',
      true,
    );
    this.errors = panel(
      'Last warnings and errors',
      'Of this process, times in UTC; the log has all of them.',
      true,
    );
    this.audit = panel(
      'Audit',
      'Who changed what, cancelled a message or logged in, and what was refused: the last thousand of this process, newest first, times in UTC; the log has all of them.',
      true,
    );
    this.token = this.#form();
    document.body.append(
      h(
        'header',
        { class: 'top' },
        h(
          'h1',
          {},
          h('img', { src: '/ui/shared/icon.svg', alt: '', width: 28, height: 28 }),
          'trackchat operations',
        ),
        this.ready,
        h('span', { class: 'right' }, this.note),
      ),
      h(
        'main',
        {},
        this.token,
        this.tiles,
        h(
          'div',
          { class: 'panels' },
          this.sessions.element,
          this.latency.element,
          this.nodes.element,
          this.refusals.element,
          this.upstreams.element,
          this.silent.element,
          this.refused.element,
          this.errors.element,
          this.audit.element,
        ),
      ),
    );
  }

  #form() {
    const field = h('input', {
      class: 'input',
      type: 'password',
      name: 'token',
      autocomplete: 'off',
      required: true,
    });
    return h(
      'form',
      {
        class: 'token',
        hidden: true,
        on: {
          submit: (e) => {
            e.preventDefault();
            sessionStorage.setItem(TOKEN, field.value.trim());
            field.value = '';
            this.look();
          },
        },
      },
      h(
        'label',
        { class: 'field' },
        'Admin token',
        field,
        h('small', {}, 'For nodes, devices, errors and the audit. It is kept in this tab only.'),
      ),
      h('button', { class: 'button primary', type: 'submit' }, 'Use'),
    );
  }

  async run() {
    for (;;) {
      await this.look();
      await new Promise((resolve) => {
        setTimeout(resolve, EVERY);
      });
    }
  }

  /** Reads everything once. */
  async look() {
    try {
      const [text, ready] = await Promise.all([get('/metrics'), get('/readyz')]);
      this.#took(parse(text.body), JSON.parse(ready.body));
    } catch (e) {
      this.#say('bad', 'not reachable');
      setText(
        this.note,
        `figures of ${this.#latest ? new Date(this.#latest).toLocaleTimeString('en-GB') : 'never'}: ${e.message}`,
      );
      return;
    }
    await Promise.all([
      this.#admin('/admin/nodes', (answer) => this.nodes.show(nodeTable(answer.list)), this.nodes),
      this.#admin(
        '/admin/errors',
        (answer) => {
          this.errors.show(errorTable(answer.list));
          this.refused.show(refusedTable(answer.refused));
          this.silent.show(silentTable(answer.not_acknowledging));
          this.upstreams.element.hidden = !answer.upstreams;
          this.upstreams.show(upstreamTable(answer.upstreams ?? []));
        },
        this.errors,
        this.refused,
        this.silent,
        this.upstreams,
      ),
      this.#admin(
        `/admin/audit?after=${this.#audit[0]?.id ?? 0}&limit=${AUDIT}`,
        (answer) => this.#audited(answer.list),
        this.audit,
      ),
    ]);
  }

  /** Shows what the audit has beyond what it had. */
  #audited(news) {
    if (news.length > 0) {
      const seen = this.#audit[0]?.id ?? 0; // two answers may come to one question
      this.#audit = [...news.filter((e) => e.id > seen), ...this.#audit].slice(0, AUDIT);
      this.#auditShown = auditTable(this.#audit);
    }
    this.audit.show(this.#auditShown);
  }

  #say(state, words) {
    this.ready.dataset.state = state;
    setText(this.ready, words);
  }

  #took(now, ready) {
    this.#say(
      ready.ready ? 'ready' : 'bad',
      ready.ready ? 'ready' : `not ready: ${ready.problems.join('; ')}`,
    );
    this.#latest = Date.now();
    this.#samples.push({ at: this.#latest, figures: now });
    if (this.#samples.length > KEPT) this.#samples.shift();
    const first = this.#samples[0];
    const span = Math.max((this.#latest - first.at) / 1000, 1);
    const rate = (name) =>
      this.#samples.length > 1
        ? Math.max(0, total(now, name) - total(first.figures, name)) / span
        : null;
    const perSecond = (name) => {
      const r = rate(name);
      return r === null ? '…' : `${count(r)} /s`;
    };
    const recent = buckets(
      now,
      'trackchat_delivery_seconds',
      this.#samples.length > 1 ? first.figures : undefined,
    );
    const ever = buckets(now, 'trackchat_delivery_seconds');
    const shown = recent.some((b) => b.count > 0) ? recent : ever;
    const began = total(now, 'process_start_time_seconds');
    setText(
      this.note,
      `up ${seconds(this.#latest / 1000 - began)} · ${new Date(this.#latest).toISOString().slice(11, 19)} UTC`,
    );
    this.#tiles([
      [
        'Sessions',
        count(total(now, 'trackchat_sessions')),
        `${perSecond('trackchat_connections_total')} new`,
      ],
      ['Pending', count(total(now, 'trackchat_pending')), 'messages to deliver'],
      ['Delivered', perSecond('trackchat_texts_acked_total'), 'parts acknowledged'],
      ['Received', perSecond('trackchat_texts_received_total'), 'texts of drivers'],
      ['Latency p50', seconds(quantile(shown, 0.5)), `p99 ${seconds(quantile(shown, 0.99))}`],
      [
        'Missed wakes',
        count(total(now, 'trackchat_wake_missed_total')),
        '0 in health',
        total(now, 'trackchat_wake_missed_total') > 0,
      ],
      [
        'Timed out',
        count(total(now, 'trackchat_texts_timed_out_total')),
        `${perSecond('trackchat_texts_timed_out_total')} now`,
      ],
      ['Warnings, errors', count(total(now, 'trackchat_log_entries_total')), 'since the start'],
    ]);
    this.sessions.show(protocolTable(now, first.figures, span));
    this.latency.show(
      histogram(shown),
      shown === recent && this.#samples.length > 1
        ? `From submitted to acknowledged by the device, last ${seconds(span)}.`
        : 'From submitted to acknowledged by the device, since the start.',
    );
    this.refusals.show(refusalTable(now, first.figures));
  }

  #tiles(list) {
    const tiles = list.map(([name, figure, about, warn]) =>
      h(
        'div',
        { class: warn ? 'tile warn' : 'tile' },
        h('dt', {}, name),
        h('dd', {}, figure, h('small', {}, about)),
      ),
    );
    this.tiles.replaceChildren(...tiles);
  }

  /** Reads what only administrators may; asks for the token where there is none, or a wrong one. */
  async #admin(path, show, ...panels) {
    try {
      const { status, body } = await get(path, sessionStorage.getItem(TOKEN));
      if (status === 403) {
        this.token.hidden = false;
        for (const p of panels) p.show(h('p', { class: 'quiet' }, 'For administrators only.'));
        return;
      }
      const answer = JSON.parse(body);
      if (!answer.success) throw new Error(answer.status.description);
      this.token.hidden = true;
      show(answer);
    } catch (e) {
      for (const p of panels) p.show(h('p', { class: 'quiet' }, `Not to be had: ${e.message}`));
    }
  }
}

function panel(title, about, wide = false) {
  const words = h('p', { class: 'about' }, about);
  const place = h('div', { class: 'scroll', tabIndex: 0, role: 'region', 'aria-label': title });
  return {
    element: h(
      'section',
      { class: wide ? 'panel wide' : 'panel' },
      h('h2', {}, title),
      words,
      place,
    ),
    show(content, text = about) {
      setText(words, text);
      place.replaceChildren(content);
    },
  };
}

async function get(path, token = null) {
  const response = await fetch(path, {
    headers: token ? { Authorization: `Bearer ${token}` } : {},
    cache: 'no-store',
    signal: AbortSignal.timeout(EVERY),
  });
  return { status: response.status, body: await response.text() };
}

new View().run();
