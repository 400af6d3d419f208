// Which characters the charset of a device has. The server brings a text to that charset with
// look-alikes and question marks; here the writer is told of them before.

/** What browsers decode as if it were in the code pages, which do not have it. */
const LATER = /[\p{Cc}\u1E3F\u9FB4-\u9FBB\uFE10-\uFE19]/u;

/** Characters of code page name, beyond ASCII, as a browser decodes it. */
function table(name, first) {
  const decoder = new TextDecoder(name, { fatal: true });
  const has = new Set();
  const take = (...bytes) => {
    try {
      const text = decoder.decode(Uint8Array.from(bytes));
      if ([...text].length === 1 && !LATER.test(text)) has.add(text);
    } catch {
      // no character has these bytes
    }
  };
  for (let a = first; a <= 0xff; a++) {
    if (name !== 'gbk') take(a);
    else for (let b = 0x40; b <= 0xfe; b++) take(a, b);
  }
  return has;
}

const tables = new Map();

function within(name, first) {
  if (!tables.has(name)) tables.set(name, table(name, first));
  return (c) => tables.get(name).has(c);
}

const SHOWS = {
  utf8: () => true,
  ucs2: (c) => c.length === 1,
  ascii: () => false,
  gbk: (c) => within('gbk', 0x81)(c),
  cp1251: (c) => within('windows-1251', 0x80)(c),
};

/** What only changes how its neighbours look: joiners, variation selectors, skin tones. */
const UNSEEN = /[\p{Cf}\p{Variation_Selector}\u{1F3FB}-\u{1F3FF}]/u;

/** Whether every one of several charsets, as in cp1251/ucs2, shows a character as it is. */
export function shows(charset, c) {
  return c < '\x80' || charset.split('/').every((name) => SHOWS[name]?.(c) ?? true);
}

/** The different characters of a text that a charset lacks, in their order. */
export function lacking(charset, text) {
  if (/^[\0-\x7f]*$/.test(text)) return [];
  const all = new Set(text.normalize('NFC'));
  return [...all].filter((c) => !shows(charset, c) && !UNSEEN.test(c));
}
