// The impairer itself: every figure that it is told is what it does, on its own and between two sockets.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { impairer } from '../lib/impairer.mjs';
import { bindUdp, freeUdpBlock } from '../lib/net.mjs';
import { Path, mulberry32 } from '../lib/path.mjs';
import { sleep, until } from '../lib/wait.mjs';

// Arrivals of `count` datagrams of `bytes`, one every `every` milliseconds.
const arrivals = (path, { count = 20_000, every = 1, bytes = 972 } = {}) => [...Array(count)].map((_, i) => path.arrival(i * every, bytes));
const near = (value, wanted, tolerance, what) => assert.ok(Math.abs(value - wanted) <= tolerance, `${what}: ${value}, not ${wanted} ± ${tolerance}`);

test('random loss is as much as it should be, and a seed repeats it', () => {
  const run = (seed) => arrivals(new Path(mulberry32(seed), { loss: 0.05 })).map((at) => at === null);
  const lost = run(1);
  near(lost.filter(Boolean).length / lost.length, 0.05, 0.005, 'share');
  assert.deepEqual(run(1), lost);
  assert.notDeepEqual(run(2), lost);
  // By chance one in twenty of the lost follows a lost one.
  near(lost.filter((is, i) => is && lost[i + 1]).length / lost.filter(Boolean).length, 0.05, 0.03, 'in a row');
});

test('bursts are as many and as long as they should be', () => {
  for (const burst of [2, 3, 8]) {
    const lost = arrivals(new Path(mulberry32(burst), { loss: 0.1, burst }), { count: 60_000 }).map((at) => at === null);
    const all = lost.filter(Boolean).length;
    const runs = lost.filter((is, i) => is && !lost[i - 1]).length;
    near(all / lost.length, 0.1, 0.012, 'share');
    near(all / runs, burst, burst * 0.08, 'mean length');
  }
});

test('delay and jitter keep the order, reordering does not', () => {
  const sorted = (list) => list.every((at, i) => i === 0 || at >= list[i - 1]);
  const jittery = arrivals(new Path(mulberry32(1), { delayMs: 30, jitterMs: 20 }), { every: 5 });
  const ways = jittery.map((at, i) => at - i * 5);
  assert.ok(sorted(jittery));
  assert.ok(Math.min(...ways) >= 30 && Math.max(...ways) <= 50, `${Math.min(...ways)} to ${Math.max(...ways)}`);
  const even = arrivals(new Path(mulberry32(1), { delayMs: 30 })).every((at, i) => at === i + 30);
  assert.ok(even, 'without jitter every way is as long');
  const overtaken = arrivals(new Path(mulberry32(1), { delayMs: 30, reorder: 0.1, heldBackMs: 20 }), { every: 1 });
  assert.ok(!sorted(overtaken));
  const late = overtaken.filter((at, i) => at - i > 30.001).length;
  near(late / overtaken.length, 0.1, 0.01, 'share held back');
});

test('a rate lets through what it should, and the queue has its length', () => {
  // Twice as much as fits, for 10 s.
  const path = new Path(mulberry32(1), { rate: 1_000_000, queueMs: 100 });
  const list = arrivals(path, { count: 2_500, every: 4 });
  const came = list.filter((at) => at !== null);
  near(came.length * 8_000, 10_000_000 + 100_000, 20_000, 'bits in 10 s, and what waits at the end');
  assert.equal(path.lost.queue, 2_500 - came.length);
  const waits = list.map((at, i) => at === null ? null : at - i * 4).filter((wait) => wait !== null);
  assert.ok(Math.max(...waits) <= 108.001, `${Math.max(...waits)}`);
  near(path.queue.waited(1_000), 100, 8, 'what nearly all wait');
  // Half of what fits waits for nobody.
  const idle = arrivals(new Path(mulberry32(1), { rate: 1_000_000 }), { count: 500, every: 16 });
  assert.ok(idle.every((at, i) => Math.abs(at - i * 16 - 8) < 1e-6));
});

