// What people see on bad paths, with real browsers: cases with targets. The tests run them in short, quality.mjs in full.
import { launchFirefox } from './browser.mjs';
import { COLORS, enter, seen } from './call.mjs';
import { startCluster } from './cluster.mjs';
import * as direct from './direct.mjs';
import { sleep, until } from './wait.mjs';

// A case: `run({ browser, page, seconds, off })` gives measures; `control` says what to switch off so that it must fail. Those that are
// `tested` run in short with the other tests ('whole': where all of these are asked for). Of what is `promised` the measures that are `open` are not: they say how far it is to the goal.
// Firefox can't read sound that is repeated. What is `steady` takes longer to judge than the tests have.
export const CASES = [
  { name: 'good', what: 'nothing is impaired', promised: true, short: 10, full: 30, run: (context) => unimpaired(context) },
  { name: 'loss-5', what: '5 % random loss both ways, 60 ms round trip, on a viewer\'s path', promised: true, tested: 'whole', short: 20, full: 60, control: 'no-nack',
    run: (context) => lossy(context, { loss: 0.05 }, { decoded: 97, frozen: 1, concealed: 3 }) },
  { name: 'loss-5-everywhere', what: '5 % random loss both ways, 60 ms round trip, on the publisher\'s path and a viewer\'s', promised: true, short: 20, full: 60,
    run: (context) => lossy(context, { loss: 0.05 }, { decoded: 97, frozen: 1, concealed: 3 }, { everywhere: true }) },
  { name: 'loss-bursts', what: '10 % loss in bursts of three both ways on a viewer\'s path', promised: true, short: 20, full: 60,
    run: (context) => lossy(context, { loss: 0.1, burst: 3 }, { decoded: 92 }) },
  { name: 'loss-5-firefox', what: 'the first of these, seen by Firefox', promised: true, open: ['sound concealed'], short: 20, full: 60, run: (context) => inFirefox(context, (one) => lossy(one, { loss: 0.05 }, { decoded: 97, frozen: 1, concealed: 3 })) },
  { name: 'loss-bursts-firefox', what: '10 % loss in bursts of three, seen by Firefox', promised: true, short: 20, full: 60, run: (context) => inFirefox(context, (one) => lossy(one, { loss: 0.1, burst: 3 }, { decoded: 92 })) },
  ...[1000, 500, 250].map((kbit) => ({ name: `limit-${kbit}`, what: `one of three viewers limited to ${kbit} kbit/s`, promised: true, tested: kbit === 500, short: 10, full: 30,
    steady: ['of what fits is used'], control: kbit === 500 ? 'no-congestion-control' : kbit === 250 ? 'no-pacing' : null, run: (context) => limited(context, kbit) })),
  { name: 'limit-lifted', what: 'a viewer\'s limit of 500 kbit/s is lifted', promised: true, short: 10, full: 15, run: lifted },
  { name: 'uplink-300', what: 'the publisher\'s uplink carries 300 kbit/s', promised: true, short: 10, full: 60, run: narrowUplink },
  { name: 'two-share', what: 'two viewers behind one 2 Mbit/s bottleneck', promised: false, short: 10, full: 30, run: twoShare },
  { name: 'blackout', what: 'nothing passes a viewer\'s path for 2 s', promised: true, short: 1, full: 5, run: blackout },
  { name: 'switches', what: 'the publisher switches encodings off and on so many times', promised: true, short: 15, full: 300, run: switched },
  // The same paths between two Chromiums, without a server: what browsers make of them by themselves.
  ...[
    { name: 'good', what: 'nothing is impaired', short: 10, full: 30, run: direct.unimpaired },
    { name: 'loss-5', what: '5 % random loss both ways, 60 ms round trip', short: 20, full: 60, run: (context) => direct.lossy(context, { loss: 0.05 }) },
    { name: 'loss-bursts', what: '10 % loss in bursts of three both ways', short: 20, full: 60, run: (context) => direct.lossy(context, { loss: 0.1, burst: 3 }) },
    ...[1000, 500, 300, 250].map((kbit) => ({ name: `limit-${kbit}`, what: `the way there carries ${kbit} kbit/s`, short: 10, full: 30, run: (context) => direct.limited(context, kbit) })),
    { name: 'limit-lifted', what: 'a limit of 500 kbit/s is lifted', short: 10, full: 15, run: direct.lifted },
    { name: 'blackout', what: 'nothing passes for 2 s', short: 1, full: 5, run: direct.blackout },
  ].map((one) => ({ ...one, name: `direct-${one.name}`, what: `between two Chromiums: ${one.what}`, promised: false, run: ({ browser, page, seconds }) => one.run({ browser, page, seconds, video: VIDEO }) })),
];

