// ms that a connected device has to acknowledge a text; gateways wait 90 s by default
const PATIENCE = 120_000;
// without an answer, wherever the device is now; gateways rest after as many by default
const TRIES = 3;
const MOST = 20_000; // texts that are known to wait

/**
 * The texts that wait for their devices, as far as the page has heard of them. A gateway hands the
 * oldest one over at once where the device is connected: if no acknowledgement comes all the while,
 * or the gateway has tried several times, the device does not answer.
 */
export class Waiting {
  #of = new Map(); // tracker -> Map of id -> {at, tries, tried} of the message
  #answered = new Map(); // tracker -> when its device last said something about a text
  #count = 0;

  /** Takes what a message has come to. */
  take(tracker, m) {
    if (m.incoming) return;
    const all = this.#of.get(tracker) ?? new Map();
    this.#count -= all.size;
    if (m.state === 'QUEUED' && (all.has(m.id) || this.#count < MOST))
      all.set(m.id, { at: m.at, tries: m.tries, tried: m.tried });
    else all.delete(m.id);
    this.#count += all.size;
    if (all.size > 0) this.#of.set(tracker, all);
    else this.#of.delete(tracker);
    const spoken = Math.max(
      m.delivered ?? 0,
      m.opened ?? 0,
      m.acked > 0 || m.state === 'FAILED' ? (m.heard ?? 0) : 0,
    );
    if (spoken > (this.#answered.get(tracker) ?? 0)) this.#answered.set(tracker, spoken);
  }

  /** The trackers that texts wait for. */
  trackers() {
    return this.#of.keys();
  }

  /**
   * The text that a tracker's device does not answer: {id, tries, since}, how often it was handed
   * over and since when there is no answer; null where there is none. Where no try is known, that
   * is since the device is known to be connected, not since before.
   */
  unanswered(tracker) {
    const all = this.#of.get(tracker.id);
    if (!all) return null;
    const id = Math.min(...all.keys());
    const { at, tries, tried } = all.get(id);
    const since = Math.max(at, tracker.since ?? 0, this.#answered.get(tracker.id) ?? 0);
    const silent = tracker.online === true && Date.now() - since > PATIENCE;
    return silent || tries >= TRIES ? { id, tries, since: tried ?? since } : null;
  }
}
