// The master is killed at any moment, again and again, while it is asked.
import assert from 'node:assert/strict';
import { loneMaster } from '../lib/master.mjs';
import { sleep } from '../lib/wait.mjs';
import { once, settledOrder, webhookReceiver } from '../lib/webhook.mjs';
import { Ledger, askAll, joinAll, missing, statesOf } from './ledger.mjs';
import { median, most } from './scene.mjs';

export const name = 'killed';
export const what = 'kill -9 at any moment loses nothing that was answered with success';

export async function run({ short, figure, log }) {
  const times = short ? 15 : 250;
  const hook = await webhookReceiver();
  // Who joined stays in while this runs, whether its client comes back or not.
  const master = await loneMaster(['--webhook-endpoint', hook.url, '--webhook-allow-internal', '--webhook-backlog-max', '10000000', '--reconnect-grace', '10m', '--sockets-per-address-max', '100000']);
  try {
    const ledger = new Ledger();
    let joined = [];
    const all = [];
    const starts = [];
    // What is lost stays lost after the next death, and counts once.
    const lost = new Set();
    const look = (states, when) => {
      const fresh = ledger.wrong(states).filter(({ key }) => !lost.has(key));
      for (const { key, is, may } of fresh.slice(0, 5)) log(`${when}: ${key} is ${is}, not ${may.join(' or ')}`);
      for (const { key } of fresh) lost.add(key);
    };
    for (let n = 0; n < times; n += 1) {
      const began = Date.now();
      await master.launch();
      starts.push(Date.now() - began);
      if (n > 0) look(await statesOf(master.rest), `after death ${n}`);
      for (const one of await missing(master.rest, joined)) { log(`after death ${n}: ${one} is missing`); lost.add(one); }
      const asked = askAll(master.rest, ledger, `k${n}`);
      const joining = joinAll(master, `j${n}`);
      await sleep(Math.random() * 150);
      await master.kill();
      await asked;
      joined = await joining;
      all.push(...joined);
    }
    await master.launch();
    const states = await statesOf(master.rest);
    look(states, `after death ${times}`);
    for (const one of await missing(master.rest, all)) { log(`at the end ${one} is missing`); lost.add(one); }
    assert.equal((await missing(master.rest, [{ session: 'nobody', connection: 'con_nobody', stream: null }])).length, 1, 'who is not in is missed');
    // This would have been noticed: of what nobody was answered yet either may be.
    const isMissed = (key) => { const without = new Map(states); without.delete(key); return ledger.wrong(without).some((one) => one.key === key); };
    assert.ok([...states.keys()].some((key) => key.startsWith('session') && isMissed(key)), 'a lost session is found');
    // Whatever was answered is told, and in its order.
    const { twice, disordered, missing: holes } = await settledOrder(hook, 60_000);
    const told = (event, sessionId) => tellings.has(`${event} ${sessionId}`);
    const tellings = new Set(once(hook.events).map((one) => `${one.event} ${one.sessionId}`));
    const untold = [...ledger.changes].filter(([key]) => key.startsWith('session ')).flatMap(([key, changes]) => {
      const id = key.slice('session '.length);
      const done = changes.filter((one) => one.done !== null);
      return done.map((one) => [one.state === null ? 'sessionDestroyed' : 'sessionCreated', id]).filter(([event]) => !told(event, id));
    });
    untold.push(...all.filter(({ session }) => !told('participantJoined', session)).map(({ session }) => ['participantJoined', session]));
    assert.ok(!told('sessionCreated', 'nobody'), 'what was not told is missed');
    for (const [event, id] of untold.slice(0, 5)) log(`${event} of ${id} was never told`);
    assert.deepEqual(disordered.slice(0, 5), []);
    log(`${times} deaths, ${ledger.answered()} changes answered with success, ${all.length} people in, ${hook.events.length} events, ${twice} of them twice`);
    figure('people who came in', all.length, '');
    figure('events told', hook.events.length - twice, '');
    figure('events lost', untold.length + holes, '', { target: '0', met: untold.length + holes === 0 });
    figure('deaths', times, '');
    figure('changes answered with success', ledger.answered(), '');
    figure('changes lost', lost.size, '', { target: '0', met: lost.size === 0 });
    figure('start until it answers, median', median(starts), 'ms');
    figure('start until it answers, most', most(starts), 'ms');
  } finally {
    await master.close();
    await hook.close();
  }
}
