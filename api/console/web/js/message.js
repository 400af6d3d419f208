// What a message of the API is to the page.

/**
 * What a message has come to; later ones replace earlier ones, because the device's word, even a
 * late one, is the last.
 */
const RANK = { QUEUED: 0, SENT: 1, EXPIRED: 2, CANCELLED: 3, FAILED: 4, DELIVERED: 5, READ: 6 };

/**
 * Takes the API's message object, with `delivery` where the server tells it. heard is when it came.
 */
export function fromApi(m) {
  const incoming = m.type === 'INCOMING';
  const d = m.delivery ?? {};
  return {
    id: m.id,
    incoming,
    text: m.text,
    at: Date.parse(m.submit_time),
    unread: incoming && m.status === 'PENDING',
    state: incoming ? null : outgoingState(m, d),
    parts: d.parts ?? 0,
    acked: d.parts_acked ?? 0,
    delivered: incoming ? null : time(d.delivered_at ?? m.update_time),
    opened: time(d.read_at),
    expires: time(d.expires_at),
    reason: d.reason ?? null,
    heard: Date.now(),
    replaced: d.replaced ?? 0,
    choices: m.choices ?? null,
    replyTo: m.reply_to ?? null,
    urgent: m.urgent === true,
    author: m.author ?? null, // {id, name, kind}: user or key
    tries: d.tries ?? 0,
    tried: time(d.unanswered_since),
  };
}

function outgoingState(m, d) {
  if (m.status === 'DELIVERED' && d.state !== 'READ') return 'DELIVERED';
  return d.state in RANK ? d.state : 'QUEUED';
}

const time = (s) => (s ? Date.parse(s) : null);

/**
 * The newer of two forms of one message: an answer may be older than an event that came before it.
 */
export function newer(a, b) {
  if (!a) return b;
  if (a.incoming) return a.unread ? b : a;
  if (RANK[a.state] !== RANK[b.state]) return RANK[a.state] > RANK[b.state] ? a : b;
  return a.acked > b.acked || (a.acked === b.acked && a.tries > b.tries) ? a : b;
}

/** A text as it stands until the server tells of it, of what it was sent with. */
export const stored = (id, text, extras) => ({
  id,
  incoming: false,
  text,
  at: Date.now(),
  unread: false,
  state: 'QUEUED',
  parts: 0,
  acked: 0,
  delivered: null,
  opened: null,
  expires: extras.ttl ? Date.now() + extras.ttl * 1000 : null,
  reason: null,
  heard: Date.now(),
  replaced: 0,
  choices: extras.choices ?? null,
  replyTo: extras.reply_to ?? null,
  urgent: extras.urgent === true,
  author: null,
  tries: 0,
  tried: null,
});

/** What a message was sent with, to send it once more: parameters of the API. */
export function extrasOf(m) {
  const extras = {};
  if (m.expires) extras.ttl = Math.max(1, Math.round((m.expires - m.at) / 1000));
  if (m.choices?.length) extras.choices = m.choices;
  if (m.replyTo) extras.reply_to = m.replyTo;
  if (m.urgent) extras.urgent = true;
  return extras;
}

/** Orders messages of one tracker: their ids increase, whatever the clocks do. */
export const inOrder = (a, b) => a.id - b.id;

/** Whether the message may still be withdrawn. */
export const cancellable = (m) => m.state === 'QUEUED';

/** Whether the message has ended without the driver having it; it may be sent again. */
export const endedBadly = (m) => m.state === 'FAILED' || m.state === 'EXPIRED';

/** Characters as the API counts them. */
export function length(text) {
  let n = 0;
  for (const _ of text) n++;
  return n;
}

/** Most different answers that a text may offer, and the characters of one. */
export const MAX_CHOICES = 8;
const MAX_CHOICE = 50;

/** The answers that are written one a line. */
export function answers(text) {
  const lines = text
    .split('\n')
    .map((s) => [...s.trim()].slice(0, MAX_CHOICE).join('').trim())
    .filter(Boolean);
  return [...new Set(lines)].slice(0, MAX_CHOICES);
}

/** The greatest length that the API takes. */
export const MAX_TEXT = 20_000;
