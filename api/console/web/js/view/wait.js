import { h } from '../../shared/dom.js';
import { current, t } from '../../shared/i18n.js';

const TIMES = [0, 900, 3600, 8 * 3600, 24 * 3600]; // seconds that a text may wait

/** A choice of how many seconds a text may wait, 0 for ever; see setWait. */
export function waitField(seconds) {
  const field = h('select', { class: 'input', name: 'ttl' }, TIMES.map(option));
  setWait(field, seconds);
  return field;
}

/** Chooses a time, also one that was not offered so far. */
export function setWait(field, seconds) {
  if (![...field.options].some((o) => Number(o.value) === seconds)) field.append(option(seconds));
  field.value = String(seconds);
}

const option = (s) =>
  h('option', { value: String(s) }, s === 0 ? t('composer.noLimit') : waitWords(s));

/** A time in words. */
export function waitWords(seconds) {
  const unit = seconds < 3600 ? 'minute' : 'hour';
  return new Intl.NumberFormat(current(), {
    style: 'unit',
    unit,
    unitDisplay: 'long',
    maximumFractionDigits: 1,
  }).format(seconds / (unit === 'hour' ? 3600 : 60));
}
