import { t } from '../shared/i18n.js';
import { chime } from './chime.js';
import * as prefs from './prefs.js';

const TOGETHER = 300; // ms in which texts that come are told together
const MANY = 3; // conversations are told one by one

/**
 * Tells of texts that come while nobody looks at their conversation, by a notification of the
 * desktop and by a sound, each where this browser was asked to. go(hash) shows what a notification
 * is about.
 */
export class Alerts {
  #state;
  #go;
  #news = new Map(); // tracker -> {n, text} of what is not told yet
  #listening = new AbortController();

  constructor(state, go) {
    this.#state = state;
    this.#go = go;
    state.addEventListener('incoming', (e) => this.#take(e.detail), {
      signal: this.#listening.signal,
    });
  }

  close() {
    this.#listening.abort();
  }

  get desktop() {
    return prefs.alert('desktop') && allowed();
  }

  get sound() {
    return prefs.alert('sound');
  }

  /** Turns notifications on or off; the browser is asked here and nowhere else. False: it refuses. */
  async setDesktop(on) {
    if (on && !allowed()) await globalThis.Notification?.requestPermission();
    prefs.setAlert('desktop', on && allowed());
    return !on || allowed();
  }

  /** Turns the sound on or off; on, it is heard at once. */
  setSound(on) {
    prefs.setAlert('sound', on);
    if (on) chime();
  }

  #take({ tracker, message }) {
    const seen = document.visibilityState === 'visible' && document.hasFocus();
    if ((seen && this.#state.open === tracker) || !(this.desktop || this.sound)) return;
    if (this.#news.size === 0) setTimeout(() => this.#tell(), TOGETHER);
    const n = (this.#news.get(tracker)?.n ?? 0) + 1;
    this.#news.set(tracker, { n, text: message?.text });
  }

  #tell() {
    const news = [...this.#news];
    this.#news.clear();
    if (this.#listening.signal.aborted) return;
    if (this.sound) chime();
    if (!this.desktop) return;
    const words = (n) => t('conversation.missed', { n });
    if (news.length > MANY) {
      this.#show(t('app.title'), words(news.reduce((sum, [, { n }]) => sum + n, 0)), '#/');
      return;
    }
    for (const [id, { n, text }] of news) {
      const { label, driver } = this.#state.trackers.get(id) ?? { label: String(id) };
      const title = [label, driver].filter(Boolean).join(' · ');
      this.#show(title, n === 1 && text ? text.slice(0, 200) : words(n), `#/t/${id}`);
    }
  }

  /** One notification for each conversation: a later one replaces it, in every tab. */
  #show(title, body, hash) {
    try {
      const shown = new Notification(title, {
        body,
        tag: `trackchat ${this.#state.account.id} ${hash}`,
        renotify: true,
        silent: true, // the sound is a choice of its own
        icon: '/console/shared/icon.svg',
      });
      shown.onclick = () => {
        window.focus();
        this.#go(hash);
        shown.close();
      };
    } catch {
      // a phone's browser has notifications for service workers only
    }
  }
}

const allowed = () => globalThis.Notification?.permission === 'granted';
