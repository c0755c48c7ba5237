// Reads the Prometheus text format: a list of { name, labels, value }.
export function parse(text) {
  const samples = [];
  for (const line of text.split('\n')) {
    const match = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match || line.startsWith('#')) continue;
    const labels = {};
    for (const [, key, value] of (match[2] ?? '').matchAll(/([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g)) labels[key] = value;
    samples.push({ name: match[1], labels, value: Number(match[3]) });
  }
  return samples;
}

export async function scrape(address) {
  const answer = await fetch(`http://${address}/metrics`);
  if (!answer.ok) throw new Error(`scrape of ${address}: HTTP ${answer.status}`);
  const samples = parse(await answer.text());
  // The sum over all series of a name that carry these labels.
  const sum = (name, labels = {}) => samples
    .filter((s) => s.name === name && Object.entries(labels).every(([k, v]) => s.labels[k] === v))
    .reduce((total, s) => total + s.value, 0);
  return { samples, sum };
}
