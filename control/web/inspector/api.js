// The public REST API and its stream of events, in the name of one secret.

const ROOT = '/openvidu/api';
const PATIENCE_MS = 30_000;
const SILENCE_MS = 40_000; // the stream has a heartbeat every 15 s
const [PAUSE_MS, PAUSE_MAX_MS] = [1_000, 15_000];

// An answer that is no success; `status` 0: there was none.
export class Refused extends Error {
  constructor(status, message, retryAfter = 0) {
    super(message);
    Object.assign(this, { status, retryAfter });
  }
}

const WORDS = { 401: 'The secret is wrong.', 404: 'It is no longer there.', 408: 'The master took too long.' };

export function connect(secret) {
  const over = new AbortController();
  const bytes = new TextEncoder().encode(`OPENVIDUAPP:${secret}`);
  const authorization = `Basic ${btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))}`;

  // Without credentials of the browser's own, which would ask for a user and a password itself.
  async function ask(method, path, { body, signal }) {
    const headers = { authorization, ...(body === undefined ? {} : { 'content-type': 'application/json' }) };
    const answer = await fetch(ROOT + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: 'omit', cache: 'no-store', signal })
      .catch(() => { throw new Refused(0, 'The master does not answer.'); });
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({}));
    const message = answer.status === 401 ? WORDS[401] : said.message || WORDS[answer.status] || `The master answers ${answer.status}.`;
    throw new Refused(answer.status, message, Number(answer.headers.get('retry-after')) || 0);
  }

  // The answer's JSON; null without a body.
  async function call(method, path, body) {
    const answer = await ask(method, path, { body, signal: AbortSignal.any([over.signal, AbortSignal.timeout(PATIENCE_MS)]) });
    const text = await answer.text().catch(() => { throw new Refused(0, 'The master stopped in the middle of its answer.'); });
    return text && text.startsWith('{') ? JSON.parse(text) : null;
  }

  // Hears of events until `end`: `told(id, event)`, and `state(live, why)` whenever that changes. EventSource can't send a secret.
  async function listen({ told, state }) {
    let pause = PAUSE_MS;
    while (!over.signal.aborted) {
      try {
        await hear(told, () => { pause = PAUSE_MS; state(true); });
        state(false, new Refused(0, 'The stream of events ended.'));
      } catch (failure) {
        if (over.signal.aborted) return;
        const why = failure instanceof Refused ? failure : new Refused(0, 'The stream of events broke off.');
        state(false, why);
        if (why.status === 401) return; // asking again would be guessing
      }
      await new Promise((resolve) => { setTimeout(resolve, pause); });
      pause = Math.min(2 * pause, PAUSE_MAX_MS);
    }
  }

  async function hear(told, begun) {
    const quiet = new AbortController();
    let timer = setTimeout(() => quiet.abort(), SILENCE_MS);
    try {
      const answer = await ask('GET', '/events', { signal: AbortSignal.any([over.signal, quiet.signal]) });
      begun();
      const text = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = '';
      for (;;) {
        const { done, value } = await text.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(() => quiet.abort(), SILENCE_MS);
        const blocks = (rest + value).split('\n\n');
        rest = blocks.pop();
        for (const block of blocks) tell(block, told);
      }
    } finally {
      clearTimeout(timer);
      quiet.abort();
    }
  }

  return { call, listen, end: () => over.abort() };
}

// One block of the stream: `id:` and `data:`, or a comment.
function tell(block, told) {
  const fields = Object.fromEntries(block.split('\n').filter((line) => !line.startsWith(':')).map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));
  if (fields.data) told(fields.id, JSON.parse(fields.data));
}
