// Clients that are no current browsers: the least that WebRTC demands of SRTP is enough, and less than that is refused by name.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter, near } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { opensslPeer, withWrongEnd } from '../lib/dtls.mjs';
import { nativeParticipant } from '../lib/native.mjs';
import { rpcSocket } from '../lib/rpc.mjs';
import { until } from '../lib/wait.mjs';

// The profiles of all transports that were ever connected, as the nodes told the master.
const profiles = (cluster) => [...cluster.masterLog().matchAll(/transport connected.*srtp_profile="?(\w+)/g)].map((m) => m[1]);

describe('a client that knows AES_CM_128_HMAC_SHA1_80 alone', () => {
  let browser, page;
  before(async () => { browser = await launchChromium(); page = await servePage(); });
  after(async () => { await browser?.close(); page?.close(); });

  for (const mediaServer of ['mediasoup', 'kurento']) {
    test(`and Chromium see each other (${mediaServer})`, async () => {
      const cluster = await startCluster({ workers: 1, mediaServer });
      let native;
      try {
        native = await nativeParticipant({ cluster, sessionId: 'old' });
        const chromium = await enter({ cluster, browser, page, sessionId: 'old', name: 'chromium', color: COLORS.blue });
        Object.assign(native, await native.publish(COLORS.red));
        await native.subscribe(chromium.streamId);
        const received = () => native.received(chromium.streamId);
        await until('the native client decodes frames', async () => (await received()).frames > 30);
        await until('and they are the picture', async () => near((await received()).color, COLORS.blue), { timeout: 5_000 });
        // Silence has no energy. That Chromium's own end is GCM is part of the check.
        await assertReceives(chromium, native, { color: COLORS.red, audio: false });
        assert.ok((await chromium.call('received', native.streamId)).audioPackets > 20, 'sound comes as well');
        const [old, current] = ['SRTP_AES128_CM_HMAC_SHA1_80', 'SRTP_AEAD_AES_256_GCM'];
        assert.deepEqual(profiles(cluster).sort(), [current, current, old, old], 'two transports each, and each the best that it can');
        await chromium.close();
      } finally {
        native?.close();
        await cluster.stop();
      }
    });
  }
});

describe('a client that offers', () => {
  let cluster;
  before(async () => { cluster = await startCluster({ workers: 1 }); });
  after(() => cluster?.stop());

  async function publishWith(offered, how = {}) {
    const rpc = await rpcSocket(cluster, 'profiles');
    const peer = await opensslPeer();
    await rpc.join(await cluster.token('profiles'), offered);
    const { sdpAnswer } = await rpc.call('publishVideo', { sdpOffer: peer.offer, doLoopback: false, hasAudio: true, hasVideo: false, audioActive: true });
    await peer.connect(sdpAnswer, offered, how);
    return { rpc, peer, close: () => { rpc.close(); peer.close(); } };
  }

  const closed = async (reason) => (await cluster.nodes[0].metrics()).sum('ringcast_node_transports_closed_total', { reason });

  for (const [offered, agreed] of [['SRTP_AES128_CM_SHA1_80', 'SRTP_AES128_CM_HMAC_SHA1_80'], ['SRTP_AES128_CM_SHA1_32:SRTP_AEAD_AES_128_GCM', 'SRTP_AEAD_AES_128_GCM']]) {
    test(`${offered} gets ${agreed}`, async () => {
      const { peer, close } = await publishWith(offered);
      try {
        await until('it is connected', () => profiles(cluster).includes(agreed), { timeout: 6_000 }).catch((e) => { throw new Error(`${e.message}\n${peer.output}\n${cluster.masterLog()}`); });
      } finally {
        close();
      }
    });
  }

  test('nothing that we speak is closed, and the reason is named', async () => {
    const { peer, close } = await publishWith('SRTP_AES128_CM_SHA1_32');
    try {
      await until('the transport is closed', async () => (await closed('no_common_srtp_profile')) === 1, { timeout: 6_000 }).catch((e) => { throw new Error(`${e.message}\n${peer.output}\n${cluster.masterLog()}`); });
      assert.match(cluster.masterLog(), /no SRTP protection profile in common.*state="closed" cause="noCommonSrtpProfile"/);
    } finally {
      close();
    }
  });

  const [CERTIFICATE_VERIFY, NO_SUCH_MESSAGE] = [15, 99];
  const broken = [
    ['no cipher suite that we have', { words: ['-cipher', 'ECDHE-ECDSA-AES256-SHA'] }, 'noCommonCipherSuite'],
    ['no group that we have', { words: ['-groups', 'P-521'] }, 'noCommonCipherSuite'],
    ['no certificate', { certified: false }, 'handshakeFailed'],
    ['a signature that changes on its way', { change: (datagram) => withWrongEnd(datagram, CERTIFICATE_VERIFY) }, 'handshakeFailed'],
    ['nothing wrong', { change: (datagram) => withWrongEnd(datagram, NO_SUCH_MESSAGE) }, null],
  ];
  for (const [what, how, cause] of broken) {
    test(`${what}: ${cause ?? 'the control, it is connected'}`, async () => {
      const { rpc: { connectionId }, peer, close } = await publishWith('SRTP_AEAD_AES_128_GCM', how);
      try {
        const found = await until('how it stands', async () => {
          const { body } = await cluster.rest('GET', `/sessions/profiles/connection/${connectionId}`);
          const transport = body.publishers[0]?.transport;
          return ['closed', 'connected'].includes(transport?.state) && transport;
        }, { timeout: 6_000 }).catch((e) => { throw new Error(`${e.message}\n${peer.output}\n${cluster.masterLog()}`); });
        assert.deepEqual([found.state, found.cause], cause ? ['closed', cause] : ['connected', null]);
        if (!cause) return;
        const { body: { transportFailures } } = await cluster.rest('GET', '/sessions/profiles');
        const kept = transportFailures.find((one) => one.connectionId === connectionId);
        assert.equal(kept?.cause, cause, 'and it is kept');
        assert.ok(cluster.masterLog().split('\n').some((line) => line.includes(`connection=${connectionId}`) && line.includes(`cause="${cause}"`)), 'in the log');
      } finally {
        close();
      }
    });
  }
});
