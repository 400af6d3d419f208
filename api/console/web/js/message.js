// What a message of the API is to the page.

/** What a message has come to; later ones replace earlier ones, because the device's word, even a late one, is the last. */
const RANK = { QUEUED: 0, SENT: 1, EXPIRED: 2, CANCELLED: 3, FAILED: 4, DELIVERED: 5, READ: 6 };

/** Takes the API's message object, with `delivery` where the server tells it. */
export function fromApi(m) {
  const incoming = m.type === 'INCOMING';
  const d = m.delivery ?? {};
  return {
    id: m.id, incoming, text: m.text, at: Date.parse(m.submit_time),
    unread: incoming && m.status === 'PENDING',
    state: incoming ? null : outgoingState(m, d),
    parts: d.parts ?? 0, acked: d.parts_acked ?? 0,
    delivered: incoming ? null : time(d.delivered_at ?? m.update_time), opened: time(d.read_at), expires: time(d.expires_at), reason: d.reason ?? null,
    choices: m.choices ?? d.choices ?? null,
  };
}

function outgoingState(m, d) {
  if (m.status === 'DELIVERED' && d.state !== 'READ') return 'DELIVERED';
  return d.state in RANK ? d.state : 'QUEUED';
}

const time = (s) => (s ? Date.parse(s) : null);

/** The newer of two forms of one message: an answer may be older than an event that came before it. */
export function newer(a, b) {
  if (!a) return b;
  if (a.incoming) return a.unread ? b : a;
  if (RANK[a.state] !== RANK[b.state]) return RANK[a.state] > RANK[b.state] ? a : b;
  return a.acked > b.acked ? a : b;
}

/** Orders messages of one tracker: their ids increase, whatever the clocks do. */
export const inOrder = (a, b) => a.id - b.id;

/** Whether the message may still be withdrawn. */
export const cancellable = (m) => m.state === 'QUEUED';

/** Characters as the API counts them. */
export function length(text) {
  let n = 0;
  for (const _ of text) n++;
  return n;
}

/** The greatest length that the API takes. */
export const MAX_TEXT = 20_000;
