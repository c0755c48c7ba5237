import assert from 'node:assert/strict';
import { participant } from './browser.mjs';
import { until } from './wait.mjs';

// Colours that survive the encoder well, far from each other.
export const COLORS = { red: [200, 30, 30], green: [30, 160, 40], blue: [30, 60, 200], yellow: [200, 190, 30] };

export function near(a, b, tolerance = 45) {
  return Boolean(a && b) && a.every((v, i) => Math.abs(v - b[i]) <= tolerance);
}

// Joins `name` to a session in a new page and lets it publish its colour.
export async function enter({ cluster, browser, page, sessionId, name, color = null, role = 'PUBLISHER', publish = true, token = null, options = {} }) {
  const who = await participant(browser, page.url, name);
  const joined = await who.call('join', token ?? await cluster.token(sessionId, { role }), { name, subscribe: options.subscribe ?? true });
  Object.assign(who, { connectionId: joined.connectionId, role: joined.role });
  if (publish) Object.assign(who, await who.call('publish', { color, ...options }));
  return who;
}

// Waits until `watcher` shows `frames` decoded frames of a stream, and gives its statistics.
export async function seen(watcher, streamId, { frames = 30, timeout = 20_000 } = {}) {
  let last;
  try {
    return await until(`${watcher.name} decodes ${frames} frames of ${streamId}`, async () => {
      if (!(await watcher.call('streams')).includes(streamId)) return false;
      last = await watcher.call('received', streamId);
      return last && last.framesDecoded >= frames && last;
    }, { timeout });
  } catch (error) {
    throw new Error(`${error.message}; last: ${JSON.stringify(last)}; page: ${watcher.page.lines.slice(-5).join(' | ')}`);
  }
}

// The whole promise of a call for one direction: frames and sound grow, the cipher is GCM, the picture is the publisher's.
export async function assertReceives(watcher, publisher, { color, audio = true, frames = 30, timeout = 20_000, cipher = /GCM/ } = {}) {
  const first = await seen(watcher, publisher.streamId, { frames, timeout });
  const more = await seen(watcher, publisher.streamId, { frames: first.framesDecoded + 10 });
  if (audio) {
    await until(`${watcher.name} hears ${publisher.name}`, async () => (await watcher.call('received', publisher.streamId)).audioEnergy > first.audioEnergy, { timeout: 10_000 });
  }
  if (watcher.kind === 'chromium' && cipher) assert.match(String(more.srtpCipher), cipher, 'the SRTP cipher');
  if (color) {
    const shown = await until(`${watcher.name} sees the colour of ${publisher.name}`, async () => {
      const stats = await watcher.call('received', publisher.streamId);
      return near(stats.color, color) && stats;
    }, { timeout: 5_000 }).catch(async (error) => {
      throw new Error(`${error.message}: wanted ${color}, shown ${(await watcher.call('received', publisher.streamId)).color}`);
    });
    return shown;
  }
  return more;
}
