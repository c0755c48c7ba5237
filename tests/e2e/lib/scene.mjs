// A small cluster on an ordinary afternoon, for pictures: three nodes, calls that run, people who come and go, one who may not.
import dgram from 'node:dgram';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { launchChromium, servePage } from './browser.mjs';
import { COLORS, enter, seen } from './call.mjs';
import { startCluster } from './cluster.mjs';
import { paperParticipant } from './paper.mjs';
import { startPrometheus } from './prometheus_server.mjs';
import { rpcSocket } from './rpc.mjs';
import { sleep, until } from './wait.mjs';
import { webhookReceiver } from './webhook.mjs';

const { red, green, blue, yellow } = COLORS;
const [TEACHER, LISTENER] = [{ width: 960, height: 540, fps: 15, simulcast: true }, { publish: false }];
// Who is in which call, and what they send.
const CALLS = {
  'physics-101': [['Ada Keller', { color: blue, options: TEACHER }], ['Milo Brandt', LISTENER], ['Noor Haddad', LISTENER]],
  'design-review': [['Ines Costa', { color: red }], ['Tom Okafor', { color: green }]],
  'board-meeting': [['Lena Vogt', { color: yellow }], ['Raj Patel', LISTENER]],
};
const PASSERS_BY = ['helpdesk-2041', 'interview-berlin', 'standup', 'helpdesk-2042', 'yoga', 'choir', 'helpdesk-2043'];

// Begins it: { cluster, prometheus, browser, people, stop }.
export async function startScene() {
  const undo = []; // what is to be stopped, last first
  const scene = { people: {}, stop: async () => { for (const step of undo.splice(0).reverse()) await step(); } };
  try {
    const hook = await webhookReceiver();
    undo.push(hook.close);
    const page = await servePage();
    undo.push(() => page.close());
    scene.browser = await launchChromium();
    undo.push(scene.browser.close);
    const records = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-records-'));
    undo.push(() => fs.rmSync(records, { recursive: true, force: true }));
    scene.cluster = await startCluster({ nodes: 3, workers: 2, master: { cdr_path: records, load_interval: '1s', load_strategy: 'sessions', webhook_endpoint: hook.url, webhook_allow_internal: true } });
    undo.push(scene.cluster.stop);
    scene.prometheus = await startPrometheus(scene.cluster, { name: 'frankfurt' });
    undo.push(scene.prometheus.stop);
    let end;
    const over = { yet: false, soon: new Promise((resolve) => { end = resolve; }) };
    const coming = comeAndGo(scene.cluster, over);
    undo.push(async () => { over.yet = true; end(); await coming; });
    for (const [sessionId, members] of Object.entries(CALLS)) {
      for (const [name, how] of members) scene.people[name] = await enter({ cluster: scene.cluster, browser: scene.browser, page, sessionId, name, ...how });
    }
    await seen(scene.people['Milo Brandt'], scene.people['Ada Keller'].streamId);
    // Somebody shuts their laptop.
    const guest = await enter({ cluster: scene.cluster, browser: scene.browser, page, sessionId: 'design-review', name: 'Guest', color: blue });
    await seen(scene.people['Tom Okafor'], guest.streamId);
    await guest.page.evaluate(() => window.client.ownConnection().close());
    await until('the node has told the master', async () => (await scene.cluster.masterMetrics()).sum('ringcast_master_transports_closed_total') > 0, { timeout: 10_000 });
    await guest.close();
    return scene;
  } catch (error) {
    await scene.stop();
    throw error;
  }
}

// People on paper, a dozen at a time; some have a token that is none, and a stranger sends to nodes what nobody asked for.
async function comeAndGo(cluster, over) {
  const stranger = dgram.createSocket('udp4');
  const visits = new Set();
  for (let n = 0; !over.yet; n += 1) {
    const visit = drop(cluster, PASSERS_BY[n % PASSERS_BY.length], 1000 * (10 + 5 * Math.sin(n)), over).finally(() => visits.delete(visit));
    visits.add(visit);
    if (n % 8 === 7) {
      const none = await rpcSocket(cluster, 'standup');
      await none.ask('joinRoom', { token: 'tok_nonsense', session: 'standup' });
      none.close();
      stranger.send('nonsense', cluster.nodes[n % 3].mediaPorts[0], cluster.nodes[n % 3].address);
    }
    await sleep(800 + 400 * Math.sin(n / 5));
  }
  await Promise.all(visits);
  stranger.close();
}

// Somebody publishes sound on paper for so many milliseconds, or until it is over.
async function drop(cluster, session, millis, over) {
  const who = await paperParticipant(cluster, session, { name: 'guest' }).catch(() => null);
  if (who === null) return; // the last one has just left, and the session with them
  await who.publish();
  await Promise.race([sleep(millis), over.soon]);
  await who.call('leaveRoom', {});
  who.close();
}