test('a cut lets nothing through, and conditions change at once', () => {
  const path = new Path(mulberry32(1));
  assert.equal(path.arrival(0, 100), 0);
  path.set({ cut: true });
  assert.equal(path.arrival(1, 100), null);
  path.set({ cut: false, delayMs: 7 });
  assert.equal(path.arrival(2, 100), 9);
  assert.throws(() => path.set({ dealy: 5 }), /no "dealy"/);
  assert.deepEqual(path.lost, { chance: 0, queue: 0, cut: 1 });
  // Setting up is spared by chance, but not by a cut.
  path.set({ loss: 1 });
  assert.equal(path.arrival(3, 100, { spared: true }), 10);
  assert.equal(path.arrival(4, 100), null);
});

test('between sockets: delays, order, rates of one browser and of several together', { timeout: 30_000 }, async (t) => {
  const [listenBase, targetBase] = [await freeUdpBlock(1), await freeUdpBlock(1)];
  const server = await bindUdp(targetBase);
  const proxy = await impairer({ listenBase, targetBase, count: 1, target: '127.0.0.1' });
  const peers = [await bindUdp(0), await bindUdp(0)];
  t.after(() => { proxy.close(); for (const socket of [server, ...peers]) socket.close(); });
  const came = { up: [], down: [[], []] };
  const addresses = [];
  server.on('message', (m, from) => {
    if (m[0] === 200) addresses[m[1]] = from.port; // hello
    else came.up.push({ at: performance.now(), number: m.readUInt32BE(1) });
  });
  peers.forEach((peer, i) => peer.on('message', (m) => came.down[i].push({ at: performance.now(), number: m.readUInt32BE(1) })));
  for (const [i, peer] of peers.entries()) {
    peer.send(Buffer.from([200, i]), listenBase, '127.0.0.1');
    await until('hello', () => addresses[i] !== undefined, { every: 5 });
  }
  assert.equal(proxy.clients.length, 2);
  const packet = (number, bytes = 972) => { const m = Buffer.alloc(bytes, 128); m.writeUInt32BE(number, 1); return m; };

  proxy.set({ up: { delayMs: 30, jitterMs: 20 } });
  const sent = [];
  for (let i = 0; i < 200; i += 1) { sent.push(performance.now()); peers[0].send(packet(i), listenBase, '127.0.0.1'); await sleep(2); }
  await until('all came', () => came.up.length === 200);
  assert.ok(came.up.every(({ number }, i) => number === i), 'the order stays');
  const ways = came.up.map(({ at, number }) => at - sent[number]).sort((a, b) => a - b);
  assert.ok(ways[0] >= 29 && ways[100] > 32 && ways[100] < 70, `${ways[0]} to ${ways[199]}, half within ${ways[100]}`);

  // The second browser has 400 kbit/s, the first is not concerned.
  proxy.clients[1].set({ down: { rate: 400_000, queueMs: 1_000 } });
  for (let i = 0; i < 50; i += 1) for (const port of addresses) server.send(packet(i), port, '127.0.0.1');
  await until('all came', () => came.down.every((list) => list.length === 50));
  const took = (list) => list.at(-1).at - list[0].at;
  assert.ok(took(came.down[0]) < 200, `${took(came.down[0])} ms without a limit`);
  near(took(came.down[1]), 49 * 20, 100, 'milliseconds for 50 packets at 400 kbit/s');
  assert.ok(came.down[1].every(({ number }, i) => number === i), 'the order stays');

  // Both behind 800 kbit/s, and what is too much is lost.
  for (const list of came.down) list.length = 0;
  proxy.clients[1].set({ down: { rate: 0 } });
  const shared = proxy.share(proxy.clients, { rate: 800_000, queueMs: 200 });
  for (let i = 0; i < 50; i += 1) for (const port of addresses) server.send(packet(i), port, '127.0.0.1');
  await sleep(500);
  const both = came.down[0].length + came.down[1].length;
  near(both, 22, 4, 'packets of 10 ms that fit a queue of 200 ms');
  assert.ok(shared.queue.waited(0) > 150);
  assert.equal(proxy.dropped.down, 100 - both);

  proxy.set({ up: { cut: true } });
  peers[0].send(packet(0), listenBase, '127.0.0.1');
  await sleep(150);
  assert.equal(came.up.length, 200, 'a cut is a cut');
});
