// What every scenario needs: nodes in namespaces of their own, a receiver of webhooks, and ways to watch.
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { paperParticipant } from '../lib/paper.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { webhookReceiver } from '../lib/webhook.mjs';

// The master's default: after so much silence a node has crashed.
export const SILENCE_MS = 3_000;
// And after so much it gets nothing new.
export const SUSPECT_MS = 1_000;

// A cluster of small nodes, and a receiver of its webhooks.
export async function startScene({ nodes = 5, isolated = true, media = {}, limits = {}, master = {}, ...others } = {}) {
  const hook = await webhookReceiver();
  try {
    const cluster = await startCluster({
      nodes, workers: 1, isolated, ...others, media: { arena: '16MiB', bursts: '8MiB', ...media }, limits,
      master: { webhook_endpoint: hook.url, webhook_allow_internal: true, ...master },
    });
    const close = async () => { await cluster.stop(); await hook.close(); };
    return { cluster, hook, close };
  } catch (error) {
    await hook.close();
    throw error;
  }
}

// The same with a browser.
export async function startWorld(options) {
  const [browser, page] = [await launchChromium(), await servePage()];
  const end = async () => { await browser.close(); page.close(); };
  try {
    const { cluster, hook, close } = await startScene(options);
    return { cluster, hook, browser, page, close: async () => { await end(); await close(); } };
  } catch (error) {
    await end();
    throw error;
  }
}

export async function nodeOf(cluster, sessionId) {
  const { body } = await cluster.rest('GET', `/sessions/${sessionId}`);
  return cluster.nodes.find((n) => n.id === body.mediaNodeId);
}

// How many sessions each node has, in the order of the nodes.
export async function spread(cluster, which = () => true) {
  const { body } = await cluster.rest('GET', '/sessions');
  const on = (node) => body.content.filter((s) => s.mediaNodeId === node.id && which(s.sessionId)).length;
  return cluster.nodes.map(on);
}

// A session with one participant on paper; one after the other they show where sessions go.
export async function paperSession(cluster, sessionId, { publish = false } = {}) {
  const who = await paperParticipant(cluster, sessionId);
  try {
    if (publish) await who.publish();
    return who;
  } catch (error) {
    who.close();
    throw error;
  }
}

// Two people in browsers, of whom the second watches the first.
export async function call({ cluster, browser, page }, sessionId, color) {
  const a = await enter({ cluster, browser, page, sessionId, name: `${sessionId}-a`, color });
  const b = await enter({ cluster, browser, page, sessionId, name: `${sessionId}-b`, publish: false });
  await seen(b, a.streamId);
  return { sessionId, a, b, node: await nodeOf(cluster, sessionId), close: () => Promise.all([a.close(), b.close()]) };
}

// Calls on two different nodes; where the second lands is the master's choice, so it is tried a few times.
export async function twoCalls(world) {
  const one = await call(world, 'one', COLORS.red);
  for (let n = 0; n < 6; n += 1) {
    const two = await call(world, `two${n}`, COLORS.blue);
    if (two.node.id !== one.node.id) return [one, two];
    await two.a.call('leave');
    await two.b.call('leave');
    await two.close();
  }
  throw new Error('all sessions go to one node');
}

export const endsOf = (who) => who.call('eventsOf', 'sessionDisconnected');
export const toldOf = (who, reason, timeout) => until(`${who.name} is told: ${reason}`, async () => (await endsOf(who)).some((e) => e.reason === reason), { timeout });

// Watches a stream until the page is closed, or until `stop`, which tells { frames, still }: pictures decoded, and for how long at most there was no new one.
export function follow(watcher, streamId) {
  let [running, first, last, at, still] = [true, null, null, 0, 0];
  const watching = (async () => {
    while (running && !watcher.page?.isClosed()) {
      const frames = (await watcher.call('received', streamId).catch(() => null))?.framesDecoded;
      const now = Date.now();
      if (frames !== undefined && frames !== last) {
        if (last !== null) still = Math.max(still, now - at);
        [first, last, at] = [first ?? frames, frames, now];
      }
      await sleep(100);
    }
    if (last !== null) still = Math.max(still, Date.now() - at);
  })();
  return { stop: async () => { running = false; await watching; return { frames: (last ?? 0) - (first ?? 0), still }; } };
}

// Nodes by what the master thinks of them.
export const inState = async (cluster, state) => (await cluster.masterMetrics()).sum('ringcast_master_nodes', { state });

// How long after `since` a probe said yes.
export async function millisUntil(what, probe, { since = Date.now(), timeout = 15_000, every = 10 } = {}) {
  await until(what, probe, { timeout, every });
  return Date.now() - since;
}

export const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
export const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

// A steady flow of new sessions until the cluster stops, or until `stop`: what came of each.
export function inflow(cluster, { every = 200, stay = 60_000, name = 'flow', publish = true } = {}) {
  const outcomes = [];
  let running = true;
  const leaving = new Set();
  const pending = [];
  const flowing = (async () => {
    for (let n = 0; running && !cluster.stopped; n += 1) {
      const sessionId = `${name}${n}`;
      const began = Date.now();
      pending.push(paperSession(cluster, sessionId, { publish }).then(
        (who) => {
          outcomes.push({ sessionId, began, took: Date.now() - began });
          leaving.add(who);
          setTimeout(() => { leaving.delete(who); who.close(); }, stay).unref();
        },
        (error) => outcomes.push({ sessionId, began, took: Date.now() - began, error: error.message }),
      ));
      await sleep(every);
    }
  })();
  return {
    outcomes,
    stop: async () => {
      running = false;
      await flowing;
      await Promise.all(pending);
      return outcomes;
    },
    leave: () => { for (const who of leaving) who.close(); },
  };
}
