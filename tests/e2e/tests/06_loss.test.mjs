// Two percent of the packets are lost both ways: NACK and RTX keep the frame rate. The control: with NACK off they don't.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { sleep } from '../lib/wait.mjs';

let browser, page;
before(async () => { browser = await launchChromium(); page = await servePage(); });
after(async () => { await browser?.close(); page?.close(); });

const SECONDS = 12;

async function frameRateUnderLoss({ nack }) {
  const cluster = await startCluster({ impaired: true, faults: nack ? [] : ['no-nack'] });
  try {
    const a = await enter({ cluster, browser, page, sessionId: 'lossy', name: 'a', color: COLORS.red, options: { fps: 20, width: 640, height: 480 } });
    const b = await enter({ cluster, browser, page, sessionId: 'lossy', name: 'b', publish: false });
    await seen(b, a.streamId, { frames: 40 });
    const rate = async () => {
      const [start, sentStart, at] = [await b.call('received', a.streamId), await a.call('sent'), Date.now()];
      await sleep(SECONDS * 1_000);
      const [end, sentEnd] = [await b.call('received', a.streamId), await a.call('sent')];
      const seconds = (Date.now() - at) / 1_000;
      return { decoded: (end.framesDecoded - start.framesDecoded) / seconds, encoded: (sentEnd.framesEncoded - sentStart.framesEncoded) / seconds, end, sentEnd };
    };
    cluster.impairer.set({ up: { loss: 0.02 }, down: { loss: 0.02 } });
    const result = await rate();
    // Few packets are pictures, and of those one in fifty is lost: chance may want a little longer.
    const asked = ({ nacks, retransmitted }) => nacks > 0 && retransmitted > 0;
    for (let second = 0; nack && second < 30 && !(asked(result.sentEnd) && asked(result.end)); second++) {
      await sleep(1_000);
      [result.end, result.sentEnd] = [await b.call('received', a.streamId), await a.call('sent')];
    }
    const metrics = await cluster.nodes[0].metrics();
    const dropped = cluster.impairer.dropped;
    await a.close(); await b.close();
    return { ...result, metrics, dropped, ratio: result.decoded / result.encoded };
  } finally {
    await cluster.stop();
  }
}

test('2 % loss both ways: above 90 % of the frame rate, by NACK and RTX', async (t) => {
  const { ratio, decoded, encoded, end, sentEnd, dropped } = await frameRateUnderLoss({ nack: true });
  t.diagnostic(`decoded ${decoded.toFixed(1)} of ${encoded.toFixed(1)} frames/s; lost up ${dropped.up}, down ${dropped.down}; NACKs by the subscriber ${end.nacks}, retransmitted to it ${end.retransmitted}; NACKs to the publisher ${sentEnd.nacks}, retransmitted by it ${sentEnd.retransmitted}`);
  assert.ok(dropped.up > 5 && dropped.down > 5, 'packets were lost in both directions');
  assert.ok(end.nacks > 0 && end.retransmitted > 0, 'the subscriber asked and got');
  assert.ok(sentEnd.nacks > 0 && sentEnd.retransmitted > 0, 'the publisher was asked and sent again');
  assert.ok(ratio > 0.9, `decoded ${decoded.toFixed(1)} of ${encoded.toFixed(1)} frames per second`);
});

test('the control: with NACK switched off the same path fails', async (t) => {
  const { ratio, decoded, encoded, end, sentEnd } = await frameRateUnderLoss({ nack: false });
  t.diagnostic(`decoded ${decoded.toFixed(1)} of ${encoded.toFixed(1)} frames/s without NACK`);
  assert.equal(end.retransmitted, 0);
  assert.equal(sentEnd.nacks, 0); // what it still "retransmits" are probes of its bandwidth
  assert.ok(ratio <= 0.9, `decoded ${decoded.toFixed(1)} of ${encoded.toFixed(1)} frames per second although nothing was sent again`);
});
