import { t } from '../../shared/i18n.js';

/** Knows what drivers would not see of a text; told is called when it knows more. */
export class Warnings {
  #capabilities;
  #trackers;
  #told;
  #stop = new AbortController();
  #asking = false;

  /** trackers() are the ids of those that are written to. */
  constructor(capabilities, trackers, told) {
    this.#capabilities = capabilities;
    this.#trackers = trackers;
    this.#told = told;
  }

  /** What is to be said about a text. Every device shows ASCII: many are not asked about that. */
  words(text, choices, urgent) {
    if (text === '' && choices.length === 0) return [];
    const trackers = this.#trackers();
    const plain = !urgent && choices.length === 0 && /^[\0-\x7f]*$/.test(text);
    if (trackers.length === 1 || !plain) this.#ask(trackers);
    return words(this.#capabilities.check(trackers, text, choices, urgent), trackers.length === 1);
  }

  async #ask(trackers) {
    if (this.#asking) return;
    this.#asking = true;
    await this.#capabilities.ask(trackers, this.#told, this.#stop.signal);
    this.#asking = false;
  }

  close() {
    this.#stop.abort();
  }
}

/** What Capabilities.check has found; one: there is a single tracker. */
function words(found, one) {
  const { lacks, few, most, long, longest, silent, calm } = found;
  const chars = [...found.lacking].join(' ');
  const said = [];
  if (lacks > 0)
    said.push(one ? t('warning.lacks', { chars }) : t('warning.lacksSome', { n: lacks, chars }));
  if (few > 0 && most === 0)
    said.push(one ? t('warning.noChoices') : t('warning.noChoicesSome', { n: few }));
  if (few > 0 && most > 0)
    said.push(
      one ? t('warning.fewChoices', { n: most }) : t('warning.fewChoicesSome', { n: few, most }),
    );
  if (long > 0)
    said.push(
      one ? t('warning.long', { n: longest }) : t('warning.longSome', { n: long, most: longest }),
    );
  if (silent > 0) said.push(one ? t('warning.silent') : t('warning.silentSome', { n: silent }));
  if (calm > 0) said.push(one ? t('warning.calm') : t('warning.calmSome', { n: calm }));
  return said;
}
