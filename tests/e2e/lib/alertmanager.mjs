// A real Alertmanager with the example of scripts/prometheus, whose receivers are ours.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { folder, needPrograms } from './prometheus_server.mjs';
import { startServer } from './server.mjs';

const run = promisify(execFile);
export const example = path.join(folder, 'alertmanager.yml');

export const needAlertmanager = () => needPrograms([['prometheus-alertmanager', 'prometheus-alertmanager'], ['amtool', 'prometheus-alertmanager']]);

// What amtool says: { ok, text }.
export const amtool = (...args) => run('amtool', args, { encoding: 'utf8' }).then(({ stdout, stderr }) => ({ ok: true, text: `${stdout}${stderr}` }), (error) => ({ ok: false, text: `${error.stdout}${error.stderr}` }));

// Tells `receivers`, by name, at their addresses. Groups wait for `group` seconds instead of as long as the example says.
export async function startAlertmanager({ receivers, group = 1 }) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-alertmanager-'));
  const file = path.join(dir, 'alertmanager.yml');
  let text = fs.readFileSync(example, 'utf8').replaceAll(/(group_wait|group_interval): \w+/g, `$1: ${group}s`);
  for (const [name, url] of Object.entries(receivers)) text = text.replace(new RegExp(`url: .*/${name}$`, 'm'), `url: ${url}`);
  fs.writeFileSync(file, text);
  // Alone: it listens for no others of its kind.
  const { address, ready, stop } = await startServer('prometheus-alertmanager', dir, (address) => [`--config.file=${file}`, `--storage.path=${path.join(dir, 'data')}`, `--web.listen-address=${address}`, '--cluster.listen-address=']);
  // Tells it of alerts, as Prometheus does: [{ labels }, …].
  const post = async (alerts) => {
    const answer = await fetch(`http://${address}/api/v2/alerts`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(alerts) });
    if (!answer.ok) throw new Error(`alerts: HTTP ${answer.status} ${await answer.text()}`);
  };
  // The alerts that it knows of, with what keeps each unsaid: [{ labels, status: { state, inhibitedBy } }, …].
  const alerts = () => fetch(`http://${address}/api/v2/alerts`).then((answer) => answer.json());
  await ready();
  return { address, post, alerts, stop };
}