// 960×540 at 15 frames a second: the smallest with three encodings.
const VIDEO = { color: COLORS.green, width: 960, height: 540, fps: 15, grain: true, simulcast: true };
const FAR = { delayMs: 30 };

const atLeast = (measure, value, unit, target) => ({ measure, value, unit, target: `≥ ${target} ${unit}`, met: value >= target });
const atMost = (measure, value, unit, target) => ({ measure, value, unit, target: `≤ ${target} ${unit}`, met: value <= target });
const any = (measure, value, unit) => ({ measure, value, unit, target: '', met: true });
// Within 20 s one freeze, which is over before half a second, is more than one percent; a minute bears it.
const frozenAtMost = ({ seconds }) => Math.max(1, 100 * 0.5 / seconds);
const judged = (judge, measure, value, unit, target) => (target === undefined ? any(measure, value, unit) : judge(measure, value, unit, target));

// A busy machine freezes pictures by itself. Where it did so before anything was done to a path, freezes say nothing about what came after.
const unlessBusy = (freezesBefore, row) => (freezesBefore > 0 ? any(`${row.measure}, on a busy machine`, row.value, row.unit) : row);

// A publisher and viewers, each with the paths that it came by.
async function call({ browser, page, off, viewer = browser }, { viewers = 1 } = {}) {
  const engine = { congestion_control: off !== 'no-congestion-control', pacing: off !== 'no-pacing' };
  const cluster = await startCluster({ impaired: true, engine, faults: off === 'no-nack' ? [off] : [] });
  try {
    const mark = cluster.impairer.mark();
    const sender = await enter({ cluster, browser, page, sessionId: 'quality', name: 'sender', options: VIDEO });
    await until('the sender sends', async () => (await sender.call('sent'))?.connectionState === 'connected');
    const paths = { sender: cluster.impairer.since(mark), viewers: [] };
    const watchers = [];
    for (let i = 0; i < viewers; i += 1) {
      const before = cluster.impairer.mark();
      const watcher = await enter({ cluster, browser: viewer, page, sessionId: 'quality', name: `viewer ${i}`, publish: false });
      await seen(watcher, sender.streamId, { frames: 20 });
      paths.viewers.push(cluster.impairer.since(before));
      watchers.push(watcher);
    }
    // The sender's encoder begins low; the picture is to be the biggest.
    await until('all of the picture', async () => (await watchers[0].call('received', sender.streamId)).frameWidth === VIDEO.width, { timeout: 40_000 }).catch(() => {});
    return { cluster, sender, watchers, paths };
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

const set = (clients, conditions) => { for (const client of clients) client.set({ up: conditions, down: conditions }); };

// The same with a viewer of another make.
async function inFirefox(context, measure) {
  const viewer = await launchFirefox();
  try {
    return await measure({ ...context, viewer });
  } finally {
    await viewer.close();
  }
}

// Counters of both ends. Frames are counted in the encoding of which most are made: the others are the same moments.
async function counters({ sender, watchers }) {
  const encoded = Math.max(...(await sender.call('encodings')).map(({ frames }) => frames));
  const received = await Promise.all(watchers.map((watcher) => watcher.call('received', sender.streamId)));
  return { at: performance.now(), encoded, received };
}

function between(before, after, nth = 0) {
  const grown = (name) => after.received[nth][name] - before.received[nth][name];
  const seconds = (after.at - before.at) / 1_000;
  return {
    decoded: 100 * grown('framesDecoded') / Math.max(1, after.encoded - before.encoded),
    // What came, whether or not a busy machine had the time to decode it.
    came: 100 * grown('framesReceived') / Math.max(1, after.encoded - before.encoded),
    frozen: 100 * grown('frozen') / seconds,
    freezes: grown('freezes'),
    // Silence that is made while nothing is sent is no loss.
    concealed: 100 * (grown('concealed') - grown('silentConcealed')) / Math.max(1, grown('audioSamples')),
    buffer: 1_000 * grown('bufferDelay') / Math.max(1, grown('buffered')),
    kbit: grown('bytes') * 8 / 1_000 / seconds,
    copies: grown('fecPackets'), nacks: grown('nacks'), retransmitted: grown('retransmitted'), plis: grown('plis'), keyFrames: grown('keyFrames'),
    width: after.received[nth].frameWidth,
  };
}

async function unimpaired(context) {
  const one = await call(context);
  try {
    await sleep(5_000);
    const before = await counters(one);
    await sleep(context.seconds * 1_000);
    const seen = between(before, await counters(one));
    return [
      atLeast('pictures decoded', seen.decoded, '%', 97), any('time frozen', seen.frozen, '%'), any('sound concealed', seen.concealed, '%'),
      any('freezes', seen.freezes, ''), any('width', seen.width, 'px'), any('rate', seen.kbit, 'kbit/s'), any('jitter buffer', seen.buffer, 'ms'),
    ];
  } finally {
    await finish(one);
  }
}

async function lossy(context, conditions, targets, { everywhere = false } = {}) {
  const one = await call(context);
  try {
    const { cluster, sender, paths } = one;
    set(paths.sender, everywhere ? FAR : {});
    set(paths.viewers[0], FAR);
    // The sender's estimate and the viewer's buffer get to know the way.
    await sleep(3_000);
    // What the same call is like without loss, for a busy machine has freezes of its own.
    const began = await counters(one);
    await sleep(context.seconds * 333);
    const clean = between(began, await counters(one));
    const bad = [...paths.viewers[0], ...(everywhere ? paths.sender : [])];
    set(bad, conditions);
    await sleep(2_000);
    const before = await counters(one);
    await sleep(context.seconds * 1_000);
    const after = await counters(one);
    set(bad, { loss: 0, burst: 1 });
    const healed = performance.now();
    const last = (await one.watchers[0].call('received', sender.streamId)).framesDecoded;
    const back = await until('a picture again', async () => {
      const { framesDecoded } = await one.watchers[0].call('received', sender.streamId);
      return framesDecoded > last && performance.now() - healed;
    }, { timeout: 8_000, every: 20 }).catch(() => Infinity);
    const seen = between(before, after);
    const { dropped, passed } = cluster.impairer;
    return [
      atLeast('pictures decoded', seen.decoded, '%', targets.decoded),
      unlessBusy(clean.freezes, judged(atMost, 'time frozen', seen.frozen, '%', targets.frozen && frozenAtMost(context))),
      any('time frozen without loss', clean.frozen, '%'),
      judged(atMost, 'time frozen by the loss', Math.max(0, seen.frozen - clean.frozen), '%', targets.frozen && frozenAtMost(context)),
      judged(atMost, 'sound concealed', seen.concealed, '%', targets.concealed),
      atMost('a picture after it ends', back, 'ms', 1_000),
      any('freezes', seen.freezes, ''), any('jitter buffer', seen.buffer, 'ms'), any('width', seen.width, 'px'), any('rate', seen.kbit, 'kbit/s'),
      any('copies of sound', seen.copies, ''), any('NACKs', seen.nacks, ''), any('retransmitted', seen.retransmitted, ''), any('key frames asked for', seen.plis, ''),
      any('lost of all', 100 * (dropped.up + dropped.down) / (dropped.up + dropped.down + passed.up + passed.down), '%'),
    ];
  } finally {
    await finish(one);
  }
}

// What sound takes, with its headers, in kbit/s.
const SOUND = 45;

// What the encodings of a publisher took between two looks, in kbit/s.
function took(before, after) {
  const seconds = (after.at - before.at) / 1_000;
  return after.encodings.map(({ bytes }, nth) => (bytes - before.encodings[nth].bytes) * 8 / 1_000 / seconds);
}

const look = async (one) => ({ ...(await counters(one)), encodings: await one.sender.call('encodings') });

async function limited(context, kbit) {
  const one = await call(context, { viewers: 3 });
  try {
    const [path] = one.paths.viewers;
    for (const client of path) client.set({ up: { delayMs: 10 }, down: { delayMs: 10 } });
    await sleep(3_000);
    const undisturbed = await counters(one);
    await sleep(context.seconds * 1_000);
    const began = await look(one);
    for (const client of path) client.set({ down: { rate: kbit * 1_000 } });
    await sleep(3_000);
    const [before, since] = [await look(one), performance.now()];
    await sleep(context.seconds * 1_000);
    const after = await look(one);
    const seen = between(before, after, 0);
    const others = [1, 2].map((nth) => between(began, after, nth));
    const freezesBefore = [1, 2].map((nth) => between(undisturbed, began, nth).freezes);
    const rates = took(before, after).map((rate) => rate + SOUND);
    const fits = rates.filter((rate) => rate * 1.03 <= kbit).at(-1) ?? rates[0];
    const waited = Math.max(...path.map(({ down }) => down.queue.waited(since)));
    const used = seen.kbit + SOUND;
    return [
      atLeast('of what fits is used', 100 * used / fits, '%', 75),
      any('of the rate is used', 100 * used / kbit, '%'),
      atMost('queueing p95', waited, 'ms', 150),
      any('pictures decoded', seen.decoded, '%'), any('time frozen', seen.frozen, '%'), any('width', seen.width, 'px'),
      atLeast('width of others', Math.min(...others.map(({ width }) => width)), 'px', VIDEO.width),
      atLeast('pictures come to others', Math.min(...others.map(({ came }) => came)), '%', 97),
      unlessBusy(freezesBefore[0] + freezesBefore[1], atMost('freezes of others', others[0].freezes + others[1].freezes, '', 0)),
      ...rates.map((rate, nth) => any(`encoding ${nth} with sound takes`, rate, 'kbit/s')),
    ];
  } finally {
    await finish(one);
  }
}

async function lifted(context) {
  const one = await call(context);
  try {
    const [path] = one.paths.viewers;
    for (const client of path) client.set({ up: { delayMs: 10 }, down: { delayMs: 10, rate: 500_000 } });
    await sleep(context.seconds * 1_000);
    const limitedTo = (await one.watchers[0].call('received', one.sender.streamId)).frameWidth;
    for (const client of path) client.set({ down: { rate: 0 } });
    const lifted = performance.now();
    const back = await until('all of the picture', async () => {
      const { frameWidth } = await one.watchers[0].call('received', one.sender.streamId);
      return frameWidth === VIDEO.width && performance.now() - lifted;
    }, { timeout: 30_000, every: 50 }).catch(() => Infinity);
    return [atMost('all of the picture again', back / 1_000, 's', 10), atMost('width before', limitedTo, 'px', VIDEO.width / 2)];
  } finally {
    await finish(one);
  }
}

async function narrowUplink(context) {
  const one = await call(context, { viewers: 2 });
  try {
    set(one.paths.sender, { delayMs: 10 });
    for (const client of one.paths.sender) client.set({ up: { rate: 300_000 } });
    await sleep(10_000);
    const before = await counters(one);
    await sleep(context.seconds * 1_000);
    const after = await counters(one);
    const seen = [0, 1].map((nth) => between(before, after, nth));
    return [
      atLeast('pictures decoded', Math.min(...seen.map(({ decoded }) => decoded)), '%', 97),
      atMost('time frozen', Math.max(...seen.map(({ frozen }) => frozen)), '%', 1),
      any('freezes', Math.max(...seen.map(({ freezes }) => freezes)), ''), any('width', seen[0].width, 'px'), any('rate', seen[0].kbit, 'kbit/s'),
    ];
  } finally {
    await finish(one);
  }
}

async function twoShare(context) {
  const one = await call(context, { viewers: 2 });
  try {
    for (const client of one.paths.viewers.flat()) client.set({ up: { delayMs: 10 }, down: { delayMs: 10 } });
    const shared = one.cluster.impairer.share(one.paths.viewers.flat(), { rate: 2_000_000 });
    await sleep(20_000);
    const [before, since] = [await counters(one), performance.now()];
    await sleep(context.seconds * 1_000);
    const after = await counters(one);
    const rates = [0, 1].map((nth) => between(before, after, nth).kbit);
    const sum = rates[0] + rates[1];
    return [
      atLeast('the smaller share', 100 * Math.min(...rates) / Math.max(1, sum), '%', 40),
      any('of the rate is used', sum / 20, '%'),
      any('queueing p95', shared.queue.waited(since), 'ms'),
    ];
  } finally {
    await finish(one);
  }
}

async function blackout(context) {
  const one = await call(context, { viewers: 2 });
  try {
    const undisturbed = await counters(one);
    await sleep(5_000);
    const before = await counters(one);
    set(one.paths.viewers[0], { cut: true });
    await sleep(2_000);
    set(one.paths.viewers[0], { cut: false });
    const healed = performance.now();
    const last = (await one.watchers[0].call('received', one.sender.streamId)).framesDecoded;
    const back = await until('a picture again', async () => {
      const { framesDecoded } = await one.watchers[0].call('received', one.sender.streamId);
      return framesDecoded > last && performance.now() - healed;
    }, { timeout: 8_000, every: 20 }).catch(() => Infinity);
    await sleep(context.seconds * 1_000);
    const after = await counters(one);
    const [seen, other] = [between(before, after, 0), between(before, after, 1)];
    const freezesBefore = between(undisturbed, before, 1).freezes;
    return [
      atMost('a picture again', back, 'ms', 1_000),
      atLeast('pictures decoded by others', other.decoded, '%', 97),
      unlessBusy(freezesBefore, atMost('freezes of others', other.freezes, '', 0)),
      any('NACKs', seen.nacks, ''), any('retransmitted', seen.retransmitted, ''), any('key frames asked for', seen.plis, ''), any('key frames', seen.keyFrames, ''),
    ];
  } finally {
    await finish(one);
  }
}

// Down by one, by another one, and up by two, `seconds` times in all: the viewer follows.
async function switched(context) {
  const one = await call(context);
  try {
    const { sender, watchers: [watcher] } = one;
    const shown = () => watcher.call('received', sender.streamId);
    const before = await counters(one);
    let slowest = 0;
    for (let nth = 0; nth < context.seconds; nth += 1) {
      const top = [1, 0, 2][nth % 3];
      await sender.call('activate', [true, top >= 1, top >= 2]);
      const since = performance.now();
      await until(`the picture is ${VIDEO.width >> (2 - top)} pixels wide`, async () => (await shown()).frameWidth === VIDEO.width >> (2 - top), { timeout: 20_000, every: 20 });
      slowest = Math.max(slowest, performance.now() - since);
      const { framesDecoded } = await shown();
      await until('it moves', async () => (await shown()).framesDecoded >= framesDecoded + 5, { timeout: 5_000, every: 20 });
    }
    const after = await counters(one);
    const seen = between(before, after);
    const frozen = 1_000 * (after.received[0].frozen - before.received[0].frozen);
    return [
      // A decoder that is led astray asks for a key frame.
      atMost('key frames asked for', seen.plis, '', 0), atMost('asked for again', seen.nacks, '', 0),
      atMost('mean of freezes', frozen / Math.max(1, seen.freezes), 'ms', 400),
      any('freezes', seen.freezes, ''), any('key frames', seen.keyFrames, ''), any('slowest switch', slowest, 'ms'),
    ];
  } finally {
    await finish(one);
  }
}

async function finish({ cluster, sender, watchers }) {
  for (const person of [sender, ...watchers]) await person.close().catch(() => {});
  await cluster.stop();
}
