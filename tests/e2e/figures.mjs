// The figures of a call, for people who compare builds:  node figures.mjs   (RINGCAST_BIN names the folder of the binaries)
//  - milliseconds from connect() to the first decoded frame of a remote stream, 20 times
//  - the server's share of publishVideo and receiveVideoFrom, from the master's own histogram
//  - CPU time of the node per forwarded packet while four people talk
//  - memory of the node per subscriber transport
import { launchChromium, participant, servePage } from './lib/browser.mjs';
import { COLORS, enter, seen } from './lib/call.mjs';
import { startCluster } from './lib/cluster.mjs';
import { sleep, until } from './lib/wait.mjs';

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const browser = await launchChromium();
const page = await servePage();
const cluster = await startCluster({ driver: process.env.RINGCAST_DRIVER ?? 'auto' });
try {
  await joining();
  await shares();
  await cpu();
  await memory();
} finally {
  await browser.close();
  page.close();
  await cluster.stop();
}

async function joining() {
  const a = await enter({ cluster, browser, page, sessionId: 'first-frame', name: 'a', color: COLORS.red });
  await sleep(3_000);
  const millis = [];
  for (let n = 0; n < 20; n += 1) {
    const b = await participant(browser, page.url, `b${n}`);
    await b.call('join', await cluster.token('first-frame'), { name: `b${n}` });
    const stats = await seen(b, a.streamId, { frames: 1 });
    const shown = stats.firstFrameAt || (await until('a frame is shown', async () => (await b.call('received', a.streamId)).firstFrameAt, { every: 10 }));
    millis.push(shown - (await b.call('connectCalledAt')));
    await b.call('leave');
    await b.close();
  }
  console.log(`connect() to the first decoded frame, ms: median ${median(millis).toFixed(0)}, maximum ${Math.max(...millis).toFixed(0)} of ${millis.length}`);
  await a.close();
}

async function shares() {
  const a = await enter({ cluster, browser, page, sessionId: 'shares', name: 'a', publish: false });
  for (let n = 0; n < 20; n += 1) {
    await a.call('publish', { color: COLORS.red });
    await a.call('unpublish');
  }
  await a.close();
  const metrics = await cluster.masterMetrics();
  for (const method of ['publishVideo', 'prepareReceiveVideoFrom', 'receiveVideoFrom', 'joinRoom']) {
    const sum = metrics.sum('ringcast_master_rpc_duration_seconds_sum', { method });
    const count = metrics.sum('ringcast_master_rpc_duration_seconds_count', { method });
    console.log(`${method}: ${((1e3 * sum) / count).toFixed(2)} ms mean of ${count}, in the server`);
  }
}

async function cpu() {
  const people = [];
  for (const [name, color] of Object.entries(COLORS)) people.push(await enter({ cluster, browser, page, sessionId: 'cpu', name, color, options: { width: 640, height: 480, fps: 20 } }));
  await seen(people[3], people[0].streamId, { frames: 60 });
  const read = async () => {
    const metrics = await cluster.nodes[0].metrics();
    return { cpu: metrics.sum('ringcast_node_cpu_seconds_total'), out: metrics.sum('ringcast_node_packets_total', { direction: 'out', kind: 'rtp' }) };
  };
  const start = await read();
  await sleep(20_000);
  const end = await read();
  console.log(`four people, 640x480: ${((end.out - start.out) / 20).toFixed(0)} packets/s forwarded, ${(((end.cpu - start.cpu) / (end.out - start.out)) * 1e9).toFixed(0)} ns of node CPU each (nearly idle: wake-ups dominate)`);
  for (const who of people) await who.close();
}

async function memory() {
  const a = await enter({ cluster, browser, page, sessionId: 'memory', name: 'a', color: COLORS.red });
  const watchers = [];
  const add = async () => {
    const b = await enter({ cluster, browser, page, sessionId: 'memory', name: 'b', publish: false });
    await seen(b, a.streamId, { frames: 1 });
    watchers.push(b);
  };
  await add();
  await sleep(2_000);
  const before = await cluster.nodes[0].residentMemory();
  const count = 12;
  for (let n = 0; n < count; n += 1) await add();
  await sleep(2_000);
  const after = await cluster.nodes[0].residentMemory();
  console.log(`memory per subscriber transport: ${((after - before) / count / 1024).toFixed(1)} KiB (resident, ${count} more subscribers with keys)`);
  for (const who of [a, ...watchers]) await who.close();
}
