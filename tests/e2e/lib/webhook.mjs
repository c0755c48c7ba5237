import http from 'node:http';
import { until } from './wait.mjs';

// Receives what the master tells applications: { url, events, mode, … }. Each event has `at`, when it came, `headers`, and its whole text as `body`.
//   mode 'ok' answers 200, 'fail' 500, 'hang' nothing at all; `close` and `open` take the port away and back.
export async function webhookReceiver(address = '127.0.0.1') {
  const receiver = { events: [], refused: 0, mode: 'ok', port: 0 };
  const held = new Set();
  const serve = (request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('error', () => {});
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      if (receiver.mode === 'hang') { held.add(response); receiver.refused += 1; return; }
      if (receiver.mode === 'fail') { receiver.refused += 1; response.writeHead(500).end(); return; }
      receiver.events.push({ ...JSON.parse(body), at: Date.now(), headers: request.headers, body });
      response.writeHead(200).end();
    });
  };
  let server = null;
  receiver.open = () => new Promise((resolve, reject) => {
    server = http.createServer(serve);
    server.once('error', reject);
    server.listen(receiver.port, address, () => { receiver.port = server.address().port; resolve(); });
  });
  receiver.close = () => new Promise((resolve) => {
    for (const response of held) response.destroy();
    held.clear();
    server.close(resolve);
    server.closeAllConnections();
  });
  await receiver.open();
  receiver.url = `http://${address}:${receiver.port}/webhook`;
  receiver.named = (event, fields = {}) => receiver.events.filter((e) => e.event === event && Object.entries(fields).every(([k, v]) => e[k] === v));
  return receiver;
}

const idOf = (event) => event.headers['ringcast-event-id'] ?? JSON.stringify({ ...event, at: 0, headers: 0, body: 0 });

// Ids end with the place of the event in the order of all.
const numberOf = (event) => BigInt(/-(\d+)$/.exec(idOf(event))?.[1] ?? event.timestamp);

// Each event as it came first: delivery is at least once, and the id says which come again.
export const once = (events) => events.filter((event, n) => events.findIndex((other) => idOf(other) === idOf(event)) === n);

// What an application notices that keeps books: events that came twice, those of a session that came in the wrong order, and those that are
// missing between the first and the last. The first is allowed (at least once), the others never are.
export function checkOrder(events) {
  const seen = new Set();
  const latest = new Map();
  const found = { twice: 0, disordered: [], missing: 0 };
  for (const event of events) {
    const id = idOf(event);
    if (seen.has(id)) { found.twice += 1; continue; }
    seen.add(id);
    const session = event.uniqueSessionId ?? '';
    const before = latest.get(session);
    if (before && (before.timestamp > event.timestamp || numberOf(before) > numberOf(event))) found.disordered.push(`${session}: ${before.event} before ${event.event}`);
    latest.set(session, event);
  }
  // Numbers have no gap within a life of the master, which begins at a multiple of 2^32.
  const lives = new Map();
  for (const id of seen) {
    const digits = /-(\d+)$/.exec(id)?.[1];
    if (!digits) continue;
    const [life, number] = [BigInt(digits) >> 32n, Number(BigInt(digits) & 0xffffffffn)];
    const { least, most, count } = lives.get(life) ?? { least: number, most: number, count: 0 };
    lives.set(life, { least: Math.min(least, number), most: Math.max(most, number), count: count + 1 });
  }
  for (const { least, most, count } of lives.values()) found.missing += most - least + 1 - count;
  return found;
}

// The same when nothing is on its way any more: sessions are told of side by side, so that a later event may come before an earlier one of another.
export async function settledOrder(hook, timeout = 10_000) {
  await until('there is no hole', () => checkOrder(hook.events).missing === 0, { timeout }).catch(() => {});
  return checkOrder(hook.events);
}
