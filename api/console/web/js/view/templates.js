import { h } from '../../shared/dom.js';
import { t } from '../../shared/i18n.js';
import { answers, MAX_CHOICES } from '../message.js';
import * as prefs from '../prefs.js';
import { clock } from '../time.js';
import { dialog } from './dialog.js';
import { explain } from './errors.js';
import { toast } from './toast.js';
import { waitField, setWait } from './wait.js';

const LONGEST_NAME = 100;
const LONGEST_TEXT = 2000;
const OF_ONE = /\{(label|employee)\}/; // placeholders that only a single tracker fills

/**
 * The templates of the account: {id, name, text, choices, ttl}. Where it has none, the texts that
 * were kept in this browser before there were any, or some of the message file, stand in.
 */
export class Templates {
  #api;
  #state;
  #list = [];

  constructor(api, state) {
    this.#api = api;
    this.#state = state;
  }

  async #load() {
    const { list } = await this.#api.call('account/template/list');
    this.#list = list;
  }

  #own() {
    return prefs.canned(this.#state.account.id) ?? [];
  }

  #setOwn(texts) {
    prefs.setCanned(this.#state.account.id, texts.length > 0 ? texts : null);
  }

  #all() {
    if (this.#list.length > 0) return this.#list;
    const own = this.#own();
    return (own.length > 0 ? own : t('canned.texts').split('\n')).map((text) => ({ text }));
  }

  /**
   * The list to choose from, which narrows as words are typed. choose gets a template with its text
   * filled in for the id of a tracker, null for many: then those that name one are not offered.
   */
  menu(tracker, choose) {
    const found = h('div', { class: 'menu' });
    const words = h('input', {
      class: 'input',
      type: 'search',
      placeholder: t('template.search'),
      'aria-label': t('template.search'),
      autocomplete: 'off',
      on: { input: () => draw() },
    });
    const draw = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const has = (x) => `${x.name ?? ''}\n${x.text}`.toLowerCase();
      const all = this.#all()
        .filter((x) => tracker !== null || !OF_ONE.test(x.text))
        .filter((x) => wanted.every((w) => has(x).includes(w)));
      found.replaceChildren(
        ...all.map((x) => row(x, () => choose({ ...x, text: this.#fill(x.text, tracker) }))),
        ...(all.length === 0 ? [h('p', { class: 'quiet' }, t('template.none'))] : []),
      );
    };
    draw();
    const before = JSON.stringify(this.#list);
    this.#load()
      .then(() => JSON.stringify(this.#list) !== before && draw())
      .catch((e) => toast(explain(e), true));
    return h('div', { class: 'menu' }, words, found, this.#state.mayManage && this.#manage());
  }

  /** The text for a tracker. Whose driver is not known is addressed by the tracker's name. */
  #fill(text, tracker) {
    const { label = '', driver } = this.#state.trackers.get(tracker) ?? {};
    const values = { label, employee: driver || label, time: clock(Date.now()) };
    return text.replace(/\{(label|employee|time)\}/g, (_, name) => values[name]);
  }

  #manage() {
    const own = this.#own();
    const item = (words, act) =>
      h('button', { class: 'choice edit', type: 'button', on: { click: act } }, words);
    return [
      own.length > 0 &&
        item(t('template.import', { n: own.length }), (e) => this.#import(e.target)),
      item(t('template.edit'), () => this.#edit()),
    ].filter(Boolean);
  }

  /** Makes the texts of this browser templates of the account; each is gone here once it is one. */
  async #import(button) {
    button.disabled = true;
    const own = this.#own();
    const n = own.length;
    try {
      while (own.length > 0) {
        const name = [...own[0]].slice(0, LONGEST_NAME).join('').trim();
        await this.#api.call('account/template/create', { name, text: own[0] });
        own.shift();
        this.#setOwn(own);
      }
      toast(t('template.imported', { n }));
      button.remove();
    } catch (e) {
      toast(told(e), true);
      button.disabled = false;
    }
  }

  #edit() {
    let edited = null; // the one that is changed, null for a new one
    const list = h('ul', { class: 'results templates', 'aria-label': t('template.title') });
    const name = h('input', { class: 'input', name: 'name', maxLength: LONGEST_NAME });
    const text = h('textarea', {
      class: 'input',
      name: 'text',
      rows: 3,
      dir: 'auto',
      maxLength: LONGEST_TEXT,
    });
    const choices = h('textarea', { class: 'input', name: 'answers', rows: 2, dir: 'auto' });
    const wait = waitField(0);
    const problem = h('p', { class: 'notice bad', role: 'alert', hidden: true });
    const submit = h('button', { class: 'button primary', type: 'submit' });
    const show = (x) => {
      edited = x;
      name.value = x?.name ?? '';
      text.value = x?.text ?? '';
      choices.value = x?.choices?.join('\n') ?? '';
      setWait(wait, x?.ttl ?? 0);
      submit.textContent = t(x ? 'template.save' : 'template.add');
    };
    /** Does something about templates, and shows what there is then. */
    const act = async (operation, params) => {
      try {
        if (operation) await this.#api.call(`account/template/${operation}`, params);
        await this.#load();
        problem.hidden = true;
        show(null);
      } catch (e) {
        problem.textContent = told(e);
        problem.hidden = false;
      }
      list.replaceChildren(
        ...this.#list.map((x) =>
          h(
            'li',
            {},
            row(x, () => {
              show(x);
              name.focus();
            }),
            h(
              'button',
              {
                class: 'button link',
                type: 'button',
                'aria-label': t('template.remove', { name: x.name }),
                on: { click: () => act('delete', { template_id: x.id }) },
              },
              t('template.delete'),
            ),
          ),
        ),
      );
      list.hidden = this.#list.length === 0;
    };
    const save = (e) => {
      e.preventDefault();
      act(edited ? 'update' : 'create', {
        ...(edited && { template_id: edited.id }),
        name: name.value.trim(),
        text: text.value.trim(),
        choices: answers(choices.value),
        ttl: Number(wait.value),
      });
    };
    const field = (key, el, hint) =>
      h('label', { class: 'field' }, t(key), el, hint && h('small', {}, hint));
    show(null);
    dialog(
      t('template.title'),
      list,
      h(
        'form',
        { class: 'fields', on: { submit: save } },
        field('template.name', name),
        field('template.text', text, t('template.hint')),
        field('composer.choices', choices, t('composer.choicesHint', { n: MAX_CHOICES })),
        field('composer.wait', wait),
        problem,
        h(
          'footer',
          {},
          h(
            'button',
            { class: 'button', type: 'button', on: { click: () => show(null) } },
            t('template.new'),
          ),
          submit,
        ),
      ),
    );
    act();
  }
}

/** A template as a choice. */
const row = ({ name, text }, click) =>
  h(
    'button',
    { class: 'choice', type: 'button', on: { click } },
    name && name !== text && h('bdi', { class: 'name' }, name),
    h('span', { class: 'words', dir: 'auto' }, text),
  );

/** What went wrong with a template: the code for a full queue is that of a full list too. */
const told = (e) => (e.code === 267 ? t('template.full') : explain(e));
