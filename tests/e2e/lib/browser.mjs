import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';

const here = path.dirname(new URL(import.meta.url).pathname);
const packageFile = path.join(here, '../node_modules/openvidu-browser/static/js/openvidu-browser-2.32.2.min.js');

// Chromium refuses nothing that we need, asks nobody outside, and does not slow down pages that it takes for hidden.
const CHROMIUM = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--use-fake-device-for-media-stream=fps=15', '--use-fake-ui-for-media-stream', '--autoplay-policy=no-user-gesture-required', '--auto-select-desktop-capture-source=Entire screen',
  '--disable-background-timer-throttling', '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows'];

const FIREFOX = {
  'media.navigator.streams.fake': true, 'media.navigator.permission.disabled': true, 'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.autoplay.default': 0, 'media.autoplay.blocking_policy': 0, 'media.peerconnection.ice.proxy_only_if_behind_proxy': false,
  'network.captive-portal-service.enabled': false, 'network.connectivity-service.enabled': false, 'app.update.enabled': false,
  'browser.safebrowsing.downloads.enabled': false, 'browser.safebrowsing.malware.enabled': false, 'browser.safebrowsing.phishing.enabled': false,
  'datareporting.policy.dataSubmissionEnabled': false, 'extensions.update.enabled': false, 'services.settings.server': 'http://127.0.0.1:1/',
  'media.gmp-manager.url': 'http://127.0.0.1:1/', 'media.gmp-manager.updateEnabled': false, 'toolkit.telemetry.enabled': false,
};

export async function launchChromium(extra = []) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-chromium-'));
  const context = await chromium.launchPersistentContext(dir, { executablePath: '/usr/bin/chromium', headless: true, ignoreHTTPSErrors: true, args: [...CHROMIUM, ...extra] });
  return {
    kind: 'chromium', context,
    newPage: async () => watch(await context.newPage()),
    close: async () => { await context.close(); fs.rmSync(dir, { recursive: true, force: true }); },
  };
}

export async function launchFirefox() {
  const browser = await puppeteer.launch({ browser: 'firefox', executablePath: '/usr/bin/firefox-esr', headless: true, extraPrefsFirefox: FIREFOX, acceptInsecureCerts: true });
  return { kind: 'firefox', newPage: async () => watch(await browser.newPage()), close: () => browser.close() };
}

function watch(page) {
  page.lines = [];
  page.on('console', (m) => page.lines.push(m.text()));
  page.on('pageerror', (e) => page.lines.push(`page error: ${e.message}`));
  return page;
}

// Serves the test page; localhost is a secure context, so cameras work without certificates.
export async function servePage() {
  const files = {
    '/': ['text/html', path.join(here, '../page/client.html')],
    '/client.js': ['text/javascript', path.join(here, '../page/client.js')],
    '/openvidu-browser.js': ['text/javascript', packageFile],
  };
  const server = http.createServer((request, response) => {
    const file = files[new URL(request.url, 'http://x').pathname];
    if (!file) { response.writeHead(404).end(); return; }
    response.writeHead(200, { 'content-type': file[0] }).end(fs.readFileSync(file[1]));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://localhost:${server.address().port}/`, close: () => server.close() };
}

// A participant in a page of its own. `call` runs a function of the page's `client` by name.
export async function participant(browser, pageUrl, name) {
  const page = await browser.newPage();
  await page.goto(pageUrl);
  // The client rejects with objects of its own; they cross over as text.
  const call = async (method, ...args) => {
    const outcome = await page.evaluate(async ({ method, args }) => {
      const member = window.client[method];
      try {
        return { value: typeof member === 'function' ? await member(...args) : member };
      } catch (e) {
        return { error: [e.name, e.code, e.message].filter(Boolean).join(' ') || String(e) };
      }
    }, { method, args });
    if (outcome.error) throw new Error(`${name}: ${method}: ${outcome.error}`);
    return outcome.value;
  };
  return { name, page, call, kind: browser.kind, close: () => page.close() };
}
