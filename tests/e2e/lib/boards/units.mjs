// Figures as Grafana writes them (its valueFormats), for the units that the boards have.

const counts = (unit) => ({ base: 1000, names: ['', 'K', 'M', 'B', 'T'].map((prefix) => `${prefix} ${unit}`) });
const si = (unit) => ({ base: 1000, names: ['', 'k', 'M', 'G', 'T'].map((prefix) => ` ${prefix}${unit}`), small: [' m', ' µ', ' n'].map((prefix) => `${prefix}${unit}`) });
const SCALES = {
  short: { base: 1000, names: ['', ' K', ' Mil', ' Bil', ' Tri'] },
  bps: si('b/s'),
  bytes: { base: 1024, names: [' B', ' KiB', ' MiB', ' GiB', ' TiB'] },
  reqps: counts('req/s'),
  cps: counts('c/s'),
};
const TIMES = [[1e-6, 1e-9, ' ns'], [1e-3, 1e-6, ' µs'], [1, 1e-3, ' ms'], [60, 1, ' s'], [3600, 60, ' mins'], [86_400, 3600, ' hours'], [604_800, 86_400, ' days'], [31_536_000, 604_800, ' weeks'], [Infinity, 31_536_000, ' years']];

// A value with its unit. `step`, where there is one, is the distance to the next figure beside it: as many digits as tell them apart.
export function format(value, unit, step = null) {
  const { factor, suffix } = scale(value, unit);
  return `${digits(value / factor, step === null ? null : step / factor)}${suffix}`;
}

function scale(value, unit) {
  const size = Math.abs(value);
  if (unit === 'percentunit') return { factor: 0.01, suffix: '%' };
  if (unit === 's') {
    if (size === 0) return { factor: 1, suffix: ' s' };
    const [, factor, suffix] = TIMES.find(([end]) => size < end);
    return { factor, suffix };
  }
  const scales = unit.startsWith('count:') ? counts(unit.slice('count:'.length)) : SCALES[unit];
  if (!scales) throw new Error(`a unit that nobody can write: ${unit}`);
  const { base, names, small } = scales;
  if (small && size > 0 && size < 1) {
    const at = Math.min(small.length, Math.ceil(-Math.log10(size) / 3 - 1e-9));
    return { factor: 1000 ** -at, suffix: small[at - 1] };
  }
  const at = size < base ? 0 : Math.min(names.length - 1, Math.floor(Math.log(size) / Math.log(base) + 1e-9));
  return { factor: base ** at, suffix: names[at] };
}

// Three figures that count, unless a step says how many.
function digits(value, step) {
  if (value === 0 || (Number.isInteger(value) && step === null)) return String(value);
  if (step !== null) return value.toFixed([0, 1, 2, 3, 4, 5].find((decimals) => isWhole(step * 10 ** decimals)) ?? 6);
  return value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))));
}

const isWhole = (value) => Math.abs(value - Math.round(value)) < 1e-6;
