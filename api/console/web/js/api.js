// The public API, as any other client calls it.

const SILENCE = 20_000; // ms without a byte of an answer; a long one may take as long as it comes
const LEAVING = 2000; // ms within which a page is gone that is being left
const RETRIES = 3; // of a call that was refused for coming too fast

/** Codes of the API that mean something to the page. 0 is ours: no answer. */
export const CODE = {
  unreachable: 0,
  wrongHash: 3,
  unknownHash: 4,
  unexpected: 6,
  noQueue: 8,
  noStore: 14,
  tooFast: 15,
  wrongLogin: 102,
  loginAttempts: 105,
  wrongHandler: 111,
  wrongMethod: 112,
  notPermitted: 13,
  notFound: 201,
  blocked: 208,
  unsupported: 214,
  nonexistent: 217,
  tariff: 236,
  queueFull: 267,
};

/** A refusal of the API, or code 0 if there was no answer. */
export class ApiError extends Error {
  constructor(code, description, errors = []) {
    super(description);
    this.code = code;
    this.errors = errors; // [{parameter, error}]
  }

  /** Whether the session or key is not known any more. */
  get ended() {
    return this.code === CODE.wrongHash || this.code === CODE.unknownHash;
  }

  /** Whether the server answers and has no store to do it with. */
  get storeless() {
    return this.code === CODE.noQueue || this.code === CODE.noStore;
  }

  /** Whether it was refused for what it is, so that the same would be refused again. */
  get refused() {
    return (
      ![CODE.unreachable, CODE.unexpected, CODE.tooFast].includes(this.code) && !this.storeless
    );
  }
}

/** Operations that are answered without the store. */
const STORELESS = ['tracker/list', 'tracker/read', 'tracker/chat/capabilities'];

/**
 * Calls for one caller. Times are ISO 8601 in both directions. It tells by the event `store`
 * (detail: whether it is there) what each answer shows of the server's store.
 */
export class Api extends EventTarget {
  #hash;

  constructor(hash = '') {
    super();
    this.#hash = hash;
  }

  /** What names the caller; never part of an address, so that it gets into no log. */
  get headers() {
    const h = { 'NVX-ISO-DateTime': 'true' };
    if (this.#hash) h.Authorization = `NVX ${this.#hash}`;
    return h;
  }

  /**
   * Calls an operation and returns its answer. A refusal by the rate limit is repeated after the
   * time it names: nothing has been done then.
   */
  async call(operation, params = {}, signal = undefined) {
    for (let attempt = 0; ; attempt++) {
      const { response, answer } = await this.#post(operation, params, signal);
      if (answer.success) {
        if (!STORELESS.includes(operation) && operation.startsWith('tracker/')) this.#tell(true);
        return answer;
      }
      const error = new ApiError(
        answer.status?.code ?? CODE.unreachable,
        answer.status?.description ?? `HTTP ${response.status}`,
        answer.errors,
      );
      if (error.storeless) this.#tell(false);
      if (error.code !== CODE.tooFast || attempt >= RETRIES) throw error;
      await pause(1000 * Math.max(1, Number(response.headers.get('Retry-After')) || 1), signal);
    }
  }

  /** Calls an operation that answers with a file; one that breaks off is an error. */
  async download(operation, params, signal = undefined) {
    let response;
    let blob;
    try {
      response = await fetch(`/v2/${operation}`, {
        method: 'POST',
        headers: { ...this.headers, 'Content-Type': 'application/json' },
        body: JSON.stringify(params),
        cache: 'no-store',
        signal,
      });
      blob = await response.blob();
    } catch (e) {
      throw new ApiError(CODE.unreachable, e.message);
    }
    const named = /filename="([^"]+)"/.exec(response.headers.get('Content-Disposition') ?? '');
    if (response.ok && named) return { blob, name: named[1] };
    const answer = await blob
      .text()
      .then(JSON.parse)
      .catch(() => ({}));
    throw new ApiError(
      answer.status?.code ?? CODE.unreachable,
      answer.status?.description ?? `HTTP ${response.status}`,
      answer.errors,
    );
  }

  #tell(detail) {
    this.dispatchEvent(new CustomEvent('store', { detail }));
  }

  async #post(operation, params, signal) {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE);
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE);
    };
    try {
      const response = await fetch(`/v2/${operation}`, {
        method: 'POST',
        headers: { ...this.headers, 'Content-Type': 'application/json' },
        body: JSON.stringify(params),
        cache: 'no-store',
        signal: signal ? AbortSignal.any([signal, silence.signal]) : silence.signal,
      });
      return { response, answer: await body(response, heard) };
    } catch (e) {
      if (signal?.aborted) throw e;
      // A page that is being left loses its calls: what it was sending is not to be noted as
      // failed.
      if (Date.now() - leaving < LEAVING) await pause(LEAVING);
      throw new ApiError(CODE.unreachable, e.message);
    } finally {
      clearTimeout(timer);
    }
  }
}

let leaving = 0; // when the page was about to be left
addEventListener('beforeunload', () => {
  leaving = Date.now();
});

/**
 * Reads an answer; one that is not the API's comes from something before it, and is as good as
 * none. heard is called for each piece.
 */
async function body(response, heard) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    heard();
    text += piece.value;
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(CODE.unreachable, `HTTP ${response.status}`);
  }
}

/** Waits; ends early, with its reason, when the signal is aborted. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    function stop() {
      clearTimeout(timer);
      reject(signal.reason);
    }
    signal?.addEventListener('abort', stop, { once: true });
  });
}
