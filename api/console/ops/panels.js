import { h } from './shared/dom.js';
import { bytes, count, moment, seconds } from './format.js';
import { by } from './metrics.js';

const REFUSALS = [
  ['trackchat_refused_total', 'gateway'],
  ['trackchat_http_refused_total', 'API'],
];

/** Makes a table; a column is [name, isNumber]. */
function table(columns, rows, none) {
  if (rows.length === 0) return h('p', { class: 'quiet' }, none);
  const cell = (tag, i, content) => h(tag, { class: columns[i][1] ? 'number' : 'wrap' }, content);
  return h(
    'table',
    {},
    h(
      'thead',
      {},
      h(
        'tr',
        {},
        columns.map(([name], i) => cell('th', i, name)),
      ),
    ),
    h(
      'tbody',
      {},
      rows.map((row) =>
        h(
          'tr',
          {},
          row.map((content, i) => cell('td', i, content)),
        ),
      ),
    ),
  );
}

/**
 * Sessions and what goes over them, by protocol; rates are over the span of seconds since `first`.
 */
export function protocolTable(now, first, span) {
  const rate = (name, p) =>
    count(
      Math.max(
        0,
        (by(now, name, 'protocol').get(p) ?? 0) - (by(first, name, 'protocol').get(p) ?? 0),
      ) / span,
    );
  const errors = by(now, 'trackchat_decode_errors_total', 'protocol');
  const rows = [...by(now, 'trackchat_sessions', 'protocol')]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([p, n]) => [
      p,
      count(n),
      rate('trackchat_frames_total', p),
      rate('trackchat_texts_sent_total', p),
      rate('trackchat_texts_acked_total', p),
      count(errors.get(p) ?? 0),
    ]);
  return table(
    [
      ['protocol'],
      ['sessions', true],
      ['frames /s', true],
      ['sent /s', true],
      ['acked /s', true],
      ['damaged', true],
    ],
    rows,
    'This process has no listener for devices.',
  );
}

/** A histogram's bars, from the first bucket that holds anything to the last one. */
export function histogram(list) {
  const all = list.reduce((sum, b) => sum + b.count, 0);
  if (all === 0) return h('p', { class: 'quiet' }, 'Nothing has been delivered yet.');
  const used = list.map((b, i) => (b.count > 0 ? i : -1)).filter((i) => i >= 0);
  const most = Math.max(...list.map((b) => b.count));
  const rows = list.slice(used[0], used.at(-1) + 1).flatMap((b, i) => {
    const bar = h('div', { class: 'bar' });
    bar.style.inlineSize = `${(100 * b.count) / most}%`;
    const limit =
      b.limit === Infinity ? `> ${seconds(list.at(-2).limit)}` : `≤ ${seconds(b.limit)}`;
    return [
      h('span', { class: 'limit' }, limit),
      h('span', { class: 'track', dataset: { row: i } }, bar),
      h('span', { class: 'share' }, count(b.count)),
    ];
  });
  return h('div', { class: 'bars' }, rows);
}

/** What was turned away, by reason, most first. */
export function refusalTable(now, first) {
  const rows = REFUSALS.flatMap(([name, where]) => {
    const old = by(first, name, 'reason');
    return [...by(now, name, 'reason')]
      .filter(([, n]) => n > 0)
      .map(([reason, n]) => [reason.replaceAll('_', ' '), where, n, n - (old.get(reason) ?? 0)]);
  });
  rows.sort((a, b) => b[2] - a[2]);
  return table(
    [['reason'], ['where'], ['all', true], ['lately', true]],
    rows.map(([reason, where, n, lately]) => [reason, where, count(n), count(lately)]),
    'Nothing was turned away.',
  );
}

/** The processes of the fleet. */
export function nodeTable(list) {
  const rows = list.map((n) => [
    n.id,
    count(n.sessions),
    seconds((Date.now() - Date.parse(n.started)) / 1000),
    n.draining ? 'draining' : 'serving',
  ]);
  return table(
    [['node'], ['sessions', true], ['up', true], ['state']],
    rows,
    'No process serves devices.',
  );
}

/** The log's warnings and errors. */
export function errorTable(list) {
  const rows = list.map((e) => [
    moment(e.time),
    h('span', { class: `level-${e.level}` }, e.level),
    [
      h('span', {}, e.message),
      ' ',
      h(
        'span',
        { class: 'fields' },
        Object.entries(e.fields)
          .map(([k, v]) => `${k}=${v}`)
          .join('  '),
      ),
    ],
  ]);
  return table([['time', true], ['level'], ['what']], rows, 'None since the start.');
}

/** Who changed what, logged in or was refused, newest first. Texts may be a stranger's. */
export function auditTable(list) {
  const rows = list.map((e) => [
    moment(e.time),
    [
      `${e.actor} `,
      h('bdi', {}, e.actor_name ?? e.actor_id ?? ''),
      e.account ? h('span', { class: 'fields' }, ` account ${e.account}`) : null,
    ],
    h('bdi', {}, e.remote ?? ''),
    e.action,
    [h('bdi', {}, e.object ?? ''), ' ', h('bdi', { class: 'fields' }, e.detail ?? '')],
    [
      h('span', { class: e.code ? 'level-warn' : null }, e.code ? `refused, ${e.code}` : 'done'),
      e.repeated ? ` ${count(e.repeated)} times since ${moment(e.since)}` : null,
    ],
  ]);
  return table(
    [['time', true], ['who'], ['from'], ['action'], ['what'], ['outcome']],
    rows,
    'Nothing since the start.',
  );
}

const REASONS = {
  unknown_device: 'unknown device',
  blocked: 'blocked',
  other_device: 'became another device',
  bad_credentials: 'wrong password or code',
  registration: 'registration not allowed',
  takeovers: 'two devices with this id?',
  wrong_protocol: 'wrong port',
};

/** Devices that were not let in, the last one first. */
export function refusedTable(list) {
  const rows = list.map((d) => [
    moment(d.last),
    [d.label ? `${d.label} ` : '', h('span', { class: 'fields' }, d.device)],
    d.protocol,
    `${REASONS[d.reason] ?? d.reason}${d.looks_like ? `: looks like ${d.looks_like}` : ''}`,
    count(d.times),
    d.remote,
  ]);
  return table(
    [['last', true], ['device'], ['port of'], ['why'], ['times', true], ['from']],
    rows,
    'No device was refused.',
  );
}

/** Tracking servers that devices are relayed to. */
export function upstreamTable(list) {
  const rows = list.map((u) => [
    h('span', { class: 'fields' }, u.address),
    count(u.sessions),
    u.state === 'down'
      ? `down for ${seconds((Date.now() - Date.parse(u.down_since)) / 1000)}: ${u.last_error}`
      : 'up',
    count(u.dial_errors),
    bytes(u.bytes_up),
    bytes(u.bytes_down),
  ]);
  return table(
    [
      ['address'],
      ['sessions', true],
      ['state'],
      ['dial errors', true],
      ['bytes up', true],
      ['bytes down', true],
    ],
    rows,
    'No device is relayed to a tracking server.',
  );
}

/** Devices that get texts and acknowledge none. */
export function silentTable(list) {
  const rows = list.map((d) => [
    d.label,
    h('span', { class: 'fields' }, d.device),
    d.protocol,
    count(d.times),
    moment(d.since),
    moment(d.last),
  ]);
  return table(
    [
      ['tracker'],
      ['device'],
      ['protocol'],
      ['written', true],
      ['no answer since', true],
      ['last', true],
    ],
    rows,
    'Every device acknowledges what it gets.',
  );
}
