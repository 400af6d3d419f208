const PATIENCE = 120_000; // ms that a connected device has to acknowledge a text; gateways wait 90 s by default
const MOST = 20_000; // texts that are known to wait

/**
 * The texts that wait for their devices, as far as the page has heard of them. A gateway hands the
 * oldest one over at once where the device is connected: if no acknowledgement comes all the while,
 * the device does not answer.
 */
export class Waiting {
  #of = new Map(); // tracker -> Map of id -> when it was sent
  #answered = new Map(); // tracker -> when its device last said something about a text
  #count = 0;

  /** Takes what a message has come to. */
  take(tracker, m) {
    if (m.incoming) return;
    const all = this.#of.get(tracker) ?? new Map();
    this.#count -= all.size;
    if (m.state === 'QUEUED' && (all.has(m.id) || this.#count < MOST)) all.set(m.id, m.at);
    else all.delete(m.id);
    this.#count += all.size;
    if (all.size > 0) this.#of.set(tracker, all);
    else this.#of.delete(tracker);
    const spoken = Math.max(m.delivered ?? 0, m.opened ?? 0, m.acked > 0 || m.state === 'FAILED' ? m.heard ?? 0 : 0);
    if (spoken > (this.#answered.get(tracker) ?? 0)) this.#answered.set(tracker, spoken);
  }

  /** The trackers that texts wait for. */
  trackers() { return this.#of.keys(); }

  /**
   * The text that a tracker's device does not answer, and since when: {id, since}; null where there is
   * none. It is since the device is known to be connected, not since before.
   */
  unanswered(tracker) {
    const all = this.#of.get(tracker.id);
    if (!all || tracker.online !== true) return null;
    const id = Math.min(...all.keys());
    const since = Math.max(all.get(id), tracker.since ?? 0, this.#answered.get(tracker.id) ?? 0);
    return Date.now() - since > PATIENCE ? { id, since } : null;
  }
}
