import { h, icon, setText } from '../../shared/dom.js';
import { t } from '../../shared/i18n.js';
import { answers, length, MAX_CHOICES, MAX_TEXT } from '../message.js';
import { popup } from './popup.js';
import { setWait, waitField, waitWords } from './wait.js';

const TALLEST = 220; // px of the field
const SLASH = '/'; // shows the templates where nothing else is written

/**
 * The field for a new text, with templates (for the id of a tracker, null for many), a time limit,
 * answers to choose from and whether it is urgent. send(text, extras) gets what is to be sent; extras
 * are parameters of the API. draft is {text, ttl, choices, quoted, urgent} to begin with,
 * changed(draft) is told each change of it (null where nothing is written), and
 * check(text, choices, urgent) says what the driver would not see of it.
 */
export class Composer {
  #send;
  #quoted = null;
  #texts;
  #popups = [];
  #tell;
  #check;

  constructor({
    templates,
    tracker = null,
    draft,
    changed = () => {},
    check = () => [],
    send,
    label = t('composer.label'),
  }) {
    this.#send = send;
    this.#tell = () => {};
    this.#check = check;
    this.field = h('textarea', {
      class: 'input',
      rows: 1,
      dir: 'auto',
      placeholder: label,
      'aria-label': label,
      'aria-describedby': 'composer-count',
      enterKeyHint: 'enter',
      value: draft?.text ?? '',
      on: { input: (e) => this.#typed(e), keydown: (e) => this.#key(e) },
    });
    this.button = h(
      'button',
      { class: 'button primary send', type: 'submit', title: t('composer.sendKey') },
      icon('send'),
      h('span', {}, t('composer.send')),
    );
    this.urgent = h(
      'button',
      {
        class: 'iconbutton urgent',
        type: 'button',
        title: t('composer.urgent'),
        'aria-label': t('composer.urgent'),
        'aria-pressed': String(draft?.urgent === true),
        on: { click: () => this.#press(!this.#isUrgent()) },
      },
      icon('urgent'),
    );
    this.count = h('span', { class: 'count', id: 'composer-count' });
    this.offline = h('span', { class: 'hint' });
    this.warnings = h('ul', { class: 'warnings', role: 'status', hidden: true });
    this.quote_ = h('div', { class: 'quoted', hidden: true });
    this.wait = waitField(draft?.ttl ?? 0);
    this.choices = h('textarea', {
      class: 'input',
      rows: 3,
      name: 'choices',
      dir: 'auto',
      value: draft?.choices ?? '',
    });
    this.chosen = h('span', { class: 'hint' });
    for (const el of [this.wait, this.choices]) el.addEventListener('input', () => this.#changed());
    const texts = popup(icon('list'), t('composer.templates'), (close) =>
      templates.menu(tracker, (template) => {
        close();
        this.#insert(template);
      }),
    );
    this.#texts = texts;
    const options = popup(icon('timer'), t('composer.options'), () =>
      h(
        'div',
        { class: 'options' },
        h(
          'label',
          { class: 'field' },
          t('composer.wait'),
          this.wait,
          h('small', {}, t('composer.waitHint')),
        ),
        h(
          'label',
          { class: 'field' },
          t('composer.choices'),
          this.choices,
          h('small', {}, t('composer.choicesHint', { n: MAX_CHOICES })),
        ),
      ),
    );
    this.#popups = [texts, options];
    this.element = h(
      'form',
      {
        class: 'composer',
        on: {
          submit: (e) => {
            e.preventDefault();
            this.submit();
          },
        },
      },
      this.quote_,
      h(
        'div',
        { class: 'write' },
        texts.element,
        options.element,
        this.urgent,
        this.field,
        this.button,
      ),
      h('div', { class: 'below' }, this.offline, this.chosen, this.count),
      this.warnings,
    );
    this.resized = new ResizeObserver(() => this.#grow());
    this.resized.observe(this.element);
    if (draft?.quoted) this.#quote(draft.quoted);
    this.#changed();
    this.#tell = changed;
  }

  focus() {
    this.field.focus();
  }

  close() {
    this.resized.disconnect();
    for (const p of this.#popups) p.close();
  }

  /** Says something about what sending will come to. */
  hint(text) {
    setText(this.offline, text);
  }

  /** Says anew what the driver would not see. */
  check() {
    const words = this.#check(this.field.value.trim(), this.#choices(), this.#isUrgent());
    this.warnings.hidden = words.length === 0;
    if (this.warnings.dataset.words === words.join('\n')) return;
    this.warnings.dataset.words = words.join('\n');
    this.warnings.replaceChildren(
      ...words.map((s) => h('li', {}, icon('alert'), h('span', { dir: 'auto' }, s))),
    );
  }

  /** Makes the next text an answer to a message. */
  quote(message) {
    this.#quote(message && { id: message.id, text: message.text.slice(0, 200) });
    this.#changed();
    if (message) this.focus();
  }

  #quote(quoted) {
    this.#quoted = quoted;
    this.quote_.hidden = !quoted;
    if (quoted) {
      this.quote_.replaceChildren(
        icon('reply'),
        h('span', { class: 'quote', dir: 'auto' }, quoted.text),
        h(
          'button',
          {
            class: 'iconbutton',
            type: 'button',
            'aria-label': t('composer.noReply'),
            on: { click: () => this.quote(null) },
          },
          icon('close'),
        ),
      );
    }
  }

  /** Hands over what is written, if that can be sent. */
  submit() {
    const text = this.field.value.trim();
    const n = length(text);
    if (n === 0 || n > MAX_TEXT || this.button.disabled) return;
    const extras = {};
    if (Number(this.wait.value) > 0) extras.ttl = Number(this.wait.value);
    if (this.#choices().length > 0) extras.choices = this.#choices();
    if (this.#quoted) extras.reply_to = this.#quoted.id;
    if (this.#isUrgent()) extras.urgent = true;
    for (const p of this.#popups) p.close();
    this.clear();
    this.#send(text, extras);
  }

  /**
   * Empties everything: a limit, answers and urgency are for one text, and are not to slip into the
   * next one.
   */
  clear() {
    this.field.value = '';
    setWait(this.wait, 0);
    this.choices.value = '';
    this.urgent.setAttribute('aria-pressed', 'false');
    this.quote(null);
    this.#changed();
  }

  #isUrgent() {
    return this.urgent.getAttribute('aria-pressed') === 'true';
  }

  #press(urgent) {
    this.urgent.setAttribute('aria-pressed', String(urgent));
    this.#changed();
    this.focus();
  }

  #choices() {
    return answers(this.choices.value);
  }

  #insert({ text, choices, ttl }) {
    const { field } = this;
    if (field.value === SLASH) field.value = '';
    field.setRangeText(text, field.selectionStart, field.selectionEnd, 'end');
    if (choices?.length > 0) this.choices.value = choices.join('\n');
    if (ttl > 0) setWait(this.wait, ttl);
    this.#changed();
    this.focus();
  }

  #typed(event) {
    this.#changed();
    if (event.data === SLASH && this.field.value === SLASH) this.#texts.open(this.field);
  }

  #changed() {
    const n = length(this.field.value.trim());
    setText(this.count, t('composer.count', { n, max: MAX_TEXT }));
    this.count.classList.toggle('over', n > MAX_TEXT);
    this.field.setAttribute('aria-invalid', String(n > MAX_TEXT));
    this.button.disabled = n === 0 || n > MAX_TEXT;
    const answers = this.#choices().length;
    const set = [
      Number(this.wait.value) > 0 &&
        t('composer.expires', { text: waitWords(Number(this.wait.value)) }),
      answers > 0 && t('composer.answers', { n: answers }),
    ];
    setText(this.chosen, set.filter(Boolean).join(' · '));
    this.#grow();
    this.check();
    this.#tell(this.#draft());
  }

  #draft() {
    const draft = {
      text: this.field.value,
      ttl: Number(this.wait.value),
      choices: this.choices.value,
      quoted: this.#quoted,
      urgent: this.#isUrgent(),
    };
    return Object.values(draft).some(Boolean) ? draft : null;
  }

  #grow() {
    const { style } = this.field;
    style.blockSize = 'auto';
    style.blockSize = `${Math.min(this.field.scrollHeight + 2, TALLEST)}px`;
  }

  /** Enter sends where there is a keyboard with a Shift key; on a touch screen it is a new line. */
  #key(event) {
    if (event.key !== 'Enter' || event.isComposing) return;
    const touch = matchMedia('(pointer: coarse)').matches;
    if (event.ctrlKey || event.metaKey || (!event.shiftKey && !event.altKey && !touch)) {
      event.preventDefault();
      this.submit();
    }
  }
}
