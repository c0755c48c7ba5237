// The master is killed at any moment, again and again, while it is asked.
import assert from 'node:assert/strict';
import { loneMaster } from '../lib/master.mjs';
import { sleep } from '../lib/wait.mjs';
import { Ledger, askAll, statesOf } from './ledger.mjs';
import { median, most } from './scene.mjs';

export const name = 'killed';
export const what = 'kill -9 at any moment loses nothing that was answered with success';

export async function run({ short, figure, log }) {
  const times = short ? 15 : 250;
  const master = await loneMaster();
  try {
    const ledger = new Ledger();
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
      const asked = askAll(master.rest, ledger, `k${n}`);
      await sleep(Math.random() * 150);
      await master.kill();
      await asked;
    }
    await master.launch();
    const states = await statesOf(master.rest);
    look(states, `after death ${times}`);
    // This would have been noticed.
    const [key] = [...states.keys()].filter((one) => one.startsWith('session'));
    states.delete(key);
    assert.notDeepEqual(ledger.wrong(states), [], 'a lost session is found');
    log(`${times} deaths, ${ledger.answered()} changes answered with success`);
    figure('deaths', times, '');
    figure('changes answered with success', ledger.answered(), '');
    figure('changes lost', lost.size, '', { target: '0', met: lost.size === 0 });
    figure('start until it answers, median', median(starts), 'ms');
    figure('start until it answers, most', most(starts), 'ms');
  } finally {
    await master.close();
  }
}
