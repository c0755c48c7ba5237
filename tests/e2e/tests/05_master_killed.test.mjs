// The master is killed while media flow: frames keep being decoded. The control: without the node they stop.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { sleep } from '../lib/wait.mjs';

let browser, page;
before(async () => { browser = await launchChromium(); page = await servePage(); });
after(async () => { await browser?.close(); page?.close(); });

test('media need no master', async () => {
  const cluster = await startCluster({});
  try {
    const a = await enter({ cluster, browser, page, sessionId: 'orphans', name: 'a', color: COLORS.red });
    const b = await enter({ cluster, browser, page, sessionId: 'orphans', name: 'b', color: COLORS.green });
    await seen(b, a.streamId);
    await seen(a, b.streamId);
    await cluster.killMaster();
    let last = (await b.call('received', a.streamId)).framesDecoded;
    for (let second = 0; second < 12; second += 1) {
      await sleep(1_000);
      const now = (await b.call('received', a.streamId)).framesDecoded;
      assert.ok(now - last >= 7, `second ${second + 1} after the kill: ${now - last} frames`);
      last = now;
    }
    const energy = (await b.call('received', a.streamId)).audioEnergy;
    await sleep(1_500);
    assert.ok((await b.call('received', a.streamId)).audioEnergy > energy, 'sound goes on too');
    await cluster.nodes[0].kill();
    await sleep(1_000);
    last = (await b.call('received', a.streamId)).framesDecoded;
    await sleep(2_000);
    assert.equal((await b.call('received', a.streamId)).framesDecoded, last, 'the control: without the node nothing arrives');
    await a.close(); await b.close();
  } finally {
    await cluster.stop();
  }
});
