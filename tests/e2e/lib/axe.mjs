// What axe-core (WCAG 2.2 A and AA, and what it calls best practice) has against a page.
import fs from 'node:fs';
import { createRequire } from 'node:module';

const source = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const GRAVE = new Set(['serious', 'critical']);

// Violations, the grave ones and the others, each as `rule: elements`. The tool runs beside the page's own scripts, whatever its policy says.
export async function axe(page) {
  await page.evaluate(`if (!window.axe) { ${source} }`);
  const violations = await page.evaluate(async () => (await window.axe.run(document, { resultTypes: ['violations'] })).violations.map(({ id, impact, nodes }) => ({ id, impact, where: nodes.map((one) => one.html.slice(0, 160)) })));
  const named = (list) => list.map(({ id, where }) => `${id}: ${[...new Set(where)].slice(0, 4).join(' | ')}`);
  return { grave: named(violations.filter(({ impact }) => GRAVE.has(impact))), other: named(violations.filter(({ impact }) => !GRAVE.has(impact))) };
}
