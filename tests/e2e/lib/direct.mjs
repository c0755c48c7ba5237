// The cases of quality.mjs between two Chromiums, without a server: what a path lets browsers reach by themselves.
import { impairer } from './impairer.mjs';
import { freeUdpBlock } from './net.mjs';
import { sleep, until } from './wait.mjs';

// What has a target elsewhere has none here: it is what to compare with.
const any = (measure, value, unit) => ({ measure, value, unit, target: '', met: true });

// Two peer connections of one page, of which only the first sends. What it sends passes the proxy upwards.
async function call({ browser, page, video }) {
  const tab = await browser.newPage();
  let proxy = null;
  const close = async () => { await tab.close(); proxy?.close(); };
  try {
    await tab.goto(page.url);
    await tab.evaluate(connect, video);
    const candidate = await tab.evaluate(() => window.tell.candidate);
    const [, , , , address, port] = candidate.candidate.split(' ');
    const listenBase = await freeUdpBlock(1);
    proxy = await impairer({ listenBase, targetBase: Number(port), count: 1, target: address });
    const through = { ...candidate, candidate: candidate.candidate.replace(` ${port} typ`, ` ${listenBase} typ`) };
    await tab.evaluate(async (to) => {
      await window.a.setRemoteDescription({ type: 'answer', sdp: window.b.localDescription.sdp.replace(/a=candidate.*\r\n/g, '') });
      await window.a.addIceCandidate(to);
    }, through);
    const one = { proxy, close, counted: () => tab.evaluate(count) };
    await until('all of the picture', async () => (await one.counted()).width === video.width, { timeout: 20_000 }).catch(() => {});
    await sleep(5_000);
    return one;
  } catch (error) {
    await close();
    throw error;
  }
}

// In the page: connects two peer connections, but for the candidate of the second.
async function connect({ color, width, height, fps, grain }) {
  const [a, b] = [new RTCPeerConnection(), new RTCPeerConnection()];
  const { track } = window.client.paint(color, width, height, fps, grain);
  const sound = (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks()[0];
  const stream = new MediaStream([track, sound]);
  for (const one of [track, sound]) a.addTrack(one, stream);
  b.ontrack = ({ streams }) => {
    const video = document.querySelector('#direct') ?? document.body.appendChild(Object.assign(document.createElement('video'), { id: 'direct', autoplay: true }));
    video.srcObject = streams[0];
  };
  Object.assign(window, { a, b, tell: {} });
  await a.setLocalDescription();
  const gathered = new Promise((resolve) => { b.onicecandidate = ({ candidate }) => (!candidate || (/ udp .* typ host/i.test(candidate.candidate) && candidate.address?.includes('.'))) && resolve(candidate); });
  await b.setRemoteDescription({ type: 'offer', sdp: a.localDescription.sdp.replace(/a=candidate.*\r\n/g, '') });
  await b.setLocalDescription();
  window.tell.candidate = (await gathered).toJSON();
}

// In the page: counters of both ends.
async function count() {
  const all = { frozen: 0, concealed: 0, silentConcealed: 0, audioSamples: 0, framesDecoded: 0, freezes: 0, encoded: 0, width: 0, bytes: 0 };
  for (const s of (await window.b.getStats()).values()) {
    if (s.type !== 'inbound-rtp') continue;
    all.bytes += s.bytesReceived + s.headerBytesReceived;
    if (s.kind === 'video') Object.assign(all, { framesDecoded: s.framesDecoded, frozen: s.totalFreezesDuration, freezes: s.freezeCount, width: s.frameWidth ?? 0 });
    if (s.kind === 'audio') Object.assign(all, { concealed: s.concealedSamples, silentConcealed: s.silentConcealedSamples, audioSamples: s.totalSamplesReceived });
  }
  for (const s of (await window.a.getStats()).values()) if (s.type === 'outbound-rtp' && s.kind === 'video') all.encoded = s.framesEncoded;
  return { ...all, at: performance.now() };
}

function between(before, after) {
  const grown = (name) => after[name] - before[name];
  const seconds = grown('at') / 1_000;
  return [
    any('pictures decoded', 100 * grown('framesDecoded') / Math.max(1, grown('encoded')), '%'),
    any('time frozen', 100 * grown('frozen') / seconds, '%'),
    any('sound concealed', 100 * (grown('concealed') - grown('silentConcealed')) / Math.max(1, grown('audioSamples')), '%'),
    any('freezes', grown('freezes'), ''), any('width', after.width, 'px'), any('rate', grown('bytes') * 8 / 1_000 / seconds, 'kbit/s'),
  ];
}

async function during(context, work) {
  const one = await call(context);
  try {
    return await work(one, async (seconds) => {
      const before = await one.counted();
      await sleep(seconds * 1_000);
      return between(before, await one.counted());
    });
  } finally {
    await one.close();
  }
}

export const unimpaired = (context) => during(context, (_, measure) => measure(context.seconds));

export const lossy = (context, conditions) => during(context, async ({ proxy }, measure) => {
  proxy.set({ up: { delayMs: 30 }, down: { delayMs: 30 } });
  await sleep(3_000);
  proxy.set({ up: conditions, down: conditions });
  await sleep(2_000);
  return measure(context.seconds);
});

export const limited = (context, kbit) => during(context, async ({ proxy }, measure) => {
  proxy.set({ up: { delayMs: 10 }, down: { delayMs: 10 } });
  await sleep(3_000);
  proxy.set({ up: { rate: kbit * 1_000 } });
  await sleep(3_000);
  const since = performance.now();
  const seen = await measure(context.seconds);
  return [...seen, any('queueing p95', Math.max(...proxy.clients.map(({ up }) => up.queue.waited(since))), 'ms')];
});

export const lifted = (context) => during(context, async ({ proxy, counted }) => {
  proxy.set({ up: { delayMs: 10, rate: 500_000 }, down: { delayMs: 10 } });
  await sleep(context.seconds * 1_000);
  const { width } = await counted();
  proxy.set({ up: { rate: 0 } });
  const since = performance.now();
  const back = await until('all of the picture', async () => (await counted()).width === context.video.width && performance.now() - since, { timeout: 60_000, every: 50 }).catch(() => Infinity);
  return [any('all of the picture again', back / 1_000, 's'), any('width before', width, 'px')];
});

export const blackout = (context) => during(context, async ({ proxy, counted }) => {
  proxy.set({ up: { cut: true }, down: { cut: true } });
  await sleep(2_000);
  proxy.set({ up: { cut: false }, down: { cut: false } });
  const since = performance.now();
  const last = (await counted()).framesDecoded;
  const back = await until('a picture again', async () => (await counted()).framesDecoded > last && performance.now() - since, { timeout: 8_000, every: 20 }).catch(() => Infinity);
  return [any('a picture again', back, 'ms')];
});
