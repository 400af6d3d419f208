import { h } from '../../shared/dom.js';
import { t } from '../../shared/i18n.js';
import * as prefs from '../prefs.js';
import { dialog } from './dialog.js';

const MOST = 50;

/**
 * Texts that are written often. Each account has its own in this browser; until it does, there are
 * some of the message file.
 */
export class Canned {
  #account;

  constructor(account) {
    this.#account = account;
  }

  texts() {
    return prefs.canned(this.#account) ?? t('canned.texts').split('\n');
  }

  /** The list to choose from. */
  menu(choose) {
    return h(
      'div',
      { class: 'menu' },
      this.texts().map((text) =>
        h(
          'button',
          { class: 'choice', type: 'button', dir: 'auto', on: { click: () => choose(text) } },
          text,
        ),
      ),
      h(
        'button',
        { class: 'choice edit', type: 'button', on: { click: () => this.#edit() } },
        t('canned.edit'),
      ),
    );
  }

  #edit() {
    const field = h('textarea', {
      class: 'input',
      rows: 12,
      dir: 'auto',
      value: this.texts().join('\n'),
    });
    const save = (texts) => {
      prefs.setCanned(this.#account, texts);
      el.close();
    };
    const el = dialog(
      t('canned.title'),
      h('label', { class: 'field' }, t('canned.hint', { n: MOST }), field),
      h(
        'footer',
        {},
        h(
          'button',
          { class: 'button', type: 'button', on: { click: () => save(null) } },
          t('canned.reset'),
        ),
        h(
          'button',
          {
            class: 'button primary',
            type: 'button',
            on: {
              click: () =>
                save(
                  field.value
                    .split('\n')
                    .map((s) => s.trim())
                    .filter(Boolean)
                    .slice(0, MOST),
                ),
            },
          },
          t('canned.save'),
        ),
      ),
    );
  }
}
