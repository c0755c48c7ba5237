// Firefox publishes to Chromium and Chromium to Firefox, in both negotiation modes.
import { after, before, test } from 'node:test';
import { launchChromium, launchFirefox, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';

let chromium, firefox, page;
before(async () => { [chromium, firefox, page] = await Promise.all([launchChromium(), launchFirefox(), servePage()]); });
after(async () => { await chromium?.close(); await firefox?.close(); page?.close(); });

for (const mediaServer of ['mediasoup', 'kurento']) {
  test(`Firefox and Chromium see and hear each other (${mediaServer})`, async () => {
    const cluster = await startCluster({ mediaServer });
    try {
      const fox = await enter({ cluster, browser: firefox, page, sessionId: 'fox', name: 'fox', color: COLORS.red });
      const chrome = await enter({ cluster, browser: chromium, page, sessionId: 'fox', name: 'chrome', color: COLORS.blue });
      await assertReceives(chrome, fox, { color: COLORS.red, timeout: 30_000 });
      await assertReceives(fox, chrome, { color: COLORS.blue, timeout: 30_000 });
      await fox.close();
      await chrome.close();
    } finally {
      await cluster.stop();
    }
  });
}
