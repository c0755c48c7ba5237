// A real Prometheus server with the configuration and the rules of scripts/prometheus, which reads a cluster of the tests.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { startServer } from './server.mjs';

const root = path.join(path.dirname(new URL(import.meta.url).pathname), '../../..');
export const folder = path.join(root, 'scripts/prometheus');

// Installs Debian packages for programs that are missing: [[program, package], …].
export function needPrograms(wanted) {
  const installed = spawnSync('bash', ['-c', `source scripts/lib.sh && ${wanted.map((pair) => `need ${pair.join(' ')}`).join(' && ')}`], { cwd: root, encoding: 'utf8' });
  if (installed.status !== 0) throw new Error(installed.stderr);
}

// Installs prometheus and promtool if they are missing.
export const needPrometheus = () => needPrograms([['prometheus', 'prometheus'], ['promtool', 'prometheus']]);

// Reads the cluster's master and nodes each second, and tells the Alertmanager at the address `alertmanager`, if there is one, of alerts.
// `rules` may change the text of the alerts. `query` gives the series of an expression, `range` their course, `api` the data of any path of its API.
export async function startPrometheus(cluster, { name = 'e2e', alertmanager = null, rules = (text) => text } = {}) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-prometheus-'));
  fs.cpSync(folder, dir, { recursive: true });
  const alerts = path.join(dir, 'rules/alerts.yml');
  fs.writeFileSync(alerts, rules(fs.readFileSync(alerts, 'utf8')));
  const file = path.join(dir, 'prometheus.yml');
  fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replaceAll(/_interval: 15s/g, '_interval: 1s'));
  // JSON is YAML.
  const targets = (which, list) => fs.writeFileSync(path.join(dir, `targets/${which}.yml`), JSON.stringify(list));
  targets('master', [{ targets: [cluster.admin], labels: { cluster: name } }]);
  targets('alertmanager', alertmanager ? [{ targets: [alertmanager] }] : []);
  targets('nodes', cluster.nodes.map((node) => ({ targets: [node.admin], labels: { cluster: name, node: node.id } })));
  const { address, ready, stop } = await startServer('prometheus', dir, (address) => [`--config.file=${file}`, `--storage.tsdb.path=${path.join(dir, 'data')}`, `--web.listen-address=${address}`]);
  const api = async (where, params = {}) => {
    const answer = await fetch(`http://${address}/api/v1/${where}?${new URLSearchParams(params)}`);
    const { status, data, error } = await answer.json();
    if (status !== 'success') throw new Error(`${where} ${JSON.stringify(params)}: ${error}`);
    return data;
  };
  const query = async (expression) => {
    const { resultType, result } = await api('query', { query: expression });
    return (resultType === 'scalar' ? [{ metric: {}, value: result }] : result).map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
  };
  // From `start` to `end`, in seconds since 1970, each `step` seconds: [{ metric, values: [[time, value], …] }, …].
  const range = async (expression, { start, end, step }) => {
    const { result } = await api('query_range', { query: expression, start, end, step });
    return result.map(({ metric, values }) => ({ metric, values: values.map(([time, value]) => [time, Number(value)]) }));
  };
  await ready();
  return { address, api, query, range, stop };
}
