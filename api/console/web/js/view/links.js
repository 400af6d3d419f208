import { h } from '../../shared/dom.js';

// An address of the web, or a phone number: with + or 0 at its front, so that no order number is
// taken for one.
const LINK =
  /\bhttps?:\/\/[^\s<>"'`]+|(?<![\p{L}\p{N}+._/-])(?:\+|\(?0)\d?[\d ()/-]{5,20}\d(?![\p{L}\p{N}])/giu;
const DATE = /^\(?\d{1,2}[/ -]\d{1,2}[/ -]\d{2,4}\b/;
const TRAILING = /[.,;:!?)\]}»”’]+$/;

/**
 * A text as nodes, in which what can be opened or called is a link; together they hold the same
 * characters.
 */
export function linked(text) {
  const nodes = [];
  let end = 0;
  for (const { 0: found, index } of text.matchAll(LINK)) {
    const link = /^http/i.test(found) ? page(found) : phone(found);
    if (!link) continue;
    nodes.push(text.slice(end, index), link);
    end = index + link.textContent.length;
  }
  nodes.push(text.slice(end));
  return nodes.filter((n) => n !== '');
}

function page(found) {
  let text = found;
  const [tail] = TRAILING.exec(text) ?? [''];
  text = text.slice(0, text.length - tail.length);
  if (tail.startsWith(')') && text.split('(').length > text.split(')').length) text += ')'; // as in an encyclopedia's addresses
  if (!URL.canParse(text)) return null;
  return h(
    'a',
    { href: text, target: '_blank', rel: 'noopener noreferrer', referrerPolicy: 'no-referrer' },
    text,
  );
}

function phone(found) {
  const digits = found.replace(/\D/g, '');
  if (digits.length < 7 || digits.length > 15 || DATE.test(found)) return null;
  return h(
    'a',
    { href: `tel:${found.trim().startsWith('+') ? '+' : ''}${digits}`, rel: 'noopener noreferrer' },
    found,
  );
}
