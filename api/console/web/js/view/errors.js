import { has, t } from '../../shared/i18n.js';
import { ApiError } from '../api.js';

/** What went wrong, in words for a person. */
export function explain(error) {
  if (!(error instanceof ApiError)) return error.message;
  const key = `error.${error.code}`;
  return has(key) ? t(key) : t('error.other', { text: error.message, code: String(error.code) });
}
