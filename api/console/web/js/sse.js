// Server-Sent Events out of a stream of bytes. EventSource cannot send headers, and a key does not
// belong into an address.

const LONGEST = 4 << 20; // characters of one event; a message of 20,000 characters needs far less

/**
 * Yields {event, data, id} for each event of a body; id is undefined where the event has none, data
 * may be empty where it has one. tick() is called whenever anything arrives, a heartbeat too.
 */
export async function* events(body, tick) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let event = fresh();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      tick();
      rest += value;
      if (rest.length > LONGEST) throw new Error('event too long');
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line !== '') {
          field(event, line);
          continue;
        }
        if (event.lines.length > 0 || event.id !== undefined)
          yield { event: event.name, data: event.lines.join('\n'), id: event.id };
        event = fresh();
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // the connection is over either way
  }
}

const fresh = () => ({ name: 'message', lines: [], id: undefined });

function field(event, line) {
  const colon = line.indexOf(':');
  if (colon === 0) return; // a comment
  const name = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
  if (name === 'event') event.name = value;
  else if (name === 'data') event.lines.push(value);
  else if (name === 'id') event.id = value;
}
