import { h, reconcile } from '../../shared/dom.js';

const MARGIN = 1200; // px drawn beyond what is seen
const SPARE = 400; // px of it that are left when more is drawn
const GUESS = 64; // px of an item that was never drawn

/**
 * A long column of items in a scrolling element, of which only those near what is seen exist: it
 * stays quick with twenty thousand. What is seen stays where it is when items come before it. The
 * height of an item, with the room to the next one, is measured when it is drawn and remembered by
 * its key. An item is {key, …}, with floats where it moves about among the others; create(item)
 * makes its element, fill(element, item) brings one up to date.
 */
export class Column {
  #scroller;
  #create;
  #fill;
  #known = new Map();
  #heights = new Map();
  #items = [];
  #tops = [0];
  #from = 0;
  #to = 0;
  #before = h('div', { class: 'beyond before', role: 'presentation' });
  #after = h('div', { class: 'beyond', role: 'presentation' });

  constructor(scroller, { create, fill }) {
    this.#scroller = scroller;
    this.#create = create;
    this.#fill = fill;
    scroller.append(this.#before, this.#after);
  }

  /** The element of a key, if it is drawn. */
  element(key) {
    return this.#known.get(key);
  }

  /** Takes the items of now; end: the last one is to be seen. */
  set(items, end) {
    this.#measure();
    const place = end ? null : this.#place();
    this.#items = items;
    this.#stack();
    if (place) place.at = items.findIndex((x) => x.key === place.key);
    this.#draw(place?.at >= 0 ? place : null, end);
  }

  /** Draws what has come into sight. */
  scrolled() {
    const { scrollTop, clientHeight } = this.#scroller;
    const above = this.#from === 0 || this.#tops[this.#from] < scrollTop - SPARE;
    const below =
      this.#to === this.#items.length || this.#tops[this.#to] > scrollTop + clientHeight + SPARE;
    if (above && below) return;
    this.#measure();
    this.#draw(this.#place(), false);
  }

  /** Goes to the last item. */
  toEnd() {
    this.#draw(null, true);
  }

  /** Brings an item into the middle and returns its element; nothing if there is no such item. */
  show(key) {
    const at = this.#items.findIndex((x) => x.key === key);
    if (at < 0) return undefined;
    this.#draw({ at, above: this.#scroller.clientHeight / 3 }, false);
    return this.#known.get(key);
  }

  /**
   * The first item that is seen and stays among its neighbours: how far its top is below the upper
   * edge, and where on the page if it is drawn.
   */
  #place() {
    if (this.#items.length === 0) return null;
    let at = this.#find(this.#scroller.scrollTop);
    while (this.#items[at].floats && at + 1 < this.#items.length) at++;
    const { key } = this.#items[at];
    return {
      at,
      key,
      above: this.#tops[at] - this.#scroller.scrollTop,
      seen: this.#known.get(key)?.getBoundingClientRect().top,
    };
  }

  /** The item that begins at or before a height. */
  #find(top) {
    let low = 0;
    let high = this.#items.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#tops[middle] <= top) low = middle;
      else high = middle - 1;
    }
    return Math.max(low, 0);
  }

  #stack() {
    const tops = new Float64Array(this.#items.length + 1);
    for (let i = 0; i < this.#items.length; i++)
      tops[i + 1] = tops[i] + (this.#heights.get(this.#items[i].key) ?? GUESS);
    this.#tops = tops;
  }

  /**
   * Draws around a place, or the end, or what is seen now. What is drawn turns out higher or lower
   * than guessed, so that it may take a second look.
   */
  #draw(place, end) {
    const { clientHeight } = this.#scroller;
    for (let pass = 0; pass < 4; pass++) {
      const top = place
        ? this.#tops[place.at] - place.above
        : end
          ? this.#tops.at(-1) - clientHeight
          : this.#scroller.scrollTop;
      this.#from = this.#find(top - MARGIN);
      this.#to = Math.min(this.#items.length, this.#find(top + clientHeight + MARGIN) + 1);
      this.#before.style.blockSize = `${this.#tops[this.#from]}px`;
      this.#after.style.blockSize = `${this.#tops.at(-1) - this.#tops[this.#to]}px`;
      this.#reconcile();
      if (!this.#measure()) break;
    }
    if (end) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    else if (place) {
      this.#scroller.scrollTop = this.#tops[place.at] - place.above;
      const el = this.#known.get(this.#items[place.at].key);
      if (place.seen !== undefined && el)
        // margins are not in the heights
        this.#scroller.scrollTop += el.getBoundingClientRect().top - place.seen;
    }
  }

  #reconcile() {
    this.#before.remove();
    this.#after.remove();
    reconcile(
      this.#scroller,
      this.#known,
      this.#items.slice(this.#from, this.#to),
      (x) => x.key,
      this.#create,
      this.#fill,
    );
    this.#scroller.prepend(this.#before);
    this.#scroller.append(this.#after);
  }

  /** Takes the heights of what is drawn; whether one has changed. */
  #measure() {
    let changed = false;
    const end = Math.min(this.#to, this.#items.length);
    for (let i = this.#from; i < end; i++) {
      const el = this.#known.get(this.#items[i].key);
      const height = el
        ? el.nextSibling.getBoundingClientRect().top - el.getBoundingClientRect().top
        : 0;
      if (!el || Math.abs((this.#heights.get(this.#items[i].key) ?? -1) - height) < 0.5) continue;
      this.#heights.set(this.#items[i].key, height);
      changed = true;
    }
    if (changed) {
      this.#stack();
      this.#before.style.blockSize = `${this.#tops[this.#from]}px`;
      this.#after.style.blockSize = `${this.#tops.at(-1) - this.#tops[end]}px`;
    }
    return changed;
  }
}
