// The power goes at any moment: the disk has what was synced, and any part of what was written since.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { STRACE, afterPowerCut, operations } from '../lib/disk.mjs';
import { loneMaster } from '../lib/master.mjs';
import { sleep } from '../lib/wait.mjs';
import { Ledger, askAll, statesOf } from './ledger.mjs';

export const name = 'power';
export const what = 'a power cut at any moment loses nothing that was answered with success';

export async function run({ short, figure, log }) {
  const [cuts, seconds] = short ? [12, 3] : [300, 20];
  const master = await loneMaster();
  try {
    const trace = path.join(master.dir, 'trace');
    await master.launch({ before: STRACE(trace) });
    const ledger = new Ledger();
    const asked = askAll(master.rest, ledger, 'p');
    await sleep(seconds * 1_000);
    // strace passes on what it is sent, and both end.
    const pid = Number(fs.readFileSync(`/proc/${master.child.pid}/task/${master.child.pid}/children`, 'utf8').trim().split(' ')[0]);
    process.kill(pid, 'SIGKILL');
    await master.ended;
    await asked;
    const all = await operations(trace, master.data);
    const [syncs, writes] = [all.filter((one) => one.sync).length, all.filter((one) => one.write).length];
    log(`${ledger.answered()} changes answered, ${writes} writes, ${syncs} syncs`);
    assert.ok(syncs > 10 && writes > syncs, 'it was written and synced');
    // Not while the file is made.
    const [first, last] = [ledger.first(), all.at(-1).at];
    let [lost, broken] = [0, 0];
    for (let n = 0; n < cuts; n += 1) {
      const at = first + (last - first) * Math.random();
      const states = await after(master, afterPowerCut(all, at, Math.random), n);
      const wrong = ledger.wrong(states, at);
      assert.deepEqual(wrong.slice(0, 5), [], `cut ${n}, ${((at - first) / 1_000).toFixed(3)} s after the start, ${ledger.answered(at)} changes answered`);
      lost += wrong.length;
    }
    // A disk that lies about syncs would have been noticed.
    const lying = all.filter((one) => !one.sync);
    for (let n = 0; n < 20 && broken === 0; n += 1) {
      const at = first + (last - first) * (0.5 + 0.5 * Math.random());
      const states = await after(master, afterPowerCut(lying, at, Math.random), `lie${n}`).catch(() => null);
      if (states === null || ledger.wrong(states, at).length > 0) broken += 1;
    }
    assert.ok(broken > 0, 'without syncs something is lost');
    figure('power cuts', cuts, '');
    figure('changes answered with success', ledger.answered(), '');
    figure('changes lost', lost, '', { target: '0', met: lost === 0 });
  } finally {
    await master.close();
  }
}

// What a master knows that starts on these files.
async function after(master, files, n) {
  const data = path.join(master.dir, `cut${n}`);
  fs.mkdirSync(data);
  for (const [file, bytes] of files) if (file.endsWith('.db') || file.endsWith('-wal')) fs.writeFileSync(path.join(data, file), bytes);
  try {
    await master.launch({ data, ready: '/config/openvidu-version' });
    return await statesOf(master.rest);
  } finally {
    await master.kill();
    fs.rmSync(data, { recursive: true, force: true });
  }
}
